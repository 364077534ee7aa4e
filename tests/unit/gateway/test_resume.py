"""Resuming from any event a client may have seen gives exactly what it has not seen, whatever the log looks like."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from litevoice_contracts import events
from litevoice_contracts.conversation import Item, Mark, ResponseRequest, SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_contracts.positions import EventId
from litevoice_gateway import commands as do
from litevoice_gateway.limits import Limits
from litevoice_gateway.opening import Opening
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.session import Session

NOW = 10.0


@dataclass
class Writer:
    """Writes a log as a worker would: turns with speech, or text, interrupted by items, updates and replays."""

    draw: st.DrawFn
    turn: int = 0
    attempt: int = 0
    items: int = 0

    def envelope(self, *happened: DownEvent, snapshot: bool = False, pending: ResponseRequest | None = None) -> bytes:
        made = (
            Snapshot(
                config=SessionConfig(instructions=f"v{self.items}"),
                items=[Item(f"i{number}", "user", "x") for number in range(self.items)],
                turn=self.turn,
                boundary=Mark(1, self.items),
                pending=pending,
            )
            if snapshot
            else None
        )
        return DownEnvelope(1, self.turn, list(happened), self.attempt, made).encode()

    def between(self) -> list[bytes]:
        kind = self.draw(st.integers(0, 5))
        if kind == 0:
            return [self.envelope(events.Progress(Mark(1, self.items)))]
        if kind == 1:
            self.items += 1
            return [self.envelope(events.SessionUpdated(), snapshot=True)]
        if kind == 2:
            return [self.envelope(events.InputCleared())]
        if kind == 3:
            return [self.envelope(events.SessionError("nothing_to_cancel", "no response is open"))]
        return []

    def one_turn(self) -> list[bytes]:
        self.turn += 1
        self.items += 1
        name = f"{self.turn}"
        text_only = self.draw(st.booleans())
        request = ResponseRequest(f"r{name}", f"a{name}", text_only=text_only)
        log = [
            self.envelope(events.SpeechStarted(f"u{name}", 1)),
            self.envelope(events.SpeechStopped(f"u{name}", 2), events.InputCommitted(f"u{name}")),
            self.envelope(events.InputTranscribed(f"u{name}", "x", 1.0), snapshot=True, pending=request),
            *self.between(),
            self.envelope(events.ResponseStarted(f"r{name}", f"a{name}", text_only)),
        ]
        for _ in range(self.draw(st.integers(0, 4))):
            log.append(self.envelope(events.TextDelta(f"r{name}", f"a{name}", " word")))
            if not text_only:
                log.append(self.envelope(events.AudioDelta(f"r{name}", f"a{name}", b"\0\1")))
            extra = self.draw(st.integers(0, 4))
            if extra == 0:  # an item in mid-response: a snapshot that nobody may restore from
                self.items += 1
                item = events.ItemCreated(Item(f"x{self.items}", "user", "y"))
                log.append(self.envelope(item, snapshot=True, pending=request))
            elif extra == 1:  # another worker takes over, the old one says one thing more
                leftover = self.envelope(events.AudioDelta(f"r{name}", f"a{name}", b"no"))
                log.append(self.envelope(events.TurnReplay("unknown_session")))
                self.attempt += 1
                log.append(self.envelope(events.ResponseStarted(f"r{name}", f"a{name}", text_only)))
                log.append(leftover)
        self.items += 1
        done = events.ResponseFinished(f"r{name}", f"a{name}", "completed", "word", text_only)
        return [*log, self.envelope(done, snapshot=True), *self.between()]


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    writer = Writer(draw)
    log = writer.between()
    for _ in range(draw(st.integers(1, 4))):
        log += writer.one_turn()
    return log[: draw(st.integers(1, len(log)))]


def forward(log: list[bytes], last_event_id: str | None) -> list[dict[str, Any]]:
    """What a client receives from a gateway that has just taken the session over."""
    resume = EventId.parse(last_event_id) if last_event_id else None
    session = Session(Opening("s_1", lambda: 1), OpenAIRealtime(lambda: "item", resume=resume), Limits(), NOW)
    session.opened(NOW)
    for position in range(session.first_position, len(log)):
        session.delivered(position, log[position], NOW)
    return [json.loads(command.data) for command in session.take() if isinstance(command, do.Send)]


@settings(max_examples=25)
@given(logs())
def test_from_every_event_on_a_client_gets_exactly_the_rest(log: list[bytes]) -> None:
    created, *everything = forward(log, None)
    assert created["type"] == "session.created"
    ids = [message["event_id"] for message in everything]
    assert len(set(ids)) == len(ids)
    for seen, message in enumerate(everything, 1):
        created, *rest = forward(log, message["event_id"])
        assert created["type"] == "session.created"
        assert rest == everything[seen:]
        again = forward(log, created["event_id"])[1:]
        assert again == rest, "the id of session.created claims neither more nor less"


@settings(max_examples=15)
@given(logs())
def test_nothing_that_a_client_saw_is_repeated_by_another_worker(log: list[bytes]) -> None:
    types = [message["type"] for message in forward(log, None)]
    started = [message["response"]["id"] for message in forward(log, None) if message["type"] == "response.created"]
    assert len(set(started)) == len(started)
    assert "bm8=" not in [message.get("delta") for message in forward(log, None)], "leftovers do not count"
    assert types[0] == "session.created"
