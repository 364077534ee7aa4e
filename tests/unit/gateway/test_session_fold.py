"""Every owner folds the same log to the same state and forwards the same, whenever it began to read: the one that saw
it grow, and one that takes the session over at any position. The logs are those of workers that die, freeze and thaw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from litevoice_contracts import events
from litevoice_contracts.conversation import Cursor, Item, Mark, ResponseRequest, SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageId, UpEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_contracts.positions import EventId
from litevoice_gateway import commands as do
from litevoice_gateway.session_state import MAX_EXCUSED, LogEvent, SessionState
from tests.unit.gateway.driver import LATER, WALL, Driver, a_turn, finish

CONFIG = SessionConfig()


@dataclass
class Writers:
    """Workers that write to one log, the newest rightfully, those before it late: what they still had to say.

    A worker says things in its own attempt, and has a number of its own; each message may be stored twice.
    """

    draw: st.DrawFn
    log: list[DownEnvelope] = field(default_factory=list)
    turn: int = 0
    attempt: int = 0
    items: int = 0
    worker: int = 1
    number: int = 0
    text_only: bool = False
    response: ResponseRequest | None = None
    beside: list[ResponseRequest] = field(default_factory=list)
    late: list[DownEnvelope] = field(default_factory=list)

    def write(self, *happened: DownEvent, snapshot: bool = False, open_turn: int = 0) -> None:
        self.number += 1
        made = None
        if snapshot:
            self.items += 1
            items = [Item(f"i{number}", "user", "x") for number in range(self.items)]
            config = SessionConfig(instructions=f"v{self.items}", text_only=self.text_only)
            cursor = Cursor(open_turn=open_turn)
            made = Snapshot(
                config, items, self.turn, Mark(self.worker, self.items), self.response, cursor, list(self.beside)
            )
        message = MessageId(self.worker, self.number)
        envelope = DownEnvelope(self.worker, self.turn, list(happened), self.attempt, made, message)
        kind = self.draw(st.integers(0, 9))
        if kind == 0:  # in flight when its worker dies: it may arrive much later
            self.late.append(envelope)
        self.log.append(envelope)
        if kind == 1:
            self.log.append(envelope)

    def disturb(self) -> None:
        kind = self.draw(st.integers(0, 11))
        if kind == 0 and self.late:
            self.log.append(self.late.pop())
        elif kind == 1:  # another worker begins from a replay
            question = events.TurnReplay(self.draw(st.sampled_from(["gap", "unknown_session", "handed_over"])))
            provoked = question.reason == "gap" and self.draw(st.booleans())
            self.write(replace(question, provoked=provoked))
            said = [events.TextDelta(self.name("r"), self.name("a"), "zombie")]
            self.late += [DownEnvelope(self.worker, self.turn, list(said), self.attempt, None, None)] * 2
            self.worker, self.number, self.attempt = self.worker + 1, 0, self.attempt + 1
        elif kind == 2:  # a former gateway
            self.log.append(DownEnvelope(self.worker, self.turn, [events.EpochRejected(0, self.worker)]))
        elif kind == 3:
            item = events.ItemCreated(Item(f"n{self.items}", "user", "y"))
            self.write(item, snapshot=True, open_turn=self.open_turn)
        elif kind == 4 and self.response is None:
            self.text_only = not self.text_only
            self.write(events.SessionUpdated(), snapshot=True, open_turn=self.open_turn)

        elif kind == 5 and len(self.beside) < 3:
            number = f"{self.turn}_{self.number}_{self.worker}"
            aside = ResponseRequest(f"r_{number}", f"a_{number}", text_only=self.draw(st.booleans()), out_of_band=True)
            self.beside.append(aside)
            begun = events.ResponseStarted(aside.response_id, aside.item_id, aside.text_only, out_of_band=True)
            self.write(begun, snapshot=True, open_turn=self.open_turn)
        elif kind == 6 and self.beside:
            aside = self.draw(st.sampled_from(self.beside))
            said = [events.TextDelta(aside.response_id, aside.item_id, " aside")]
            call = (aside.response_id, f"{aside.item_id}_{self.number}", self.number, "c")
            self.write(*said, events.CallStarted(*call, "f"), events.CallDelta(*call, "{"))
        elif kind == 7 and self.beside:
            aside = self.beside.pop(0)
            last: list[DownEvent] = [events.TextDelta(aside.response_id, aside.item_id, " end")]
            self.write(*last, self.end(aside), snapshot=True, open_turn=self.open_turn)
        elif kind == 8:  # one that has asked, or spoken, has lost the session: this one, or one before
            lost = self.worker - self.draw(st.integers(0, 2))
            message = MessageId(lost, self.number + self.draw(st.integers(0, 2)))
            attempt = max(0, self.attempt - self.draw(st.integers(0, 2)))
            lives = events.TurnReplay("handed_over") if attempt < self.attempt else events.Displaced()
            self.log.append(DownEnvelope(lost, self.turn, [lives], attempt, None, message))

    @staticmethod
    def end(request: ResponseRequest) -> events.ResponseFinished:
        return events.ResponseFinished(
            request.response_id,
            request.item_id,
            "completed",
            "word",
            request.text_only,
            out_of_band=request.out_of_band,
        )

    open_turn = 0

    def name(self, kind: str) -> str:
        return f"{kind}{self.turn}"

    def one_turn(self) -> None:
        self.turn += 1
        self.open_turn = self.turn
        user, response, answer = self.name("u"), self.name("r"), self.name("a")
        self.write(events.SpeechStarted(user, 1))
        self.disturb()
        self.open_turn = 0
        self.response = ResponseRequest(response, answer, text_only=self.text_only)
        self.write(
            events.SpeechStopped(user, 2),
            events.InputCommitted(user),
            events.InputTranscribed(user, "x", 1.0),
            events.ResponseStarted(response, answer, self.text_only),
            snapshot=True,
        )
        for _ in range(self.draw(st.integers(0, 3))):
            said: list[DownEvent] = [events.TextDelta(response, answer, " word")]
            if not self.response.text_only:
                said.append(events.AudioDelta(response, answer, b"\0\1"))
            if self.draw(st.booleans()):
                call = (response, f"{answer}_{self.number}", self.number, "c")
                said += [events.CallStarted(*call, "f"), events.CallDelta(*call, '{"a'), events.CallDelta(*call, '":')]
            self.write(*said)
            self.disturb()
        request, self.response = self.response, None
        last: list[DownEvent] = [events.TextDelta(response, answer, " end")] if self.draw(st.booleans()) else []
        self.write(*last, self.end(request), snapshot=True)
        self.disturb()


@st.composite
def logs(draw: st.DrawFn) -> list[DownEnvelope]:
    writers = Writers(draw)
    for _ in range(draw(st.integers(1, 4))):
        writers.one_turn()
    return writers.log[: draw(st.integers(1, len(writers.log)))]


def fold(log: list[DownEnvelope], start: int = 0) -> tuple[SessionState, list[list[LogEvent]]]:
    state = SessionState(start, CONFIG)
    counted = [state.apply(position, log[position]) for position in range(start, len(log))]
    return state, [[] if isinstance(events, str) else events for events in counted]


def told(state: SessionState) -> dict[str, Any]:
    """`handed` is what is left of earlier messages, which an owner that goes tells again."""
    return {name: getattr(state, name) for name in SessionState.__slots__ if name != "handed"}


@settings(max_examples=200, deadline=None)
@given(logs())
def test_whoever_begins_at_a_restore_position_folds_to_the_same(log: list[DownEnvelope]) -> None:
    live = SessionState(0, CONFIG)
    starts = set()
    for position, envelope in enumerate(log):
        live.apply(position, envelope)
        starts.add(live.restore_position)
    whole, counted = fold(log)
    assert told(whole) == told(live)
    for start in starts - {-1}:
        restored, again = fold(log, start)
        assert told(restored) == told(whole)
        assert again == counted[start:]


def forward(log: list[DownEnvelope], resume: EventId | None = None) -> Driver:
    driver = Driver(resume=resume)
    for position in range(driver.position, len(log)):
        driver.session.delivered(position, log[position].encode(), driver.now)
    driver.position = len(log)
    driver.take()
    return driver


@settings(max_examples=50, deadline=None)
@given(logs())
def test_a_client_gets_the_same_from_every_owner(log: list[DownEnvelope]) -> None:
    created, *everything = forward(log).sent
    assert created["type"] == "session.created"
    done = [message["response"]["id"] for message in everything if message["type"] == "response.done"]
    assert len(set(done)) == len(done)
    assert "zombie" not in json.dumps(everything)
    for seen, message in enumerate(everything, 1):
        _, *rest = forward(log, EventId.parse(message["event_id"])).sent
        assert rest == everything[seen:]


def test_what_the_live_owner_dropped_the_next_one_drops() -> None:
    """The answer goes on in a worker that was thought dead, while another begins from the replay."""
    live = Driver()
    live.audio(10)
    live.pass_time(0.2)
    a_turn(live)
    seen = live.sent[-1]["event_id"]
    live.clear()
    live.down(events.TurnReplay("unknown_session"))
    live.down(events.AudioDelta("r1", "i2", b"late"), attempt=0)
    finish(live, attempt=0)
    live.down(events.AudioDelta("r1", "i2", b"once"), attempt=1)
    finish(live, attempt=1)
    restored = forward([DownEnvelope.decode(body) for body in live.bodies], EventId.parse(seen))
    assert restored.sent[1:] == live.sent
    assert restored.types.count("response.done") == 1


def sent_after_taking_over(log: list[DownEnvelope]) -> list[UpEnvelope]:
    driver = Driver(resume=EventId(-1, -1))
    for position, envelope in enumerate(log):
        driver.session.delivered(position, envelope.encode(), driver.now)
    driver.take()
    driver.pass_time(1)
    return driver.published


def test_a_question_that_the_dead_owner_answered_is_answered_again_under_the_same_number() -> None:
    """The owner dies after it has sent the replay, before the worker's first event of that attempt."""
    request = ResponseRequest("r1", "a1")
    log = [
        DownEnvelope(WALL, 1, [events.ResponseStarted("r1", "a1")], 0, Snapshot(turn=1, pending=request)),
        DownEnvelope(WALL, 1, [events.TextDelta("r1", "a1", "One.")]),
        DownEnvelope(WALL, 1, [events.TurnReplay("unknown_session")]),
    ]
    late = DownEnvelope(WALL, 1, [events.TextDelta("r1", "a1", " Two.")])  # of the attempt that has ended
    for ending in ([], [late]):
        (replay,) = sent_after_taking_over([*log, *ending])
        assert (replay.epoch, replay.attempt, replay.snapshot is not None) == (LATER, 1, True)
        assert replay.resume is not None
        assert replay.resume.sentence == "One."


def test_a_message_that_is_stored_twice_reaches_the_client_once() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    a_turn(driver)
    driver.clear()
    for position, number in enumerate((1, 1, 2, 2, 1), driver.position):
        sound = events.AudioDelta("r1", "i2", bytes([number]) * 2)
        body = DownEnvelope(WALL, 1, [sound], 0, None, MessageId(7, number)).encode()
        driver.session.delivered(position, body, driver.now)
    driver.take()
    assert driver.types.count("response.output_audio.delta") == 2
    assert driver.observed("dropped") == [do.Observe("dropped", "repeated")] * 3


SPEAKER = 9
"""Whose the first event is."""


def questions(*asked: tuple[str, int], begun: bool = True) -> SessionState:
    """After a first event, which begins a turn or says only that all was heard, these questions: reason and sender."""
    state = SessionState(0, CONFIG)
    first = events.SpeechStarted("u1", 1) if begun else events.Progress(Mark(1, 0))
    state.apply(0, DownEnvelope(1, 1, [first], 0, None, MessageId(SPEAKER, 1)))
    for position, (reason, sender) in enumerate(asked, 1):
        provoked, late = reason == "provoked", reason in NO_QUESTIONS
        question = events.TurnReplay("gap" if provoked else reason, provoked=provoked)  # type: ignore[arg-type]
        said, message = NO_QUESTIONS.get(reason, question), MessageId(sender, position + 1)
        state.apply(position, DownEnvelope(1, 1, [said], state.attempt - late, None, message))
    assert state.attempt == sum(reason not in NO_QUESTIONS for reason, _ in asked)
    return state


NO_QUESTIONS: dict[str, events.DownEvent] = {
    "displaced": events.Displaced(),
    "left late": events.TurnReplay("handed_over"),
}


FRUITLESS = [
    ("each worker has died", [("unknown_session", 1), ("unknown_session", 2), ("unknown_session", 3)], 3),
    ("one asks again, because it cannot know who had the replay", [("unknown_session", 1), ("unknown_session", 1)], 1),
    ("one tries again and again", [("unknown_session", 1), ("failed", 1), ("failed", 1)], 3),
    ("one finds a hole before it has begun", [("unknown_session", 1), ("gap", 1)], 1),
    ("one begins and finds a hole again and again", [("unknown_session", 1), ("gap", 1), ("gap", 1), ("gap", 1)], 1),
    ("it does so without an end", [("unknown_session", 1), *[("gap", 1)] * (MAX_EXCUSED + 2)], 3),
    ("who was at work finds a hole", [("gap", SPEAKER)], 0),
    ("two read one partition", [("gap", SPEAKER), ("gap", 1), ("gap", 1), ("gap", SPEAKER), ("gap", SPEAKER)], 1),
    ("owners make one ask", [("provoked", 1), ("provoked", 1), ("provoked", 1), ("provoked", 1)], 0),
    ("one makes one ask without an end", [("provoked", 1)] * (MAX_EXCUSED + 3), 3),
    ("and it dies", [("provoked", 1), ("provoked", 1), ("unknown_session", 2), ("unknown_session", 3)], 2),
    ("one that began finds a hole beside it", [("unknown_session", 1), ("provoked", 1), ("gap", 1)], 1),
    ("two have the partition", [("unknown_session", 1), *[("gap", SPEAKER), ("gap", 1)] * 4], 1),
    ("neither began", [("unknown_session", 1), *[("unknown_session", 2), ("unknown_session", 1)] * 4], 2),
    (
        "one lives, and tells of another's death",
        [("unknown_session", 1), ("handed_over", 1), *[("unknown_session", sender) for sender in (2, 3, 1)]],
        3,
    ),
    ("they never end", [("unknown_session", 1), *[("gap", SPEAKER), ("gap", 1)] * (MAX_EXCUSED // 2 + 1)], 3),
    ("then one dies of it", [("unknown_session", 1), ("gap", SPEAKER), ("gap", 1), ("unknown_session", 3)], 2),
    ("workers leave as planned", [("handed_over", 1), ("handed_over", 2), ("handed_over", 3)], 0),
    ("and the next one asks", [("handed_over", 1), ("unknown_session", 2), ("unknown_session", 2)], 0),
    (
        "one lost it before it had begun, and lives",
        [("unknown_session", 1), ("displaced", 1), ("unknown_session", 2)],
        1,
    ),
    ("it says so after the next has asked", [("unknown_session", 1), ("unknown_session", 2), ("displaced", 1)], 1),
    ("it says so twice", [("unknown_session", 1), ("unknown_session", 2), *[("displaced", 1)] * 2], 1),
    ("it leaves as planned, and says so late", [("unknown_session", 1), ("unknown_session", 2), ("left late", 1)], 1),
    ("who was at work lost it", [("displaced", SPEAKER), ("unknown_session", 1), ("unknown_session", 2)], 1),
    ("who had asked before another lost it", [("unknown_session", 1), ("displaced", SPEAKER)], 0),
    ("it has it again, and dies", [("displaced", SPEAKER), ("gap", SPEAKER), ("unknown_session", 2)], 1),
    ("it is nobody's word for another", [("unknown_session", 1), ("displaced", 3), ("unknown_session", 2)], 2),
    (
        "each loses it, without an end",
        [(what, sender) for sender in range(1, MAX_EXCUSED + 4) for what in ("unknown_session", "displaced")],
        3,
    ),
    ("the one after has died", [("handed_over", 1), ("unknown_session", 2), ("unknown_session", 3)], 1),
]


@pytest.mark.parametrize(("case", "asked", "fruitless"), FRUITLESS, ids=[row[0] for row in FRUITLESS])
def test_attempts_from_which_nothing_came(case: str, asked: list[tuple[str, int]], fruitless: int) -> None:
    state = questions(*asked)
    assert state.fruitless == fruitless
    state.apply(9, DownEnvelope(1, 1, [events.InputTranscribed("u1", "x", 1.0)], state.attempt))
    assert state.fruitless == 0, "something has come"


def test_what_a_worker_finds_at_its_start_nobody_has_tried_unless_something_of_it_has_come() -> None:
    """Beside a turn that kills its workers, what was said while there was none had one attempt fewer."""
    died = [("unknown_session", number) for number in (1, 2, 3, 4)]
    assert [questions(*died[:count], begun=False).fruitless for count in (1, 2, 3, 4)] == [0, 1, 2, 3]
    assert questions(("gap", 1), begun=False).fruitless == 1
