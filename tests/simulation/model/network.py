"""What lies between programs and proxies: links that keep the order, delay, are cut, and break with either end.

A cut loses nothing by itself: like TCP, a link sends what it has kept when the cut ends, if it is still there.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.loop import Process, VirtualLoop

RETRANSMISSION_SECONDS = 0.4
TICK = 1e-6
"""Between two messages of a link: timers of the same moment keep no order."""


class Network:
    """`random` decides delays only, so that a run with fewer faults has the same ones for as long as it can."""

    def __init__(self, loop: VirtualLoop, random: Random) -> None:
        self.loop = loop
        self.random = random
        self.slow: dict[str, float] = {}
        """Most seconds that are added on the way to and from a proxy (or a gateway, for its clients)."""
        self.deaf: set[str] = set()
        """Programs that do not hear what becomes of what they send."""
        self.links: dict[Link, None] = {}
        self._cuts: dict[tuple[str, str], int] = {}

    def delay(self, *ends: str) -> float:
        chance = self.random.random()
        seconds = 0.0005 + 0.003 * chance if chance < 0.97 else self.random.uniform(0.01, 0.2)
        for end in ends:
            if end in self.slow:
                seconds += self.random.uniform(0.0, self.slow[end])
        return seconds

    def is_cut(self, one: str, other: str) -> bool:
        return (one, other) in self._cuts

    def is_cut_off(self, one: str) -> bool:
        """From anything."""
        return any(end == one for end, _ in self._cuts)

    def cut(self, one: str, other: str) -> None:
        self._cuts[one, other] = self._cuts.get((one, other), 0) + 1

    def mend(self, one: str, other: str) -> None:
        self._cuts[one, other] -= 1
        if not self._cuts[one, other]:
            del self._cuts[one, other]
        for link in list(self.links):
            if (link.process.name, link.far) == (one, other):
                link.mended()

    def process_died(self, process: Process) -> None:
        for link in list(self.links):
            if link.process is process:
                link.close()

    def proxy_died(self, far: str) -> None:
        for link in list(self.links):
            if link.far == far:
                link.break_off()


class Link:
    """One TCP connection of a process to a proxy. `on_gone` runs at the proxy when it sees the end of it; `on_broken`
    in the process."""

    def __init__(self, network: Network, process: Process, far: str) -> None:
        self.network = network
        self.process = process
        self.far = far
        self.open = True
        """At the process's end."""
        self.alive = True
        """At the proxy's."""
        self.on_gone: Callable[[], None] = lambda: None
        self.on_broken: Callable[[], None] = lambda: None
        self._held: list[tuple[bool, Callable[[], None]]] = []
        self._last_up = self._last_down = 0.0
        network.links[self] = None

    def __repr__(self) -> str:
        return f"{self.process}→{self.far}"

    def up(self, do: Callable[[], None]) -> None:
        """At the proxy, in order."""
        network = self.network
        at = max(self._last_up + TICK, network.loop.now + network.delay(self.far))
        self._last_up = at
        network.loop.within(None, at - network.loop.now, self._arrive, True, do)

    def down(self, do: Callable[[], None]) -> None:
        """In the process, in order."""
        network = self.network
        at = max(self._last_down + TICK, network.loop.now + network.delay(self.far))
        self._last_down = at
        network.loop.within(None, at - network.loop.now, self._arrive, False, do)

    def close(self) -> None:
        """The process closes it, or dies."""
        if self.open:
            self.open = False
            self.up(self._gone)

    def break_off(self) -> None:
        """The proxy dies."""
        if self.alive:
            self.alive = False
            self.down(self._broken)

    def mended(self) -> None:
        held, self._held = self._held, []
        for up, do in held:
            seconds = self.network.random.uniform(0, RETRANSMISSION_SECONDS)
            last = max(self.network.loop.now + seconds, (self._last_up if up else self._last_down) + TICK)
            if up:
                self._last_up = last
            else:
                self._last_down = last
            self.network.loop.within(None, last - self.network.loop.now, self._arrive, up, do)

    def _arrive(self, up: bool, do: Callable[[], None]) -> None:
        if self.network.is_cut(self.process.name, self.far):
            self._held.append((up, do))
        elif up and self.alive:
            do()
        elif not up and self.open and not self.process.dead:
            self.network.loop.within(self.process, 0.0, do)
        if not self.open and not self.alive:
            self.network.links.pop(self, None)

    def _gone(self) -> None:
        self.alive = False
        self.on_gone()
        self.network.links.pop(self, None)

    def _broken(self) -> None:
        self.open = False
        self.on_broken()
        self.network.links.pop(self, None)


def field(metadata: Any, name: str) -> str:
    return next((str(value) for key, value in metadata or () if key == name), "")
