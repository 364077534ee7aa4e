"""A session that goes on with another gateway: what is restored, what is news, what has expired."""

from __future__ import annotations

from litevoice_contracts import events
from litevoice_contracts.conversation import Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageId, ResumePoint
from litevoice_contracts.events import DownEvent
from litevoice_contracts.packets import Audio
from litevoice_contracts.positions import START, EventId
from litevoice_gateway import commands as do
from litevoice_gateway.packet_log import MAX_ATTEMPTS
from litevoice_gateway.session import SETTLE_MAX_SECONDS, SETTLE_SECONDS
from tests.unit.gateway.driver import LATER, WALL, Driver, a_turn, finish


def log_of_a_turn() -> list[bytes]:
    """The envelopes that `a_turn` and `finish` publish."""
    bodies: list[bytes] = []

    class Recorder(Driver):
        def down(
            self,
            *happened: DownEvent,
            turn: int = 1,
            attempt: int = 0,
            snapshot: Snapshot | None = None,
            number: MessageId | None = None,
        ) -> None:
            bodies.append(DownEnvelope(WALL, turn, list(happened), attempt, snapshot).encode())

    recorder = Recorder()
    a_turn(recorder)
    finish(recorder)
    return bodies


def resumed(last_event_id: str, bodies: list[bytes]) -> Driver:
    driver = Driver(resume=EventId.parse(last_event_id), opened=False)
    driver.session.opened(driver.now)
    for position in range(driver.position, len(bodies)):
        driver.session.delivered(position, bodies[position], driver.now)
    driver.position = len(bodies)
    driver.take()
    return driver


def test_resuming_in_mid_response_restores_and_goes_on_after_the_last_event() -> None:
    bodies = log_of_a_turn()
    driver = resumed("evt_5_2", bodies[:8])
    assert driver.types == [
        "session.created",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
    ]
    assert [message["event_id"] for message in driver.sent] == ["evt_5_2_g1", "evt_6_2", "evt_7_2"]
    driver.down(events.TurnReplay("unknown_session"))
    driver.pass_time(SETTLE_MAX_SECONDS)
    (replay,) = driver.published
    assert replay.resume == ResumePoint("r1", "i2", "One.", " Two.", 100, 200)
    assert (replay.seq, replay.packets, replay.attempt) == (0, [], 1)
    assert replay.epoch == LATER, "higher than every epoch seen"


def test_resuming_in_the_middle_of_a_position() -> None:
    driver = resumed("evt_3_2_1", log_of_a_turn()[:5])
    assert driver.types[1:3] == ["conversation.item.added", "response.content_part.added"]
    assert driver.sent[0]["event_id"] == "evt_3_2_1", "session.created claims no more than the client has seen"


def test_a_resumed_session_is_not_greeted_before_it_is_restored() -> None:
    bodies = log_of_a_turn()
    driver = Driver(resume=EventId.parse("evt_5_2"), opened=False)
    driver.session.opened(driver.now)
    for position in range(2, 5):
        driver.session.delivered(position, bodies[position], driver.now)
    driver.take()
    assert driver.sent == []
    driver.session.delivered(5, bodies[5], driver.now)
    driver.take()
    assert driver.types == ["session.created"]


def test_without_a_last_event_everything_is_news() -> None:
    bodies = log_of_a_turn()
    driver = Driver(resume=START, opened=False)
    for position, body in enumerate(bodies):
        driver.session.delivered(position, body, driver.now)
    driver.take()
    assert driver.types[:2] == ["session.created", "input_audio_buffer.speech_started"]
    assert driver.types[-1] == "response.done"


def test_a_worker_that_does_not_know_a_resumed_session_has_to_ask() -> None:
    """The gateway may not have read the end of the log; the worker's question is the end of the log."""
    bodies = log_of_a_turn()
    driver = Driver(resume=EventId.parse("evt_5_2"), opened=False)
    driver.session.opened(driver.now)
    for position in range(2, 6):
        driver.session.delivered(position, bodies[position], driver.now)
    driver.audio(2)
    for position in range(6, 9):
        driver.pass_time(SETTLE_SECONDS / 2, 0.01)
        driver.session.delivered(position, bodies[position], driver.now)
    driver.pass_time(1, 0.01)
    (envelope,) = driver.published
    assert (envelope.epoch, envelope.seq, envelope.turn, len(envelope.packets)) == (LATER, 0, 1, 2)
    assert envelope.snapshot is None
    driver.clear()
    driver.position = len(bodies)
    driver.down(events.TurnReplay("unknown_session"))
    (replay,) = driver.published
    assert replay.snapshot is not None
    assert [item.text for item in replay.snapshot.items] == ["hello", "One. Two."]
    assert (replay.epoch, replay.seq, replay.attempt, len(replay.packets)) == (LATER, 0, 1, 2)


def test_who_takes_over_an_open_turn_asks_the_worker_at_once_and_once() -> None:
    """It may be gone; and a client that never stays for `probe_seconds` would wait for as long as it moves."""
    driver = resumed("evt_5_2", log_of_a_turn()[:8])
    driver.pass_time(SETTLE_MAX_SECONDS)
    (question,) = driver.published
    assert (question.epoch, question.seq, question.packets) == (LATER, 0, [])
    assert (question.attempt, question.snapshot, question.resume) == (0, None, None), "nothing is replayed unasked"
    assert len(driver.observed("probes")) == 1
    driver.pass_time(4)
    assert len(driver.published) == 1, "the next question is due after `probe_seconds`"


def test_who_takes_over_asks_nobody_when_nothing_is_open() -> None:
    driver = resumed("evt_5_2", log_of_a_turn())
    driver.pass_time(60)
    assert driver.published == []


def test_who_takes_over_does_not_ask_while_the_client_does_not_read() -> None:
    """Then the log is not read to its end, and the answer may stand there."""
    driver = resumed("evt_5_2", log_of_a_turn()[:8])
    driver.session.writable(False, driver.now)
    driver.pass_time(SETTLE_MAX_SECONDS)
    assert driver.published == []


def test_a_session_that_ends_as_soon_as_it_was_taken_over_asks_nobody() -> None:
    driver = resumed("evt_5_2", log_of_a_turn()[:8])
    driver.session.disconnected(driver.now)
    driver.take()
    assert driver.published == []


def test_a_client_that_moves_quickly_uses_up_no_attempts() -> None:
    """A question is none: the worker that did not know the session has asked once, and goes on asking."""
    bodies = log_of_a_turn()[:8]
    question = DownEnvelope(WALL, 1, [events.TurnReplay("unknown_session")], 0, None, MessageId(7, 1))
    bodies.append(question.encode())
    for move in range(MAX_ATTEMPTS + 2):
        driver = resumed("evt_5_2", bodies)
        driver.pass_time(SETTLE_MAX_SECONDS)
        (replay,) = driver.published
        answered = (replay.attempt, replay.asker, replay.question, replay.packets)
        assert answered == (move + 1, 7, move + 1, []), "the same turn, not given up"
        assert driver.session.info(driver.now).fruitless == 1
        again = DownEnvelope(LATER, 1, [events.TurnReplay("unknown_session")], move + 1, None, MessageId(7, move + 2))
        bodies.append(again.encode())


def test_a_log_that_is_gone_expires_the_session() -> None:
    driver = Driver(resume=EventId.parse("evt_40_38"), opened=False)
    driver.session.opened(driver.now)
    driver.audio()
    driver.pass_time(30.1)
    assert driver.types == ["error"]
    assert driver.sent[0]["error"]["code"] == "session_expired"
    assert driver.closes == [1008]
    driver.pass_time(3)
    assert driver.all(do.End) == [do.End(True, "forced", 1)]


def test_a_slow_restore_is_not_an_expired_session() -> None:
    bodies = log_of_a_turn()
    driver = Driver(resume=EventId.parse("evt_5_2"), opened=False)
    driver.session.opened(driver.now)
    for position in range(2, 6):
        driver.pass_time(9)
        driver.session.delivered(position, bodies[position], driver.now)
    driver.pass_time(1)
    assert driver.closes == []
    assert driver.types[0] == "session.created"


def test_a_request_for_replay_that_was_answered_long_ago_is_not_answered_again() -> None:
    bodies = [
        DownEnvelope(WALL, 1, [events.SpeechStarted("i1", 0)]).encode(),
        DownEnvelope(WALL, 1, [events.TurnReplay("unknown_session")]).encode(),
        DownEnvelope(WALL, 1, [events.SpeechStopped("i1", 5)], attempt=1).encode(),
    ]
    driver = Driver(resume=START, opened=False)
    for position, body in enumerate(bodies):
        driver.session.delivered(position, body, driver.now)
    driver.take()
    driver.pass_time(1)
    assert driver.observed("replays") == []
    assert driver.packets == []
    driver.audio()
    driver.pass_time(0.2)
    assert driver.published[-1].attempt == 1


def test_a_drain_lets_a_restoring_session_be_restored_first() -> None:
    bodies = log_of_a_turn()
    driver = Driver(resume=EventId.parse("evt_8_8"), opened=False)
    driver.audio(2)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.take()
    assert driver.closes == []
    driver.session.delivered(8, bodies[8], driver.now)
    driver.take()
    assert driver.closes == [1012]
    assert [type(packet) for packet in driver.packets] == [Audio, Audio]
