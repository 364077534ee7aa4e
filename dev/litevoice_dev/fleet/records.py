"""What happened to a fleet, as its watcher and its callers wrote it down: what the judge looks at."""

from __future__ import annotations

from dataclasses import dataclass

PLANNED = ("scale-up", "scale-down", "rollout", "node-drain")
"""Kinds of steps in which sessions are moved on purpose, and nobody is to notice."""
STRIKING = ("pod-kill", "node-cut")
"""Kinds in which a gateway is taken away with all that it holds."""


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One gateway.

    Attributes:
        going: marked to be removed, draining, or ending.
        sessions, in_turn: as it says; None and 0 when it did not answer.
    """

    name: str
    node: str
    revision: str
    ready: bool
    going: bool
    cordoned: bool
    sessions: int | None
    in_turn: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """All gateways at one moment (time.monotonic())."""

    at: float
    pods: tuple[PodSeen, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done to the fleet, and what it waited for.

    Attributes:
        struck: pods that it ended itself.
        problem: what did not come about, in words.
    """

    kind: str
    what: str
    began: float
    ended: float
    struck: frozenset[str] = frozenset()
    problem: str = ""

    @property
    def planned(self) -> bool:
        return self.kind in PLANNED


@dataclass(frozen=True, slots=True)
class Stay:
    """A call of somebody who cannot come back. `hung_up`: the caller ended it; else `code` of the Close, None without
    one."""

    caller: int
    began: float
    ended: float
    hung_up: bool
    code: int | None = None
