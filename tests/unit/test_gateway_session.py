"""The session state machine, with virtual time: turns, replays, evictions, drains, slow readers, epochs, bounds."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

import pytest

from litevoice_contracts import events
from litevoice_contracts.conversation import Item, Mark, ResponseRequest, SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, ResumePoint, UpEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_contracts.packets import Audio, Clear, Commit, CreateResponse, EpochEnd, Packet, Update
from litevoice_contracts.positions import START, EventId
from litevoice_gateway import commands as do
from litevoice_gateway.limits import Limits
from litevoice_gateway.opening import Opening
from litevoice_gateway.protocols import Problem
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.session import (
    MAX_EARLY_MESSAGES,
    MAX_OWN_EVENTS,
    SETTLE_MAX_SECONDS,
    SETTLE_SECONDS,
    STALL_SECONDS,
    Phase,
    Session,
)

PCM = base64.b64encode(b"\1\2" * 480).decode()
WALL = 5_000_000
C = TypeVar("C", bound=do.Command)
PENDING = ResponseRequest("r1", "i2")


_READING = (do.PauseReading, do.ResumeReading)


class Driver:
    """A session with its clock; `log` has every command."""

    def __init__(self, *, resume: EventId | None = None, limits: Limits | None = None, opened: bool = True) -> None:
        self.now = 100.0
        self.wall = WALL
        self.log: list[do.Command] = []
        self.limits = limits or Limits()
        self.position = max(resume.snapshot, 0) if resume else 0
        opening = Opening("s_1", SessionConfig(), resume, lambda: self.wall, client="c:1", principal="p")
        self.session = Session(opening, OpenAIRealtime(lambda: "item_new"), self.limits, self.now)
        if opened:
            self.session.opened(self.now)
            self.take()

    def take(self) -> None:
        self.log += self.session.take()

    def say(self, **event: Any) -> None:
        self.session.message(json.dumps(event), self.now)
        self.take()

    def audio(self, count: int = 1) -> None:
        for _ in range(count):
            self.say(type="input_audio_buffer.append", audio=PCM)

    def down(self, *happened: DownEvent, turn: int = 1, attempt: int = 0, snapshot: Snapshot | None = None) -> None:
        epoch = max([envelope.epoch for envelope in self.published], default=0)
        body = DownEnvelope(epoch, turn, list(happened), attempt, snapshot).encode()
        self.session.delivered(self.position, body, self.now)
        self.position += 1
        self.take()

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + step)
            self.session.tick(self.now)
            self.take()

    def confirm_all(self) -> None:
        self.session.confirmed(self.session.unconfirmed, self.now)
        self.take()

    def all(self, kind: type[C]) -> list[C]:
        return [command for command in self.log if isinstance(command, kind)]

    def clear(self) -> None:
        self.log.clear()

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(command.data) for command in self.all(do.Send)]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def published(self) -> list[UpEnvelope]:
        return [command.envelope for command in self.all(do.Publish)]

    @property
    def packets(self) -> list[Packet]:
        return [packet for envelope in self.published for packet in envelope.packets]

    def is_reading(self) -> bool:
        return next((isinstance(c, do.ResumeReading) for c in reversed(self.log) if isinstance(c, _READING)), True)

    @property
    def closes(self) -> list[int]:
        return [command.code for command in self.all(do.SendClose)]


def a_turn(driver: Driver) -> None:
    """What a worker answers to one utterance, up to the first audio."""
    spoken = Item("i1", "user", "hello", audio=True)
    driver.down(events.SpeechStarted("i1", 100))
    driver.down(events.SpeechStopped("i1", 900), events.InputCommitted("i1"))
    driver.down(
        events.InputTranscribed("i1", "hello", 0.8),
        events.Progress(Mark(WALL, 9)),
        snapshot=Snapshot(items=[spoken], turn=1, boundary=Mark(WALL, 9), pending=PENDING),
    )
    driver.down(events.ResponseStarted("r1", "i2", previous_item_id="i1"))
    driver.down(events.TextDelta("r1", "i2", "One."))
    driver.down(events.AudioDelta("r1", "i2", b"\0\1" * 100))
    driver.down(events.TextDelta("r1", "i2", " Two."))
    driver.down(events.AudioDelta("r1", "i2", b"\0\1" * 50))


def finish(driver: Driver, attempt: int = 0) -> None:
    items = [Item("i1", "user", "hello", audio=True), Item("i2", "assistant", "One. Two.", audio=True)]
    driver.down(
        events.ResponseFinished("r1", "i2", "completed", "One. Two."),
        attempt=attempt,
        snapshot=Snapshot(items=items, turn=1, boundary=Mark(WALL, 9)),
    )


# Opening


def test_a_new_session_is_greeted_once_it_is_ours_and_not_before() -> None:
    driver = Driver(opened=False)
    driver.take()
    assert driver.log == []
    driver.session.opened(driver.now)
    driver.take()
    assert driver.types == ["session.created"]
    assert driver.sent[0]["event_id"] == "evt_x_x_g1"
    assert driver.sent[0]["session"]["id"] == "s_1"


def test_what_the_client_says_before_that_waits_and_is_applied_in_order() -> None:
    driver = Driver(opened=False)
    driver.say(type="session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    driver.say(type="input_audio_buffer.append", audio="AAAA")
    driver.session.opened(driver.now)
    driver.take()
    driver.pass_time(0.2)
    assert [type(packet) for packet in driver.packets] == [Update, Audio]
    assert driver.types == ["session.created"]
    assert [envelope.codec for envelope in driver.published] == ["pcm16/24000", "g711_ulaw/8000"]


def test_a_client_that_talks_too_much_before_that_is_not_read() -> None:
    driver = Driver(opened=False)
    driver.audio(MAX_EARLY_MESSAGES)
    assert driver.all(do.PauseReading)
    driver.session.opened(driver.now)
    driver.take()
    assert isinstance(driver.all(do.ResumeReading)[-1], do.ResumeReading)
    driver.pass_time(0.2)
    assert len(driver.packets) == MAX_EARLY_MESSAGES


def test_a_session_that_cannot_be_opened_is_told_to_try_again() -> None:
    driver = Driver(opened=False)
    driver.session.open_failed("the broker is away", driver.now)
    driver.take()
    assert driver.closes == [1013]


# Up


def test_audio_is_collected_for_a_batch_and_published_with_the_first_snapshot() -> None:
    driver = Driver()
    driver.audio(3)
    assert driver.published == []
    assert driver.all(do.WakeAt)[-1].at == pytest.approx(driver.now + 0.1)
    driver.pass_time(0.1)
    (envelope,) = driver.published
    assert (envelope.epoch, envelope.seq, len(envelope.packets)) == (WALL, 0, 3)
    assert envelope.snapshot == Snapshot(config=SessionConfig())


def test_a_commit_does_not_wait_for_the_batch() -> None:
    driver = Driver()
    driver.audio(2)
    driver.say(type="input_audio_buffer.commit")
    assert [type(packet) for packet in driver.packets] == [Audio, Audio, Commit]


def test_bad_events_are_answered_and_the_session_lives_on() -> None:
    driver = Driver()
    driver.clear()
    driver.say(type="input_audio_buffer.append", audio="%%%", event_id="mine")
    driver.say(type="nonsense")
    driver.session.unusable(Problem("message_too_large", "too large", "message"), driver.now)
    driver.audio()
    driver.pass_time(0.2)
    errors = [message["error"]["code"] for message in driver.sent]
    assert errors == ["invalid_base64", "unknown_event", "message_too_large"]
    assert driver.sent[0]["error"]["event_id"] == "mine"
    assert len(driver.packets) == 1
    assert driver.closes == []


def test_too_many_events_are_read_later_and_none_is_refused() -> None:
    driver = Driver(limits=Limits(max_events_per_second=10))
    driver.clear()
    for number in range(25):
        driver.say(type="input_audio_buffer.append", audio=PCM, event_id=f"e{number}")
    assert driver.sent == []
    assert not driver.is_reading(), "six events beyond the burst: the socket waits"
    driver.pass_time(0.5)
    assert not driver.is_reading()
    driver.pass_time(0.2)
    assert driver.is_reading()
    assert len(driver.packets) == 25


def test_a_broken_protocol_is_explained_and_closed() -> None:
    driver = Driver()
    driver.clear()
    driver.session.broken(1002, Problem("protocol_error", "bad frame", "message"), driver.now)
    driver.audio(5)
    assert driver.types == ["error"]
    assert driver.closes == [1002]
    driver.pass_time(3)
    assert driver.packets == []
    assert driver.all(do.Disconnect)


def test_an_update_rules_what_comes_after_it() -> None:
    driver = Driver()
    driver.say(type="session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    driver.say(type="input_audio_buffer.append", audio="AAAA")
    driver.pass_time(0.2)
    assert driver.packets[-1] == Audio(b"\0\0\0")
    driver.down(events.SessionUpdated(), snapshot=Snapshot(config=driver.packets[0].config))  # type: ignore[union-attr]
    assert driver.types[-1] == "session.updated"
    assert driver.sent[-1]["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}


def test_an_older_snapshot_does_not_undo_an_update_under_way() -> None:
    driver = Driver()
    driver.say(type="session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    driver.down(events.ItemCreated(Item("i", "user", "x")), snapshot=Snapshot(config=SessionConfig()))
    driver.say(type="input_audio_buffer.append", audio="AAAA")
    driver.pass_time(0.2)
    assert isinstance(driver.packets[-1], Audio)


# Down


def test_a_whole_turn() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.clear()
    a_turn(driver)
    finish(driver)
    assert driver.types == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    ids = [message["event_id"] for message in driver.sent]
    assert ids[:3] == ["evt_0_x", "evt_1_x", "evt_1_x_1"]
    assert ids[5] == "evt_2_2"
    assert ids[-1] == "evt_8_8_5"
    assert len(set(ids)) == len(ids)
    assert driver.session.pending_requests == 0


def test_progress_frees_what_is_retained_and_is_not_forwarded() -> None:
    driver = Driver()
    driver.audio(4)
    driver.pass_time(0.2)
    driver.clear()
    driver.down(events.Progress(Mark(WALL, 2)))
    assert driver.sent == []
    assert driver.session.pending_requests == 1


def test_a_position_out_of_order_is_not_used() -> None:
    driver = Driver()
    driver.clear()
    driver.session.delivered(3, DownEnvelope(0, 1, [events.InputCleared()]).encode(), driver.now)
    driver.down(events.InputCleared())
    driver.session.delivered(0, DownEnvelope(0, 1, [events.InputCleared()]).encode(), driver.now)
    driver.take()
    assert [message["event_id"] for message in driver.sent] == ["evt_0_x"]


def test_an_unreadable_message_is_counted_and_skipped() -> None:
    driver = Driver()
    driver.session.delivered(0, b"\xc1", driver.now)
    driver.position = 1
    driver.down(events.InputCleared())
    assert driver.all(do.Dropped) == [do.Dropped("bad_envelope")]
    assert driver.sent[-1]["event_id"] == "evt_1_x"


def test_gateway_made_events_repeat_the_last_position() -> None:
    driver = Driver()
    driver.down(events.InputCleared())
    driver.say(type="nonsense")
    driver.say(type="nonsense")
    assert [message["event_id"] for message in driver.sent[-2:]] == ["evt_0_x_g2", "evt_0_x_g3"]


def test_a_snapshot_in_mid_response_is_no_place_to_restore_from() -> None:
    driver = Driver()
    a_turn(driver)
    snapshot = Snapshot(items=[Item("x", "user", "by the way")], turn=1, pending=PENDING)
    driver.down(events.ItemCreated(Item("x", "user", "by the way")), snapshot=snapshot)
    assert driver.sent[-1]["event_id"] == "evt_8_2_1"
    finish(driver)
    assert driver.sent[-1]["event_id"].startswith("evt_9_9")


# Replays


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
    assert driver.all(do.Replayed)


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
    assert driver.all(do.Dropped) == [do.Dropped("stale_attempt")]
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


# Slow readers


def test_a_slow_reader_leaves_its_replies_at_the_broker() -> None:
    driver = Driver()
    driver.session.writable(False, driver.now)
    driver.take()
    assert driver.all(do.PauseReplies)
    assert not driver.session.info(driver.now).reading
    driver.audio(3)
    driver.pass_time(30)
    assert len(driver.packets) == 3, "it is still heard, and nobody is asked why it is quiet"
    assert len(driver.published) == 1
    driver.session.writable(True, driver.now)
    driver.take()
    assert driver.all(do.ResumeReplies)


def test_errors_for_a_client_that_does_not_read_are_bounded() -> None:
    driver = Driver()
    driver.session.writable(False, driver.now)
    for _ in range(MAX_OWN_EVENTS):
        driver.say(type="nonsense")
        driver.now += 0.01
    assert driver.all(do.PauseReading)
    driver.session.writable(True, driver.now)
    driver.take()
    assert driver.all(do.ResumeReading)


# The broker goes away


def test_at_the_bound_the_client_is_not_read_and_read_again_at_half() -> None:
    driver = Driver(limits=Limits(max_pending_packets=20))
    driver.audio(20)
    assert driver.all(do.PauseReading)
    driver.pass_time(0.2)
    driver.session.confirmed(9, driver.now)
    driver.take()
    assert not driver.all(do.ResumeReading)
    driver.session.confirmed(1, driver.now)
    driver.take()
    assert driver.all(do.ResumeReading)
    assert driver.closes == []


def test_a_session_that_stays_at_the_bound_is_closed() -> None:
    driver = Driver(limits=Limits(max_pending_packets=20))
    driver.audio(20)
    driver.pass_time(STALL_SECONDS + 0.5)
    assert driver.closes == [1013]


def test_packets_that_the_broker_never_took_end_the_session() -> None:
    driver = Driver()
    driver.audio(3)
    driver.pass_time(0.2)
    driver.session.not_confirmed(3, driver.now)
    driver.take()
    assert driver.closes == [1013]
    assert driver.session.unconfirmed == 0


# Ending


def test_the_clients_close_is_answered_and_the_epoch_ended() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.peer_closed(1000, driver.now)
    driver.take()
    assert driver.closes == [1000]
    assert driver.packets[-1] == EpochEnd()
    assert len(driver.packets) == 3
    assert driver.all(do.End) == [do.End(True, "completed", 0)]
    assert driver.all(do.Disconnect)


def test_a_lost_connection_publishes_what_was_read() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.disconnected(driver.now)
    driver.session.disconnected(driver.now)
    driver.take()
    assert [type(packet) for packet in driver.packets] == [Audio, Audio, EpochEnd]
    assert len(driver.all(do.End)) == 1
    assert driver.closes == []


def test_idle_sessions_are_closed_normally() -> None:
    driver = Driver(limits=Limits(idle_timeout_seconds=30))
    driver.pass_time(20)
    driver.audio()
    driver.pass_time(25, 0.25)
    driver.down(events.Progress(Mark(WALL, 0)))
    driver.pass_time(29, 0.25)
    assert driver.closes == []
    driver.pass_time(2)
    assert driver.closes == [1000]


def test_the_replaced_connection_ends_its_epoch_and_forgets() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.evicted(driver.now)
    driver.take()
    assert driver.closes == [4001]
    assert driver.packets[-1] == EpochEnd()
    assert driver.all(do.End) == [do.End(False, "moved", 0)]
    driver.clear()
    driver.audio(3)
    driver.down(events.InputCleared())
    assert driver.log == [], "nothing more is sent or published"
    driver.pass_time(3)
    assert driver.all(do.Disconnect)


# Drain


def test_between_turns_a_drained_session_closes_at_once() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.take()
    assert driver.closes == [1012]


def test_in_a_turn_it_waits_for_the_edge() -> None:
    driver = Driver()
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 10)
    driver.pass_time(1)
    assert driver.closes == []
    finish(driver)
    assert driver.closes == [1012]
    assert driver.types[-1] == "response.done"


def test_but_not_for_ever() -> None:
    driver = Driver()
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.pass_time(2.1)
    assert driver.closes == [1012]


def test_half_close_reads_and_publishes_until_the_peers_close() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.take()
    driver.audio(5)
    driver.say(type="input_audio_buffer.clear")
    driver.clear()
    driver.down(events.InputCleared())
    assert driver.sent == [], "nothing may follow a Close"
    driver.audio(1)
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert driver.packets == [Audio(b"\1\2" * 480), EpochEnd()]
    assert driver.closes == [], "our Close was sent already"
    assert driver.all(do.End) == [do.End(True, "moved", 0)]


def test_every_packet_read_in_half_close_is_published() -> None:
    driver = Driver()
    driver.audio(3)
    driver.session.drain(driver.now, at_edge=True, by=driver.now)
    driver.audio(500)
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert [type(packet) for packet in driver.packets].count(Audio) == 503


def test_taken_over_in_half_close_the_rest_is_still_published() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now)
    driver.audio(2)
    driver.session.evicted(driver.now)
    driver.audio(2)
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert [type(packet) for packet in driver.packets] == [Audio] * 4 + [EpochEnd]
    assert driver.closes == [1012]
    assert driver.all(do.End) == [do.End(False, "moved", 0)]


def test_a_peer_that_never_answers_the_close_is_cut() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now)
    driver.pass_time(1.9)
    assert not driver.all(do.End)
    driver.pass_time(0.2)
    assert driver.all(do.End) == [do.End(True, "forced", 0)]
    assert driver.all(do.Disconnect)


def test_a_session_that_ends_before_it_is_moved_counts_as_completed() -> None:
    driver = Driver()
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=False, by=driver.now + 50)
    finish(driver)
    driver.pass_time(5)
    assert driver.closes == []
    driver.session.peer_closed(1000, driver.now)
    driver.take()
    assert driver.all(do.End)[0].outcome == "completed"


# Resuming


def log_of_a_turn() -> list[bytes]:
    """The envelopes that `a_turn` and `finish` publish."""
    bodies: list[bytes] = []

    class Recorder(Driver):
        def down(self, *happened: DownEvent, turn: int = 1, attempt: int = 0, snapshot: Snapshot | None = None) -> None:
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
    assert replay.resume == ResumePoint("r1", "i2", "One.", " Two.", 100)
    assert (replay.seq, replay.packets, replay.attempt) == (0, [], 1)
    assert replay.epoch == WALL + 1, "higher than every epoch seen"


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


def test_the_first_packet_of_a_resumed_session_carries_the_newest_snapshot() -> None:
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
    assert envelope.snapshot is not None
    assert [item.text for item in envelope.snapshot.items] == ["hello", "One. Two."]
    assert (envelope.epoch, envelope.seq, envelope.turn) == (WALL + 1, 0, 1)


def test_a_log_that_is_gone_expires_the_session() -> None:
    driver = Driver(resume=EventId.parse("evt_40_38"), opened=False)
    driver.session.opened(driver.now)
    driver.audio()
    driver.pass_time(10.1)
    assert driver.types == ["error"]
    assert driver.sent[0]["error"]["code"] == "session_expired"
    assert driver.closes == [1008]
    driver.pass_time(3)
    assert driver.all(do.End) == [do.End(True, "forced", 1)]


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
    assert driver.published == []
    driver.audio()
    driver.pass_time(0.2)
    assert driver.published[0].attempt == 1


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


def test_info_tells_no_content() -> None:
    driver = Driver()
    driver.audio(2)
    driver.pass_time(3)
    info = driver.session.info(driver.now)
    assert (info.session_id, info.client, info.principal) == ("s_1", "c:1", "p")
    assert (info.pending_requests, info.next_position, info.turn) == (1, 0, 0), "one message of two packets"
    assert info.oldest_request_seconds == pytest.approx(3, abs=0.2)


def test_other_packets_reach_the_worker_in_order() -> None:
    driver = Driver()
    driver.audio(1)
    driver.say(type="input_audio_buffer.clear", event_id="a")
    driver.say(type="response.create", response={"metadata": {"k": "v"}})
    assert driver.packets[1:] == [Clear("a"), CreateResponse(metadata={"k": "v"})]
    assert driver.session.phase is Phase.LIVE
