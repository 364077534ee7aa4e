"""Owners of LiteTopics in virtual time over the simulator's model broker: the seed decides delays and faults.

What is real is the state machine (`Ownership`); an `Owner` is what is around it, and reaches the broker through the
`Network` only.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.model.lite_topics import Received
from tests.unit.broker.network import Faults, Network
from tests.unit.broker.owner import Owner, Takeover

SETTLED_SECONDS = 30.0
"""Longer than INVISIBLE_SECONDS, a full sync, a poll and the waits of a takeover that brought nothing."""


class World(Network):
    """`owners` processes, `sessions` clients that move between them while somebody sends to their LiteTopics. `fences`:
    nobody sends, and who comes takes one step, as a worker does for a partition."""

    def __init__(
        self,
        seed: int,
        faults: Faults,
        *,
        owners: int = 3,
        sessions: int = 2,
        seconds: float = 20.0,
        fences: bool = False,
    ) -> None:
        super().__init__(seed, faults)
        self.fences = fences
        self._ends = seconds
        self.owners: dict[str, Owner] = {}
        for me in (f"owner-{number}" for number in range(owners)):
            self.owners[me] = Owner(self, me, fences=fences, deliver=self._deliver)
        self.takeovers: dict[str, list[Takeover]] = {f"s-{number}": [] for number in range(sessions)}
        self.clients: dict[str, list[int]] = {name: [] for name in self.takeovers}
        for name in self.takeovers:
            self._later(0.5, 0.5, lambda name=name: self._move(name))  # type: ignore[misc]
            if not fences:
                self._later(0.0, 1.0, lambda name=name: self._send(name))  # type: ignore[misc]
        for number in range(int(seconds)):
            self.clock.after(number + self.random.random(), self._fault)

    def run(self) -> None:
        """Until everything had time to settle; then the broker is asked to deliver what it has once more."""
        self.clock.run(self._ends)
        self.faults = Faults(slow=0.0, late_notice=0.0)
        self.broker.lost_wake_ups = 0.0
        for owner in self.owners.values():
            owner.thaw()
        self.clock.run(SETTLED_SECONDS)
        if not self.fences:
            for name in self.takeovers:
                self.broker.send(name, b"")
            self.clock.run(SETTLED_SECONDS)

    def owned_by(self, name: str) -> list[str]:
        return [owner.me for owner in self.owners.values() if owner.ownership.get(name) is not None]

    # --- what came of it

    def broken(self) -> list[str]:
        """What must never be, when everything has settled."""
        found = []
        for name, takeovers in self.takeovers.items():
            owners, listed, seen = self.owned_by(name), self.broker.subscribers(name), self.clients[name]
            if len(owners) > 1 or owners != listed:
                found.append(f"{name}: owned by {owners}, the broker lists {listed}")
            if seen != list(range(len(seen))):
                found.append(f"{name}: its client has got {seen}")
            if owners == [takeovers[-1].owner] and len(seen) < self.broker.length(name):
                found.append(f"{name}: its client has got {len(seen)} of {self.broker.length(name)}")
            for owner in self.owners.values():
                takeover = owner.takeovers.get(name)
                if takeover is not None and not takeover.over and takeover.evictions != (owner.me not in owners):
                    found.append(f"{name}: {owner.me} was told {takeover.evictions} times that it lost it")
        return found

    def unfair(self) -> list[str]:
        """LiteTopics whose newest owner has lost them to an older one, or to nobody."""
        found = []
        for name, takeovers in self.takeovers.items():
            begun = takeovers[-1].begun
            newest = [takeover for takeover in takeovers if takeover.ended is None or takeover.ended >= begun]
            if not any(takeover.over for takeover in newest):
                owners, expected = self.owned_by(name), sorted({takeover.owner for takeover in newest})
                if not set(owners) & set(expected):
                    found.append(f"{name}: owned by {owners}, not {expected}")
        return found

    # --- what happens

    def _later(self, low: float, high: float, do: Callable[[], None]) -> None:
        self.clock.after(self.random.uniform(low, high), do)

    def _send(self, name: str) -> None:
        if self.clock.now < self._ends:
            if self.up:
                self.broker.send(name, b"")
            self._later(0.0, self.random.choice([0.05, 0.5, 3.0]), lambda: self._send(name))

    def _move(self, name: str) -> None:
        """The client comes to some owner, and tells it what it has seen."""
        if self.clock.now >= self._ends:
            return
        owner = self.random.choice(list(self.owners.values()))
        previous = self.takeovers[name][-1] if self.takeovers[name] else None
        if previous is not None and previous.ended is not None and self.happens(0.2):
            left = self.owners[previous.owner]
            if not left.frozen:
                left.release(name)
        if not owner.frozen:
            self.come(name, owner)
        self._later(0.0, self.random.choice([0.1, 1.0, 4.0]), lambda: self._move(name))

    def come(self, name: str, owner: Owner) -> None:
        self.takeovers[name].append(owner.take_over(name, len(self.clients[name])))

    def _deliver(self, owner: Owner, message: Received) -> None:
        """The client listens to the owner that it came to last."""
        if self.takeovers[message.name][-1].owner == owner.me:
            self.clients[message.name].append(message.position)

    def _fault(self) -> None:
        owner = self.random.choice(list(self.owners.values()))
        if self.happens(self.faults.broken_link):
            owner.break_link()
        if self.happens(self.faults.frozen) and not owner.frozen:
            self.say(f"{owner.me}: frozen")
            owner.frozen = True
            self._later(0.1, 4.0, owner.thaw)
        if self.happens(self.faults.restart) and self.up:
            self.say("broker down")
            self.up = False
            self.broker.restart()
            self._later(3.5, 8.0, self._up_again)

    def _up_again(self) -> None:
        self.say("broker up")
        self.broker.restart()
        self.up = True
