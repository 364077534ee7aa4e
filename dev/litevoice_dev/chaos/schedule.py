"""What fails when: a list of faults from a seed. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from litevoice_contracts.errors import InvalidField

LINK_MODES = ("refuse", "reset", "black-hole", "delay")
"""New and old connections are refused; old ones are reset once; nothing flows; everything is late."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        role: what it strikes.
        how: what happens to it.
        brief, long: for how many seconds, in a short run (about) and in a long one (from, to). What is replaced at once
            (gateways, workers) is away for as long as its replacement needs to start.
    """

    role: str
    how: str
    brief: float
    long: tuple[float, float]

    @property
    def name(self) -> str:
        return f"{self.role}-{self.how}"


_AT_ONCE = (0.0, 0.0)
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("gateway", "drain", 0, _AT_ONCE),
        Kind("gateway", "kill", 0, _AT_ONCE),
        Kind("worker", "kill", 0, _AT_ONCE),
        Kind("worker", "drain", 0, _AT_ONCE),
        Kind("gateway", "freeze", 3, (2, 30)),
        Kind("worker", "freeze", 3, (2, 30)),
        Kind("client-link", "cut", 1, (1, 60)),
        Kind("gateway-link", "cut", 2, (1, 60)),
        Kind("worker-link", "cut", 2, (1, 60)),
        Kind("proxy", "kill", 1, (1, 20)),
        Kind("proxy", "stop", 1, (1, 20)),
        Kind("proxy", "freeze", 2, (2, 30)),
        Kind("name-server", "kill", 1, (1, 30)),
        Kind("name-server", "stop", 1, (1, 30)),
        Kind("name-server", "freeze", 2, (2, 30)),
        Kind("broker", "freeze", 2, (2, 20)),
        Kind("broker", "stop", 1, (1, 15)),
        Kind("broker", "kill", 1, (5, 15)),
    )
}
"""`kill` is kill -9, `stop` and `drain` SIGTERM, `freeze` SIGSTOP and SIGCONT."""

BRIEF_MINUTES = 10
"""A shorter run has brief faults, soon after one another."""
_BRIEF_SETTLE_SECONDS, _SETTLE_SECONDS = 2.0, 20.0
_START_SECONDS = {"gateway": 2.0, "worker": 2.0, "broker": 6.0, "proxy": 5.0, "name-server": 1.0}
"""About how long each takes to be up again, when the machine is not busy."""
_OVERLAPPING_EVERY_SECONDS = 12.0
_AT_ONCE_MOST = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """Seconds since the beginning of the disturbances; `target` counts within the role; `mode` is a link's."""

    at: float
    kind: str
    target: int
    seconds: float
    mode: str = ""

    def __str__(self) -> str:
        what = f"{self.kind} {self.target}"
        return f"{what} {self.mode}".rstrip() + (f", {self.seconds:.0f} s" if self.seconds else "")

    @property
    def over(self) -> float:
        """About when it has ended."""
        return self.at + self.seconds + _START_SECONDS.get(KINDS[self.kind].role, 0.0)


def kinds_from(text: str) -> list[str]:
    """Names of kinds, separated by commas; "" for all. Raises InvalidField."""
    names = [name.strip() for name in text.split(",") if name.strip()] or list(KINDS)
    for name in names:
        if name not in KINDS:
            raise InvalidField("--only", f"one or more of {', '.join(KINDS)}, got {name!r}")
    return names


def plan(seed: int, seconds: float, targets: Mapping[str, int], only: Collection[str] = ()) -> list[Fault]:
    """Faults in order: first each kind once, with time to settle in between, then overlapping ones until the end.

    Args:
        seconds: of the disturbances as a whole.
        targets: role → how many there are.

    Raises InvalidField when the time does not suffice for each kind once.
    """
    chance = random.Random(seed)
    brief = seconds < BRIEF_MINUTES * 60
    settle = _BRIEF_SETTLE_SECONDS if brief else _SETTLE_SECONDS
    kinds = [kind for kind in KINDS if not only or kind in only]
    faults: list[Fault] = []
    at = settle
    for number, kind in enumerate(kinds):
        fault = _fault(chance, at, kind, targets, brief=brief, number=number)
        faults.append(fault)
        at = fault.over + settle
    if at > seconds:
        raise InvalidField(
            "--minutes", f"at least {math.ceil(at / 6) / 10} for {len(kinds)} kinds of faults, got {seconds / 60:g}"
        )
    while True:
        at += chance.expovariate(1 / _OVERLAPPING_EVERY_SECONDS)
        fault = _fault(chance, at, chance.choice(kinds), targets, brief=brief, number=len(faults))
        if fault.over + settle > seconds:
            return faults
        if not _in_the_way(fault, faults):
            faults.append(fault)


def _fault(
    chance: random.Random, at: float, name: str, targets: Mapping[str, int], *, brief: bool, number: int
) -> Fault:
    kind = KINDS[name]
    seconds = kind.brief if brief else round(chance.uniform(*kind.long), 1)
    mode = LINK_MODES[number % len(LINK_MODES)] if kind.how == "cut" else ""
    return Fault(round(at, 1), name, chance.randrange(targets[kind.role]), seconds, mode)


def _in_the_way(fault: Fault, before: Sequence[Fault]) -> bool:
    """Whether its target is still under another one, or enough happens at that moment."""
    under_way = [other for other in before if other.over > fault.at]
    mine = (KINDS[fault.kind].role, fault.target)
    return len(under_way) >= _AT_ONCE_MOST or mine in [(KINDS[o.kind].role, o.target) for o in under_way]
