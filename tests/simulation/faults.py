"""What goes wrong in a run: a list that the seed decides beforehand, so that a shorter list can be tried."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

BUSY_SECONDS = 40.0
"""Faults begin in this time; none lasts longer than LONGEST_SECONDS."""
LONGEST_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Fault:
    """`at`: seconds after the beginning; `seconds`: how long it lasts, or until the program is started again."""

    at: float
    kind: str
    target: str = ""
    other: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        where = f" {self.target}" + (f" and {self.other}" if self.other else "")
        return f"{self.at:7.3f} {self.kind}{where if self.target else ''} for {self.seconds:.2f} s"


WEIGHTS = {
    "kill gateway": 3,
    "end gateway": 3,
    "freeze gateway": 2,
    "kill worker": 3,
    "end worker": 3,
    "freeze worker": 2,
    "cut": 3,
    "restart broker": 2,
    "restart proxy": 2,
    "name server down": 2,
    "slow proxy": 2,
    "lossy proxy": 2,
    "late notices": 2,
    "lost wake-ups": 2,
    "client moves": 4,
    "client leaves": 3,
}


def schedule(seed: int, gateways: list[str], workers: list[str], proxies: list[str], clients: list[str]) -> list[Fault]:
    """A few faults of a few kinds: a seed that does everything at once finds little, and explains less."""
    random = Random(f"faults {seed}")
    kinds = random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=random.randint(1, 5))
    found = []
    for _ in range(random.randint(1, 8)):
        kind = random.choice(kinds)
        at = round(random.uniform(2.0, BUSY_SECONDS), 3)
        target = other = ""
        seconds = random.choice(
            [random.uniform(0.1, 1.0), random.uniform(1.0, 5.0), random.uniform(3, LONGEST_SECONDS)]
        )
        match kind.split():
            case [_, "gateway"]:
                target = random.choice(gateways)
            case [_, "worker"]:
                target = random.choice(workers)
            case ["cut"]:
                target, other = random.choice(gateways + workers), random.choice([*proxies, *proxies, "admin"])
            case [_, "proxy"]:
                target = random.choice(proxies)
            case ["client", _]:
                target = random.choice(clients)
            case _:
                pass
        found.append(Fault(at, kind, target, other, round(seconds, 3)))
    return sorted(found, key=lambda fault: fault.at)
