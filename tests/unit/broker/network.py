"""What lies between processes and the model broker: calls, polls and notices, with the delays and faults of a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.lite.commands import Answer
from litevoice_broker.lite.receiver import INVISIBLE_SECONDS
from tests.simulation.model.lite_topics import LiteTopics, Received
from tests.simulation.model.written import Writing
from tests.unit.broker.clock import Clock

CALL_SECONDS = 5.0
"""How long an answer is waited for."""
POLL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Faults:
    """How probable each is: of a call, a poll or a notice; the last three, of a second."""

    slow: float = 0.1
    lost_request: float = 0.0
    lost_answer: float = 0.0
    lost_wake_up: float = 0.0
    late_notice: float = 0.2
    broken_link: float = 0.0
    frozen: float = 0.0
    restart: float = 0.0


class Process(Protocol):
    """What the network knows of one.

    Attributes:
        me: its client id.
        link: number of its link; what is on its way over an older one is lost.
        told_link: over which the broker sends notices: the one that it has got the last subscription over.
    """

    me: str
    link: int
    linked: bool
    told_link: int

    def run(self, do: Callable[[], None]) -> None: ...

    def notice(self, name: str) -> None: ...


class Network:
    """`up`: the broker is."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.random = Random(seed)
        self.faults = faults
        self.clock = Clock()
        self.story: list[str] = []
        self.up = True
        self.broker = LiteTopics(
            self.random,
            Writing(self.clock.time),
            self.clock.after,
            on_notice=self._notify,
            on_wake=self._wake,
        )
        self.broker.lost_wake_ups = faults.lost_wake_up
        self._processes: dict[str, Process] = {}
        self._open_polls: dict[str, Callable[[], None]] = {}
        self._notice_at: dict[tuple[str, int], float] = {}

    def join(self, process: Process) -> None:
        self._processes[process.me] = process

    def say(self, what: str) -> None:
        self.story.append(f"{self.clock.now:8.3f} {what}")

    def delay(self) -> float:
        return self.random.uniform(0.05, 1.0) if self.happens(self.faults.slow) else self.random.uniform(0.001, 0.02)

    def happens(self, probability: float) -> bool:
        return self.random.random() < probability

    def call(
        self,
        process: Process,
        apply: Callable[[], Answer],
        answered: Callable[[Answer], None],
        timeout_seconds: float = CALL_SECONDS,
        *,
        asks: bool = False,
    ) -> None:
        """Answered once: when it has been applied, or when its answer does not come in time."""
        failed = BrokerUnavailable("no answer")
        link = process.link

        def arrive() -> None:
            if not self.up:
                self.clock.after(self.delay(), lambda: answered(BrokerUnavailable("no broker")))
                return
            answer = apply()
            lost = not asks and (self.happens(self.faults.lost_answer) or link != process.link)
            self.clock.after(timeout_seconds if lost else self.delay(), lambda: answered(failed if lost else answer))

        if not asks and self.happens(self.faults.lost_request):
            self.clock.after(timeout_seconds, lambda: answered(failed))
        else:
            self.clock.after(self.delay(), arrive)

    def poll(self, process: Process, received: Callable[[list[Received]], None]) -> None:
        open_until = self.clock.now + POLL_SECONDS
        link = process.link

        def ready() -> None:
            self._open_polls.pop(process.me, None)
            self.clock.after(self.delay(), answer)

        def answer() -> None:
            if link != process.link or not process.linked:
                return
            messages = self.broker.poll(process.me, INVISIBLE_SECONDS) if self.up else []
            if not messages and self.clock.now < open_until:
                self._open_polls[process.me] = ready
            else:
                self.clock.after(self.delay(), lambda: received(messages))

        def end() -> None:
            if self._open_polls.get(process.me) is ready:
                ready()

        self.clock.after(self.delay(), answer)
        self.clock.after(POLL_SECONDS, end)

    def _wake(self, client: str) -> None:
        if client in self._open_polls:
            self._open_polls.pop(client)()

    def _notify(self, client: str, name: str) -> None:
        """In order, over the link that is there now, if it lasts."""
        process = self._processes[client]
        link = process.link
        if not process.linked or process.told_link != link:
            return
        late = self.random.uniform(0.1, 2.0) if self.happens(self.faults.late_notice) else self.random.uniform(0, 0.01)
        at = max(self.clock.now + late, self._notice_at.get((client, link), 0.0))
        self._notice_at[client, link] = at

        def arrive() -> None:
            if process.linked and process.link == link:
                process.run(lambda: process.notice(name))

        self.clock.after(at - self.clock.now, arrive)
