"""A session whose worker asks again, is gone, or is quiet: what is sent once more, and what is not."""

from __future__ import annotations

import base64

import msgspec
import pytest

from litevoice_contracts import events
from litevoice_contracts.conversation import Mark
from litevoice_contracts.envelopes import MessageId, ResumePoint
from litevoice_contracts.news import SessionNews
from litevoice_contracts.packets import GiveUp, Silence
from litevoice_contracts.positions import START
from litevoice_gateway import commands as do
from litevoice_gateway.packet_log import MAX_ATTEMPTS
from tests.unit.gateway.driver import LATER, PENDING, WALL, Driver, a_turn, finish


def test_a_worker_that_asks_gets_snapshot_open_turn_and_resume_point() -> None:
    driver = Driver()
    driver.audio(12)
    driver.pass_time(0.2)
    a_turn(driver)
    driver.clear()
    driver.down(events.TurnReplay("unknown_session"))
    (replay,) = driver.published
    assert (replay.epoch, replay.seq, replay.attempt, len(replay.packets)) == (WALL, 10, 1, 2)
    assert replay.resume == ResumePoint("r1", "i2", "One.", " Two.", 100, 200)
    assert replay.snapshot is not None
    assert replay.snapshot.pending == PENDING
    assert replay.snapshot.boundary == Mark(WALL, 9)
    assert driver.sent == []
    assert driver.observed("replays")


def test_events_of_an_older_attempt_are_dropped_and_the_new_one_continues() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    a_turn(driver)
    driver.down(events.TurnReplay("unknown_session"))
    driver.clear()
    driver.down(events.AudioDelta("r1", "i2", b"old"), attempt=0)
    driver.down(events.ResponseStarted("r1", "i2"), attempt=1)
    driver.down(events.AudioDelta("r1", "i2", b"new!"), attempt=1)
    finish(driver, attempt=1)
    assert driver.observed("dropped") == [do.Observe("dropped", "stale_attempt")]
    assert driver.types[0] == "response.output_audio.delta"
    assert base64.b64decode(driver.sent[0]["delta"]) == b"new!"
    assert driver.types.count("response.created") == 0, "it was announced before"
    assert driver.types[-1] == "response.done"


def test_a_turn_that_began_before_the_replay_came_is_dropped_and_begun_again() -> None:
    driver = Driver()
    driver.down(events.SpeechStarted("i1", 0), turn=1)
    driver.down(events.TurnReplay("gap"), turn=1)
    driver.clear()
    driver.down(events.SpeechStarted("i3", 0), turn=2, attempt=0)
    assert driver.types == []
    driver.down(events.SpeechStarted("i3", 0), turn=2, attempt=1)
    assert driver.types == ["input_audio_buffer.speech_started"]


def test_a_second_request_for_the_same_replay_is_not_answered_twice() -> None:
    driver = Driver()
    driver.audio(3)
    driver.pass_time(0.2)
    driver.clear()
    driver.down(events.TurnReplay("unknown_session"))
    driver.down(events.TurnReplay("unknown_session"))
    assert len(driver.published) == 1
    driver.down(events.TurnReplay("gap"), attempt=1)
    assert [envelope.attempt for envelope in driver.published] == [1, 2]


def test_a_refused_epoch_is_opened_higher_once() -> None:
    driver = Driver()
    driver.audio(3)
    driver.pass_time(0.2)
    driver.clear()
    driver.down(events.EpochRejected(WALL, WALL + 50))
    driver.down(events.EpochRejected(WALL, WALL + 50))
    (question,) = driver.published
    assert (question.epoch, question.seq, question.packets) == (LATER, 3, []), "whoever gets it misses something"
    assert question.provokes
    driver.audio()
    driver.pass_time(0.2)
    assert (driver.published[-1].epoch, driver.published[-1].seq) == (LATER, 3)
    driver.clear()
    driver.down(events.TurnReplay("gap"))
    (again,) = driver.published
    assert (again.epoch, again.seq, len(again.packets)) == (LATER, 0, 4)
    assert again.snapshot is not None


def test_the_refusal_of_another_ones_epoch_means_nothing_to_the_owner() -> None:
    """A late packet of a former owner: what the rightful one says is not sent again under other numbers."""
    driver = Driver()
    driver.audio(3)
    driver.pass_time(0.2)
    driver.clear()
    driver.down(events.EpochRejected(WALL - 500, WALL))
    driver.audio()
    driver.pass_time(0.2)
    (following,) = driver.published
    assert (following.epoch, following.seq, len(following.packets)) == (WALL, 3, 1)


def test_a_refusal_counts_whatever_its_attempt() -> None:
    """The worker that refuses knows nothing of the replays of an epoch that it has never taken."""
    driver = Driver()
    driver.audio(3)
    driver.pass_time(0.2)
    driver.down(events.TurnReplay("unknown_session"))
    driver.clear()
    driver.down(events.EpochRejected(WALL, LATER), attempt=0)
    (question,) = driver.published
    assert question.epoch > LATER


def in_a_response() -> Driver:
    """A session whose worker is speaking; the broker has everything."""
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.confirm_all()
    a_turn(driver)
    driver.clear()
    return driver


def test_a_quiet_worker_is_asked_and_nothing_is_replayed_unasked() -> None:
    driver = in_a_response()
    driver.pass_time(4.9)
    assert driver.published == []
    driver.pass_time(60)
    assert 1 <= len(driver.published) <= 4
    kinds = [type(command) for command in driver.log if isinstance(command, do.WakeReplies | do.Publish)]
    assert kinds[:-1:2] == [do.WakeReplies] * (len(kinds) // 2), "first it looks: the answer may wait at the broker"
    assert kinds[1::2] == [do.Publish] * (len(kinds) // 2)
    for question in driver.published:
        assert (question.packets, question.snapshot, question.resume, question.attempt) == ([], None, None, 0)
    driver.clear()
    driver.down(events.TurnReplay("unknown_session"))
    (replay,) = driver.published
    assert (replay.snapshot is not None, replay.resume is not None, replay.attempt) == (True, True, 1)


def test_news_of_a_worker_at_work_are_signs_of_life() -> None:
    driver = in_a_response()
    for _ in range(10):
        driver.pass_time(4)
        driver.session.worker_is_alive(driver.now)
    assert driver.published == []


def test_progress_in_the_news_settles_packets() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.confirm_all()
    assert driver.session.pending_requests == 1
    driver.session.worker_is_alive(driver.now, SessionNews("s_1", events.Progress(Mark(WALL, 9))))
    assert driver.session.pending_requests == 0


def test_a_new_worker_is_asked_at_once_about_what_is_expected_of_it() -> None:
    driver = in_a_response()
    driver.session.worker_changed(driver.now)
    driver.take()
    (question,) = driver.published
    assert question.packets == []
    finish(driver)
    driver.clear()
    driver.session.worker_changed(driver.now)
    driver.take()
    assert driver.published == [], "nothing is expected"


def test_a_worker_that_is_not_needed_is_not_asked() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.confirm_all()
    a_turn(driver)
    finish(driver)
    driver.clear()
    driver.pass_time(60)
    assert driver.published == []


def test_while_the_broker_does_not_answer_no_worker_is_asked() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.clear()
    driver.pass_time(60)
    assert driver.published == []


def test_progress_in_the_news_does_not_overtake_the_log() -> None:
    """What was settled with a message must not be forgotten before the message: a worker that began without it would
    know nothing of it."""
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.confirm_all()
    driver.clear()
    after = MessageId(7, 2)
    settled = SessionNews("s_1", events.Progress(Mark(WALL, 9)), after=after)
    driver.down(events.SpeechStarted("i1", 0), number=MessageId(7, 1))
    driver.session.worker_is_alive(driver.now, settled)
    driver.take()
    assert driver.session.pending_requests == 1
    assert driver.all(do.WakeReplies) == [], "the news may just have been faster"
    driver.session.worker_is_alive(driver.now, settled)
    driver.take()
    assert len(driver.all(do.WakeReplies)) == 1
    driver.down(events.SpeechStopped("i1", 5), number=after)
    driver.session.worker_is_alive(driver.now, settled)
    assert driver.session.pending_requests == 0


def test_progress_of_an_older_attempt_means_nothing() -> None:
    """Nor does its message: what was settled with it is not."""
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.down(events.TurnReplay("unknown_session"))
    driver.down(events.SpeechStopped("i1", 5), attempt=0, number=MessageId(7, 2))
    driver.session.worker_is_alive(driver.now, SessionNews("s_1", events.Progress(Mark(WALL, 9)), attempt=0))
    assert driver.session.pending_requests == 1
    late = SessionNews("s_1", events.Progress(Mark(WALL, 9)), attempt=0, after=MessageId(7, 2))
    driver.session.worker_is_alive(driver.now, late)
    assert driver.session.pending_requests == 1
    driver.session.worker_is_alive(driver.now, msgspec.structs.replace(late, attempt=1))
    assert driver.session.pending_requests == 1, "the message did not count"
    driver.session.worker_is_alive(driver.now, msgspec.structs.replace(late, attempt=1, after=None))
    assert driver.session.pending_requests == 0


def test_a_turn_from_which_nothing_comes_is_given_up() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.confirm_all()
    driver.down(events.SpeechStarted("i1", 0))
    for attempt in range(MAX_ATTEMPTS):
        driver.clear()
        driver.down(events.TurnReplay("unknown_session"), attempt=attempt)
    (last,) = driver.published
    assert (last.packets, last.seq, last.attempt) == ([GiveUp(MAX_ATTEMPTS, 200, MAX_ATTEMPTS)], 10, MAX_ATTEMPTS)
    assert last.snapshot is not None
    assert last.snapshot.boundary == Mark(WALL, 9), "what was heard is not heard again"
    assert driver.observed("given_up")
    driver.audio()
    driver.pass_time(0.2)
    assert driver.published[-1].seq == 11
    driver.clear()
    driver.down(events.TurnReplay("unknown_session"), attempt=MAX_ATTEMPTS)
    assert driver.packets == [GiveUp(MAX_ATTEMPTS + 1, 220, MAX_ATTEMPTS + 1)], "what came since goes with it"


def test_a_session_that_waits_for_nothing_has_nothing_to_give_up() -> None:
    driver = Driver()
    driver.say(type="input_audio_buffer.append", audio=base64.b64encode(bytes(960)).decode())
    driver.pass_time(0.2)
    for attempt in range(MAX_ATTEMPTS + 2):
        driver.down(events.TurnReplay("unknown_session"), attempt=attempt)
    assert driver.observed("given_up") == []
    assert driver.published[-1].packets == [Silence(960)]


@pytest.mark.parametrize("same_owner", [True, False])
def test_a_worker_that_leaves_gets_no_replay_but_has_the_next_one_ask(*, same_owner: bool) -> None:
    """Who begins from what another one has asked for leaves no trace in the log, should it die of the turn."""
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.down(events.SpeechStarted("i1", 0))
    driver.clear()
    driver.down(events.TurnReplay("handed_over"), attempt=0)
    if not same_owner:
        bodies, driver = driver.bodies, Driver(resume=START)
        for body in bodies:
            driver.session.delivered(driver.position, body, driver.now)
            driver.position += 1
        driver.take()
        driver.pass_time(1.1)
    (nudge,) = driver.published
    assert (nudge.attempt, nudge.packets, nudge.snapshot) == (1, [], None)
    assert nudge.seq == (11 if same_owner else 1), "also a worker that misses nothing asks"
    assert driver.observed("replays") == []
    driver.clear()
    driver.down(events.TurnReplay("unknown_session"), attempt=1)
    (replay,) = driver.published
    assert (replay.attempt, replay.snapshot is not None) == (2, True)
    assert len(replay.packets) == (10 if same_owner else 0)


@pytest.mark.parametrize("same_owner", [True, False])
def test_attempts_at_nothing_do_not_count_for_the_turn_that_comes_next(*, same_owner: bool) -> None:
    """Each worker that finds the session at its start asks, whether or not anything is open."""
    driver = Driver()
    for attempt in range(MAX_ATTEMPTS):
        driver.down(events.TurnReplay("unknown_session"), attempt=attempt)
    if not same_owner:
        bodies, driver = driver.bodies, Driver(resume=START)
        for body in bodies:
            driver.session.delivered(driver.position, body, driver.now)
            driver.position += 1
        driver.pass_time(1)
    driver.audio(3)
    driver.pass_time(0.2)
    for attempt in range(MAX_ATTEMPTS, 2 * MAX_ATTEMPTS):
        driver.clear()
        driver.down(events.TurnReplay("unknown_session"), attempt=attempt)
        (replay,) = driver.published
        gives_up = any(isinstance(packet, GiveUp) for packet in replay.packets)
        assert gives_up == (attempt == 2 * MAX_ATTEMPTS - 1), attempt


def test_another_owner_counts_the_same_attempts() -> None:
    one = Driver()
    one.audio(10)
    one.pass_time(0.2)
    one.down(events.SpeechStarted("i1", 0))
    for attempt in range(MAX_ATTEMPTS):
        one.down(events.TurnReplay("unknown_session"), attempt=attempt)
    other = Driver(resume=START)
    for position, body in enumerate(one.bodies):
        other.session.delivered(position, body, other.now)
    other.take()
    other.pass_time(2)
    assert other.packets == [GiveUp(MAX_ATTEMPTS, 0, MAX_ATTEMPTS)]


def test_a_message_that_only_refuses_counts_for_the_progress_after_it() -> None:
    """Else nothing would be settled until the worker has something else to say."""
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.down(events.EpochRejected(WALL - 1, WALL), number=MessageId(7, 1))
    settled = SessionNews("s_1", events.Progress(Mark(WALL, 9)), after=MessageId(7, 1))
    driver.session.worker_is_alive(driver.now, settled)
    assert driver.session.pending_requests == 0
