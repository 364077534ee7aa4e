"""A session whose worker asks again, is gone, or is quiet: what is sent once more, and what is not."""

from __future__ import annotations

import base64

from litevoice_contracts import events
from litevoice_contracts.conversation import Mark
from litevoice_contracts.envelopes import ResumePoint
from litevoice_gateway import commands as do
from tests.unit.gateway.driver import PENDING, WALL, Driver, a_turn, finish


def test_a_worker_that_asks_gets_snapshot_open_turn_and_resume_point() -> None:
    driver = Driver()
    driver.audio(12)
    driver.pass_time(0.2)
    a_turn(driver)
    driver.clear()
    driver.down(events.TurnReplay("unknown_session"))
    (replay,) = driver.published
    assert (replay.epoch, replay.seq, replay.attempt, len(replay.packets)) == (WALL, 10, 1, 2)
    assert replay.resume == ResumePoint("r1", "i2", "One.", " Two.", 100)
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
    driver.down(events.EpochRejected(WALL + 50))
    driver.down(events.EpochRejected(WALL + 50))
    (again,) = driver.published
    assert (again.epoch, again.seq, len(again.packets)) == (WALL + 51, 0, 3)
    driver.audio()
    driver.pass_time(0.2)
    assert (driver.published[-1].epoch, driver.published[-1].seq) == (WALL + 51, 3)


def test_a_quiet_worker_is_asked_once_with_everything_then_only_nudged() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.confirm_all()
    a_turn(driver)
    driver.clear()
    driver.pass_time(4.9)
    assert driver.published == []
    driver.pass_time(60)
    replay, *nudges = driver.published
    assert replay.snapshot is not None
    assert replay.resume is not None
    assert 1 <= len(nudges) <= 3
    for nudge in nudges:
        assert (nudge.packets, nudge.snapshot, nudge.resume, nudge.attempt) == ([], None, None, 1)


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
