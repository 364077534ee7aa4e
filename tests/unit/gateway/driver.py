"""The session state machine with a client, a broker and a worker that do what a test says, in virtual time."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

from litevoice_contracts import events
from litevoice_contracts.conversation import Item, Mark, ResponseRequest, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageId, UpEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_contracts.packets import Packet
from litevoice_contracts.positions import EventId
from litevoice_gateway import commands as do
from litevoice_gateway.epochs import new_epoch
from litevoice_gateway.limits import Limits
from litevoice_gateway.opening import Opening
from litevoice_gateway.protocols import ClientProtocol
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.session import Session

PCM = base64.b64encode(b"\1\2" * 480).decode()
WALL_MILLISECONDS = 5_000_060
WALL = new_epoch(WALL_MILLISECONDS, 0, -1)
"""The first epoch."""
LATER = new_epoch(WALL_MILLISECONDS, 0, WALL)
"""The next one."""
BEAT_SECONDS = 0.1
C = TypeVar("C", bound=do.Command)
PENDING = ResponseRequest("r1", "i2")
_READING = (do.PauseReading, do.ResumeReading)


class Driver:
    """A session with its clock; `log` has every command, `bodies` what `down` delivered."""

    def __init__(
        self,
        *,
        resume: EventId | None = None,
        limits: Limits | None = None,
        opened: bool = True,
        protocol: ClientProtocol | None = None,
    ) -> None:
        self.now = 100.0
        self.wall = WALL_MILLISECONDS
        self.log: list[do.Command] = []
        self.bodies: list[bytes] = []
        self.limits = limits or Limits()
        self.position = max(resume.snapshot, 0) if resume else 0
        self.answers_pings = True
        self._awaiting = False
        self._beat_at = self.now
        opening = Opening("s_1", lambda: self.wall, client="c:1", principal="p")
        protocol = protocol or OpenAIRealtime(lambda: "item_new", resume=resume)
        self.session = Session(opening, protocol, self.limits, self.now)
        if opened:
            self.session.opened(self.now)
            self.take()

    def take(self) -> None:
        """Audio leaves with the next beat, anything else at once: a bundle may leave at any time."""
        taken = self.session.take()
        self.log += taken
        if self.answers_pings and any(isinstance(command, do.Ping) for command in taken):
            self.session.client_lives()
        self._awaiting = self._awaiting or any(isinstance(command, do.AwaitDeparture) for command in taken)

    def depart(self) -> None:
        if self._awaiting:
            self._awaiting = False
            self.session.depart(self.now)
            self.take()

    def say(self, **event: Any) -> None:
        self.session.messages([json.dumps(event)], self.now)
        self.take()
        if event.get("type") != "input_audio_buffer.append":
            self.depart()

    def audio(self, count: int = 1) -> None:
        for _ in range(count):
            self.say(type="input_audio_buffer.append", audio=PCM)

    def down(
        self,
        *happened: DownEvent,
        turn: int = 1,
        attempt: int = 0,
        snapshot: Snapshot | None = None,
        number: MessageId | None = None,
    ) -> None:
        epoch = max([envelope.epoch for envelope in self.published], default=0)
        body = DownEnvelope(epoch, turn, list(happened), attempt, snapshot, number).encode()
        self.bodies.append(body)
        self.session.delivered(self.position, body, self.now)
        self.position += 1
        self.take()

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + step)
            self.session.tick(self.now)
            self.take()
            if self.now - self._beat_at >= BEAT_SECONDS - 1e-9:
                self._beat_at = self.now
                self.depart()

    def confirm_all(self) -> None:
        self.session.confirmed(self.session.unconfirmed, self.now)
        self.take()

    def all(self, kind: type[C]) -> list[C]:
        return [command for command in self.log if isinstance(command, kind)]

    def observed(self, what: do.Observation) -> list[do.Observe]:
        return [command for command in self.all(do.Observe) if command.what == what]

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
