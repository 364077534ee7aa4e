"""A caller: says digits or types questions, one after the other, and goes on elsewhere when its connection ends.

It knows what must come back, to the byte, and by which position of its session's log.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from litevoice_contracts.positions import LAST_PART, START, EventId
from tests.simulation.answers import Answers, Question
from tests.simulation.bounds import EXPIRE_SECONDS, RATE_LIMITED, recorded
from tests.simulation.protocol import Numbered
from tests.simulation.stages import FRAME_SECONDS, SILENCE, TONES, numbered
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

SILENT_FRAMES = 12
PATIENCE_SECONDS = (7.0, 12.0)
LONG_PATIENCE_SECONDS = 25.0
"""Whoever goes elsewhere after 7 s does not see what would have been silent for longer."""
"""Without a sign of the gateway for so long, which differs by client, while something is due: another one is tried.
Longer than `probe_seconds`."""
HURRIED_SECONDS = (2.0, 5.0)
"""The same where `callers_hurry`."""
HELLO_SECONDS = 35.0
ATTEMPT_SECONDS = 1.0
"""Who insists on its gateway tries for so long whether that takes a new connection."""
UNHEARD_SECONDS = 15.0
"""So long may the takeover of a gateway be on its way that a caller has left before it was done: it may come after the
next one's, which is then replaced (docs/limits.md). A gateway answers as soon as it has what the caller has not seen,
which may be between the two steps of a takeover."""


CANCELS, INTERRUPTS, AT_ONCE = 0.12, 0.15, 0.4
"""Of the questions, of the answers that are heard, and of what is spoken where bounds are narrow."""
ORDERLY = (1000, 1012)
"""Closed with these, a gateway has read everything, and the broker has it, if it has answered in 2 s."""


class Client:
    """Attributes:
    acks: whether the protocol acknowledges; then nothing may be lost, whatever dies. Else what it has written is gone
        with a connection that ends without a Close, and it says nothing again.
    events: what each position brought.
    lost: its question went with gateway and worker; it has ended.
    opened: when each gateway has last opened its session, by the wall clock.
    """

    def __init__(self, world: World, name: str, random: Random, *, acks: bool) -> None:
        self.world = world
        self.name = name
        self.acks = acks
        self.random = random
        self.patience = random.choice(PATIENCE_SECONDS)
        self.session_id = ""
        self.wire: Wire | None = None
        self.hello = False
        self.events: list[list[Any]] = []
        self.snapshot = -1
        self.questions: list[Question] = []
        self.lost = False
        self.opened: dict[str, float] = {}
        self.idle_until = 0.0
        self.reconnects = 0
        self._number = 0
        self._unacknowledged: dict[int, str | bytes] = {}
        self._to_say: list[bytes] = []
        self._saying = False
        self._heard = 0.0
        self._failures = 0
        self._left = self._insists_on = ""
        self._unheard_at = -UNHEARD_SECONDS
        self.answers = Answers(self)
        self._whims = Random(f"whims {name} {world.seed}")
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
            self._left = self.wire.gateway
            if politely and self.hello:
                self.wire.close_politely()
            else:
                self.wire.break_off()
                self._gone(self.wire, 1006)

    def insist(self) -> None:
        """Breaks off, and tries the same gateway again: one that stands still gets to know of both when it goes on."""
        if self.wire is not None and self.session_id:
            self.world.say(f"{self.name} leaves {self.wire.gateway}, and insists on it")
            self._insists_on = self.wire.gateway
            self.wire.break_off()
            self._gone(self.wire, 1006)

    def _give_up(self, wire: Wire) -> None:
        if wire is self.wire and wire.connection is None:
            self.world.say(f"{self.name}: {wire.gateway} does not take its connection")
            self._left = wire.gateway
            wire.break_off()
            self._gone(wire, 1006)

    def vanish(self) -> None:
        """Goes elsewhere; the gateway does not see it for a long time, as when a phone changes its network."""
        if self.wire is not None and self.session_id:
            self.world.say(f"{self.name} vanishes from {self.wire.gateway}")
            self._left = self.wire.gateway
            self.wire.vanish()
            self._gone(self.wire, 1006)

    @property
    def busy(self) -> bool:
        return self.answers.open is not None

    def moment(self, what: str) -> None:
        self.world.strikes.moments.came(f"{self.name} {what}")

    @property
    def overtaken(self) -> bool:
        """The takeover of a gateway that it has left may still be on its way."""
        return self.world.loop.now - self._unheard_at < UNHEARD_SECONDS

    def _later(self, seconds: float, do: Callable[..., object], *arguments: object) -> None:
        self.world.loop.within(None, seconds, do, *arguments)

    def _connect(self) -> None:
        if self.wire is not None or self.closing:
            return
        gateway = self.random.choice(self.world.gateways)
        if gateway == self._left:  # it goes elsewhere, if there is one
            gateway = self.world.gateways[self.world.gateways.index(gateway) - 1]
        gateway, self._insists_on, insists = self._insists_on or gateway, "", bool(self._insists_on)
        resume = None
        if self.session_id:
            last = len(self.events) - 1
            resume = EventId(last, self.snapshot, LAST_PART) if last >= 0 else START
        self._heard = self.world.loop.now
        self.hello = False
        protocol = Numbered(self.session_id, resume, numbered=self.acks)
        self.wire = Wire(self.world, self, gateway, protocol)
        if insists:
            self._later(ATTEMPT_SECONDS, self._give_up, self.wire)

    def _watch(self) -> None:
        wire, quiet = self.wire, self.world.loop.now - self._heard
        waits = self.answers.open is not None or bool(self._unacknowledged)
        if wire is not None and quiet > (self.patience if self.hello else HELLO_SECONDS) and (waits or not self.hello):
            self.world.say(f"{self.name} gives up on {wire.gateway}: silent for {quiet:.1f} s")
            self._left = wire.gateway
            wire.break_off()
            self._gone(wire, 1006)
        if self.answers.closes():
            self._heard = self.world.loop.now  # until now nothing more was due
            self._ask_again()
        self._later(1.0, self._watch)

    def wrong(self, what: str) -> None:
        """Something that must not be, unless it is one of the losses that litevoice admits."""
        if self.answers.unsure:
            return
        if self.world.excused(self):
            self.lose(f"LOST with gateway and worker: {what}")
        else:
            self.world.broken(what)

    def lose(self, what: str) -> None:
        self.world.say(what)
        self.lost = self.closing = True
        self.answers.open, self.hello = None, False
        self._to_say.clear()
        self._unacknowledged.clear()
        if self.wire is not None:
            self.wire.break_off()
            self.wire = None

    # --- from the wire

    def refused(self, wire: Wire, reason: str) -> None:
        """No WebSocket came of it."""
        if wire is self.wire:
            self.wire = None
            self._failures += 1
            if reason.startswith("full"):
                self._left = ""  # there may be room only where it comes from
            if self._failures in (1, 20):
                self.world.say(f"{self.name}: {wire.gateway} refuses: {reason}")
            self._later(self.random.uniform(0.1, 0.6), self._connect)

    def message(self, wire: Wire, data: bytes) -> None:
        if wire is not self.wire:
            return
        self._heard = self.world.loop.now
        match msgspec.json.decode(data):
            case ["hello", session_id, position, restored]:
                self._hello(session_id, position, restored)
            case ["ack", number]:
                self._acknowledged(number)
            case ["at", position, snapshot, events]:
                self.snapshot = snapshot
                self._position(position, events)
            case ["problem", code, text]:
                self.world.broken(f"{self.name} was told {code}: {text}")
                self.closing = True
            case ["going_away", _]:
                pass

    def said_goodbye(self, wire: Wire) -> None:
        """Nothing more is written to it."""
        if wire is self.wire:
            if self.world.takes_over(wire.gateway, self.session_id):
                self._unheard_at = self.world.loop.now
            self.hello = False
            self._heard = self.world.loop.now

    def closed(self, wire: Wire, code: int) -> None:
        """The gateway's Close, or the end of the connection (1006)."""
        if wire is self.wire:
            self.world.say(f"{self.name}: {wire.gateway} closes with {code}")
            if code == 1013 and self.world.loop.now > self.world.explained_for(self):
                self.world.broken(f"{self.name} was closed with 1013 by {wire.gateway}, for which there is no reason")
            if code == 4001 and not self._may_lose(wire.gateway):
                self.world.broken(f"{self.name} was closed with 4001 by {wire.gateway}, its newest connection")
            self._gone(wire, code)

    def _may_lose(self, gateway: str) -> bool:
        """What docs/adr/0003 leaves alone."""
        world = self.world
        return self.overtaken or world.heals() or world.watching.in_doubt(self, gateway)

    def _gone(self, wire: Wire, code: int) -> None:
        self.world.left(self, wire.gateway)
        whole = code in ORDERLY and wire.confirmed
        if self.answers.open is not None and not self.acks and not whole:
            self.answers.open.unsure = True
        unheard = not self.hello and code == 1006 and not wire.unseen
        if unheard or self.world.takes_over(wire.gateway, self.session_id):
            self._unheard_at = self.world.loop.now
        self.wire = None
        self.hello = False
        self.reconnects += 1
        if not self.closing:
            self._later(self.random.uniform(0.05, 0.8), self._connect)

    def _hello(self, session_id: str, position: int, restored: list[Any] | None) -> None:
        if self.session_id and session_id != self.session_id:
            self.world.broken(f"{self.name} got another session")
        if position > len(self.events) - 1 and self.session_id:
            self.world.broken(f"{self.name} has seen {len(self.events)} positions, its gateway goes on at {position}")
        if self.session_id:
            self.answers.restored(restored)
        self.session_id = session_id
        self.hello = True
        self._left = ""
        self._failures = 0
        if self.wire is not None:
            self.opened[self.wire.gateway] = self.world.loop.wall()
        self.moment("is connected")
        self.world.say(f"{self.name}: session opened at position {position} by {self.wire and self.wire.gateway}")
        for number, message in list(self._unacknowledged.items()):
            self._write(number, message)

    # --- up

    def _send(self, build: Callable[[int], str | bytes]) -> None:
        self._number += 1
        message = build(self._number)
        self._unacknowledged[self._number] = message
        if self.hello:
            self._write(self._number, message)

    def _write(self, number: int, message: str | bytes) -> None:
        assert self.wire is not None
        if not self.acks:  # it never says it again
            del self._unacknowledged[number]
        self.wire.send(message)

    def _acknowledged(self, number: int) -> None:
        for one in [n for n in self._unacknowledged if n <= number]:
            del self._unacknowledged[one]

    def _ask(self) -> None:
        if self.world.over or self.lost:
            return
        if self.answers.open is not None or not self.session_id:
            self._later(0.5, self._ask)
            return
        poison = self.world.poison if self.world.poison.is_asked(self.name, len(self.questions)) else None
        if self.random.random() < 0.6 or (poison is not None and poison.stage == "recognizer"):
            question = self._say(self._new_digits())
        else:
            question = self._type(f"{self.name} asks {len(self.questions)}")
        if poison is not None:
            question.poison, poison.text, poison.faults_before = poison, question.text, self.world.strikes.begun
        elif self._whims.random() < CANCELS:
            self._later(self._whims.uniform(0.0, 2.5), self._cancel, question)

    def _type(self, text: str) -> Question:
        question = self._begin(text, spoken=False, seconds=0.0)
        self._send(lambda n: msgspec.json.encode([n, "item", text]).decode())
        self._send(lambda n: msgspec.json.encode([n, "respond", ""]).decode())
        self.moment("has asked")
        return question

    def _say(self, text: str) -> Question:
        frames = [TONES[int(digit)] for digit in text] + [SILENCE] * SILENT_FRAMES
        bounds, at_once = self.world.bounds, self.world.bounds.narrow and self._whims.random() < AT_ONCE
        seconds = bounds.reads_by(len(frames)) if at_once else len(frames) * FRAME_SECONDS
        question = self._begin(text, spoken=True, seconds=seconds)
        if at_once:
            self.world.say(f"{self.name} says it all at once")
            question.limited_before, question.moves_before = self.world.counted(RATE_LIMITED), self.reconnects
            for frame in (*self._to_say, *recorded(frames)):
                self._send(lambda n, frame=frame: n.to_bytes(4, "big") + numbered(frame, n))  # type: ignore[misc]
            self._to_say = []
            self.moment("has asked")
            return question
        self._to_say = frames
        if not self._saying:
            self._say_next()
        return question

    def _begin(self, text: str, *, spoken: bool, seconds: float) -> Question:
        now = self.world.loop.now
        question = Question(text, spoken, now, now + seconds, self.world.counted_losses())
        self.answers.open = question
        self.questions.append(question)
        self.world.say(f"{self.name} {'says' if spoken else 'types'} {text!r}")
        self.moment("asks")
        return question

    def _cancel(self, question: Question) -> None:
        """The answer, whether or not it has begun."""
        if self.answers.open is question and not self.answers.unsure:
            self.world.say(f"{self.name} cancels the answer to {question.text!r}")
            self.answers.cancels += 1
            self._send(lambda n: msgspec.json.encode([n, "cancel", ""]).decode())

    def hears(self, question: Question) -> None:
        """An answer begins; perhaps it talks over it."""
        self.moment("hears")
        if self._whims.random() < INTERRUPTS and question.poison is None:
            self._later(self._whims.uniform(0.0, 1.0), self._interrupt, question)

    def _interrupt(self, question: Question) -> None:
        answers = self.answers
        if (
            answers.open is question
            and question.text_seen
            and not (answers.unsure or answers.cancels or self.world.over)
        ):
            self.world.say(f"{self.name} talks over the answer to {question.text!r}")
            answers.cut = question
            self._say(self._new_digits())

    def _new_digits(self) -> str:
        """What nobody has said yet, or was understood to have said: an answer tells its question."""
        questions = [question for client in self.world.clients for question in client.questions]
        said = {text for one in questions for text in (one.text, "".join(one.understood), *one.understood)}
        while (text := "".join(str(self.random.randint(1, 9)) for _ in range(self.random.randint(2, 7)))) in said:
            pass
        return text

    def _say_next(self) -> None:
        self._saying = bool(self._to_say)
        if self._to_say:
            frame = self._to_say.pop(0)
            self._send(lambda n: n.to_bytes(4, "big") + numbered(frame, n))
            self._later(FRAME_SECONDS, self._say_next)
            if len(self._to_say) == SILENT_FRAMES:
                self.moment("has asked")

    # --- down

    def _position(self, position: int, events: list[Any]) -> None:
        if position != len(self.events):
            self.world.broken(f"{self.name} got position {position}, expected {len(self.events)}")
            return
        self.events.append(events)
        for event in events:
            if not self.lost:
                self.answers.event(event)

    def answered(self, question: Question) -> None:
        if question.limited_before == self.world.counted(RATE_LIMITED) and question.moves_before == self.reconnects:
            self.world.broken(f"{self.name} has sent too much at once, which nobody has counted")
        self.world.answered(self, question)
        self.moment("is answered")
        self._ask_again()

    def _ask_again(self) -> None:
        seconds = self.random.uniform(0.1, 1.5) + self.world.idleness.after(self.name, len(self.questions))
        if seconds > EXPIRE_SECONDS:
            self.world.say(f"{self.name} says nothing for {seconds:.0f} s")
            self.idle_until = self.world.loop.now + seconds + 1.0
        self._later(seconds, self._ask)
