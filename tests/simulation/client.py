"""A caller: says digits or types questions, one after the other, and goes on elsewhere when its connection ends.

It knows what must come back, to the byte, and by which position of its session's log.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from litevoice_contracts.positions import LAST_PART, START, EventId
from tests.simulation.protocol import CODEC, Numbered
from tests.simulation.stages import FRAME_SECONDS, SILENCE, TONES, answer_to, speech
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

SILENT_FRAMES = 12
PATIENCE_SECONDS = 12.0
"""Without a sign of the gateway for so long while something is due: another one is tried."""
HELLO_SECONDS = 35.0


@dataclass(slots=True)
class Question:
    text: str
    spoken: bool
    asked: float
    text_seen: bool = False
    finished: bool = False
    response: str = ""
    said: str = ""
    audio: list[bytes] = field(default_factory=list)


class Client:
    """Attributes:
    acks: whether the protocol acknowledges; then nothing may be lost, whatever dies.
    events: what each position brought.
    lost: packets that may have got lost with a gateway that died (only without `acks`).
    """

    def __init__(self, world: World, name: str, random: Random, *, acks: bool) -> None:
        self.world = world
        self.name = name
        self.acks = acks
        self.random = random
        self.session_id = ""
        self.wire: Wire | None = None
        self.hello = False
        self.events: list[list[Any]] = []
        self.snapshot = -1
        self.questions: list[Question] = []
        self.maybe_lost = False
        self.reconnects = 0
        self._number = 0
        self._unacknowledged: dict[int, str | bytes] = {}
        self._to_say: list[bytes] = []
        self._heard = 0.0
        self._failures = 0
        self._open: Question | None = None
        self.closing = False

    # --- life

    def start(self) -> None:
        self._connect()
        self._later(1.0, self._watch)
        self._later(self.random.uniform(0.5, 2.0), self._ask)

    def move(self, *, politely: bool) -> None:
        """Goes to another gateway by itself."""
        if self.wire is not None and self.session_id:
            self.world.say(f"{self.name} leaves {self.wire.gateway} {'politely' if politely else 'without a word'}")
            if politely and self.hello:
                self.wire.close_politely()
            else:
                self.wire.break_off()
                self._gone(self.wire, 1006)

    @property
    def busy(self) -> bool:
        return self._open is not None

    def _later(self, seconds: float, do: Callable[..., object], *arguments: object) -> None:
        self.world.loop.within(None, seconds, do, *arguments)

    def _connect(self) -> None:
        if self.wire is not None:
            return
        gateway = self.random.choice(self.world.gateways)
        resume = None
        if self.session_id:
            last = len(self.events) - 1
            resume = EventId(last, self.snapshot, LAST_PART) if last >= 0 else START
        self._heard = self.world.loop.now
        self.hello = False
        protocol = Numbered(self.session_id, resume, numbered=self.acks)
        self.wire = Wire(self.world, self, gateway, protocol)

    def _watch(self) -> None:
        wire, quiet = self.wire, self.world.loop.now - self._heard
        waits = self._open is not None or bool(self._unacknowledged)
        if (
            wire is not None
            and quiet > (PATIENCE_SECONDS if self.hello else HELLO_SECONDS)
            and (waits or not self.hello)
        ):
            self.world.say(f"{self.name} gives up on {wire.gateway}: silent for {quiet:.1f} s")
            wire.break_off()
            self._gone(wire, 1006)
        self._later(1.0, self._watch)

    # --- from the wire

    def refused(self, wire: Wire, reason: str) -> None:
        """No WebSocket came of it."""
        if wire is self.wire:
            self.wire = None
            self._failures += 1
            if self._failures in (1, 20):
                self.world.say(f"{self.name}: {wire.gateway} refuses: {reason}")
            self._later(self.random.uniform(0.1, 0.6), self._connect)

    def message(self, wire: Wire, data: bytes) -> None:
        if wire is not self.wire:
            return
        self._heard = self.world.loop.now
        match msgspec.json.decode(data):
            case ["hello", session_id, position]:
                self._hello(session_id, position)
            case ["ack", number]:
                self._acknowledged(number)
            case ["at", position, snapshot, events]:
                self.snapshot = snapshot
                self._position(position, events)
            case ["problem", code, text]:
                self.world.broken(f"{self.name} was told {code}: {text}")
                self.closing = True
            case ["going_away"]:
                pass

    def said_goodbye(self, wire: Wire) -> None:
        """Nothing more is written to it."""
        if wire is self.wire:
            self.hello = False
            self._heard = self.world.loop.now

    def closed(self, wire: Wire, code: int) -> None:
        """The gateway's Close, or the end of the connection (1006)."""
        if wire is self.wire:
            self.world.say(f"{self.name}: {wire.gateway} closes with {code}")
            if code == 4001:
                self.world.broken(f"{self.name} was closed with 4001 by {wire.gateway}, its newest connection")
            self._gone(wire, code)

    def _gone(self, wire: Wire, code: int) -> None:
        self.wire = None
        self.hello = False
        self.reconnects += 1
        if not self.closing:
            self._later(self.random.uniform(0.05, 0.8), self._connect)

    def _hello(self, session_id: str, position: int) -> None:
        if self.session_id and session_id != self.session_id:
            self.world.broken(f"{self.name} got another session")
        if position > len(self.events) - 1 and self.session_id:
            self.world.broken(f"{self.name} has seen {len(self.events)} positions, its gateway goes on at {position}")
        self.session_id = session_id
        self.hello = True
        self._failures = 0
        self.world.say(f"{self.name}: session opened at position {position} by {self.wire and self.wire.gateway}")
        for message in list(self._unacknowledged.values()):
            self._write(message)

    # --- up

    def _send(self, build: Callable[[int], str | bytes]) -> None:
        self._number += 1
        message = build(self._number)
        self._unacknowledged[self._number] = message
        if self.hello:
            self._write(message)

    def _write(self, message: str | bytes) -> None:
        assert self.wire is not None
        self.wire.send(message)

    def _acknowledged(self, number: int) -> None:
        for one in [n for n in self._unacknowledged if n <= number]:
            del self._unacknowledged[one]

    def _ask(self) -> None:
        if self.world.over:
            return
        if self._open is not None or not self.session_id:
            self._later(0.5, self._ask)
            return
        number = len(self.questions)
        spoken = self.random.random() < 0.6
        if spoken:
            text = "".join(str(self.random.randint(1, 9)) for _ in range(self.random.randint(4, 10)))
        else:
            text = f"{self.name} asks {number}"
        self._open = Question(text, spoken, self.world.loop.now)
        self.questions.append(self._open)
        self.world.say(f"{self.name} {'says' if spoken else 'types'} {text!r}")
        if spoken:
            self._to_say = [TONES[int(digit)] for digit in text] + [SILENCE] * SILENT_FRAMES
            self._say_next()
        else:
            self._send(lambda n: msgspec.json.encode([n, "item", text]).decode())
            self._send(lambda n: msgspec.json.encode([n, "respond", ""]).decode())

    def _say_next(self) -> None:
        if self._to_say:
            frame = self._to_say.pop(0)
            self._send(lambda n: n.to_bytes(4, "big") + frame)
            self._later(FRAME_SECONDS, self._say_next)

    # --- down

    def _position(self, position: int, events: list[Any]) -> None:
        if position != len(self.events):
            self.world.broken(f"{self.name} got position {position}, expected {len(self.events)}")
            return
        self.events.append(events)
        for event in events:
            self._event(event)

    def _event(self, event: dict[str, Any]) -> None:
        question = self._open
        match event["t"]:
            case "progress" | "turn_replay" | "epoch_rejected" | "speech_started" | "speech_stopped":
                return
            case "input_committed" | "session_updated":
                return
            case "error":
                self.world.broken(f"{self.name} was told of an error: {event.get('code')}")
                return
        if question is None:
            self.world.broken(f"{self.name} got {event['t']} although nothing is open")
            return
        match event["t"]:
            case "input_transcribed" | "item_created":
                text = event["transcript"] if "transcript" in event else event["item"]["text"]
                if text != question.text or question.text_seen:
                    again = " again" if question.text_seen else ""
                    self.world.broken(f"{self.name}: {question.text!r} was understood as {text!r}{again}")
                question.text_seen = True
            case "response_started":
                if question.response:
                    self.world.broken(f"{self.name}: a second response to {question.text!r}")
                question.response = event["response_id"]
            case "text_delta":
                question.said += event["text"]
            case "audio_delta":
                question.audio.append(base64.b64decode(event["audio"]))
            case "response_finished":
                self._finished(question, event)
            case other:
                self.world.broken(f"{self.name} got {other}")

    def _finished(self, question: Question, event: dict[str, Any]) -> None:
        expected = answer_to(question.text)
        name = f"{self.name}: the answer to {question.text!r}"
        if event["status"] != "completed":
            self.world.broken(f"{name} is {event['status']}: {event.get('reason')}")
        elif question.said != "".join(expected):
            self.world.broken(f"{name} is {question.said!r}")
        elif b"".join(question.audio) != b"".join(speech(sentence, CODEC) for sentence in expected):
            sizes = [len(piece) for piece in question.audio]
            wanted = sum(len(speech(sentence, CODEC)) for sentence in expected)
            self.world.broken(f"{name} sounds wrong: pieces of {sizes}, {wanted} bytes expected")
        question.finished = True
        self._open = None
        self.world.answered(self, question)
        self._later(self.random.uniform(0.1, 3.0), self._ask)
