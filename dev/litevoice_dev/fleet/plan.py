"""What is done to the fleet, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

from litevoice_contracts.errors import InvalidField

SMALL, LARGE = 1, 4
"""Gateways of a scaled fleet."""
KINDS = ("scale", "rollout", "node-drain", "node-cut", "pod-kill", "api-away")
SESSIONS_OF_ONE = 100
"""Room that a gateway has beyond all sessions, where it is to hold them alone."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is done, and how long things are waited for.

    Attributes:
        sessions, speaking, staying, away_seconds: what the options are without a word of them.
        times: a fleet is scaled up and down, and rolled.
        kinds: of steps.
        quiet_seconds: at the beginning, in which nothing is done: what is usual.
        between_seconds: after each step, until what is usual is usual again.
        spread_seconds: after a scale-up: the operator moves sessions a minute after it has seen an uneven spread.
        drain_seconds: how long those who cannot come back may stay.
        pause_seconds: between two questions of somebody who types, from and to.
    """

    sessions: int
    speaking: int
    staying: int
    away_seconds: float
    times: int
    kinds: tuple[str, ...]
    quiet_seconds: float
    between_seconds: float
    spread_seconds: float
    drain_seconds: int
    pause_seconds: tuple[float, float]


WHOLE = Extent(150, 20, 5, 180.0, 3, KINDS, 60.0, 30.0, 90.0, 60, (8.0, 32.0))
BRIEF = Extent(16, 4, 2, 15.0, 1, ("scale", "rollout"), 15.0, 5.0, 0.0, 15, (2.0, 10.0))


@dataclass(frozen=True, slots=True)
class Planned:
    """`replicas`: to which the fleet is scaled; `number`: the how-manieth of its kind."""

    kind: str
    number: int = 1
    replicas: int = 0

    def __str__(self) -> str:
        scaled = f" to {self.replicas}" if self.replicas else ""
        return f"{self.kind}{scaled} ({self.number})"


def plan(extent: Extent = WHOLE, only: str = "") -> list[Planned]:
    """`only`: kinds, separated by commas; empty for those of `extent`. Raises InvalidField."""
    chosen = {kind.strip() for kind in only.split(",") if kind.strip()} or set(extent.kinds)
    if unknown := sorted(chosen - set(KINDS)):
        raise InvalidField("--only", f"some of {', '.join(KINDS)}, got {', '.join(unknown)}")
    steps = []
    for number in range(1, extent.times + 1):
        if "scale" in chosen:
            steps += [Planned("scale-up", number, LARGE), Planned("scale-down", number, SMALL)]
    if "rollout" in chosen:
        steps += [Planned("rollout", number) for number in range(1, extent.times + 1)]
    return steps + [Planned(kind) for kind in KINDS[2:] if kind in chosen]


def max_per_pod(sessions: int, *, full: bool) -> int:
    """`full`: LARGE gateways have a place for each session, and no more."""
    return math.ceil(sessions / LARGE) if full else sessions + SESSIONS_OF_ONE


def check(sessions: int, speaking: int, staying: int, away_seconds: float) -> None:
    """Raises InvalidField."""
    if not LARGE <= sessions <= 1000:
        raise InvalidField("--sessions", f"{LARGE} to 1000, got {sessions}")
    if not 1 <= speaking < sessions:
        raise InvalidField("--speaking", f"1 to less than --sessions ({sessions}), got {speaking}")
    if not 0 <= staying <= 100:
        raise InvalidField("--staying", f"0 to 100, got {staying}")
    if not 10 <= away_seconds <= 600:
        raise InvalidField("--away", f"10 to 600 seconds, got {away_seconds:g}")
