"""What goes wrong in a run: a list that the seed decides beforehand, so that a shorter list can be tried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

BUSY_SECONDS = (4.0, 8.0, 16.0)
"""Faults begin within one of these times; none lasts longer than LONGEST_SECONDS."""
LONGEST_SECONDS = 12.0
JUMPED_SECONDS = 600.0
"""By so much a clock jumps at most."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`at`: seconds after the beginning; `seconds`: how long it lasts, or until the program is started again; `by`: how
    many seconds a clock jumps; `moment`: of a conversation ("caller-0 asks"), that is waited for from `at` on; it
    strikes `delay` seconds after it. "caller-0's gateway" is the one that it has then."""

    at: float
    kind: str
    target: str = ""
    other: str = ""
    seconds: float = 0.0
    by: float = 0.0
    moment: str = ""
    delay: float = 0.0

    def __str__(self) -> str:
        where = f" {self.target}" + (f" and {self.other}" if self.other else "")
        by = f" by {self.by:+.0f} s" if self.by else ""
        when = f", {self.delay:.4f} s after {self.moment}" if self.moment else ""
        return f"{self.at:7.3f} {self.kind}{where if self.target else ''}{by} for {self.seconds:.2f} s{when}"


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
    "client vanishes": 3,
    "scale workers": 2,
}
MOMENTARY = ("client moves", "client leaves", "client vanishes", "client insists", "end gateway", "end worker")
"""What does not last, so that it explains no silence but the one just after it."""
WORKERS_GO = {"kill worker", "end worker", "freeze worker", "scale workers"}
TAKEOVERS_WORK = {"kill gateway", "end gateway", "client moves", "client leaves", "client vanishes", "clock jumps"}


STALLS = {
    "kill gateway": 1.5,
    "end gateway": 3.0,
    "freeze gateway": 1.5,
    "hang gateway": 1.5,
    "deafen gateway": 5.0,
    "kill worker": 3.0,
    "end worker": 3.0,
    "freeze worker": 5.0,
    "hang worker": 3.0,
    "cut": 5.0,
    "isolate gateway": 5.0,
    "isolate worker": 5.0,
    "restart broker": 10.0,
    "restart proxy": 10.0,
    "name server down": 1.0,
    "slow proxy": 5.0,
    "lossy proxy": 5.0,
    "failing proxy": 5.0,
    "late notices": 3.0,
    "lost wake-ups": 2.0,
    "client moves": 1.5,
    "client leaves": 1.5,
    "client vanishes": 1.5,
    "scale workers": 9.0,
    "start gateway": 3.0,
    "start worker": 3.0,
}
"""For how many seconds after its end a fault still explains silence: the bars of the project (a gateway's end 1.5, a
worker's 3, the broker's return 10), and what a call to the broker takes that nobody answers (3), with a second try."""


def callers_hurry(faults: list[Fault]) -> bool:
    """They leave before a gateway would ask a silent worker: where workers go, and nothing holds up a takeover."""
    kinds = {fault.kind for fault in faults}
    return bool(kinds & WORKERS_GO) and kinds <= WORKERS_GO | TAKEOVERS_WORK


def schedule(seed: int, gateways: list[str], workers: list[str], proxies: list[str], clients: list[str]) -> list[Fault]:
    """A few faults of a few kinds: a seed that does everything at once finds little, and explains less."""
    if hurried := _workers_die(seed, workers):
        return hurried
    random = Random(f"faults {seed}")
    kinds = random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=random.randint(1, 5))
    found = []
    busy = random.choice(BUSY_SECONDS)
    for _ in range(random.randint(1, 7)):
        kind = random.choice(kinds)
        at = round(random.uniform(2.0, 2.0 + busy), 3)
        target = other = ""
        seconds = random.choice(
            [random.uniform(0.1, 1.0), random.uniform(1.0, 4.0), random.uniform(3, LONGEST_SECONDS)]
        )
        match kind.split():
            case [_, "gateway"]:
                target = random.choice(gateways)
            case [_, "worker" | "workers"]:
                target = random.choice(workers)
            case ["cut"]:
                target, other = random.choice(gateways + workers), random.choice([*proxies, *proxies, "admin"])
            case [_, "proxy"]:
                target = random.choice(proxies)
            case ["client", _]:
                target = random.choice(clients)
            case _:
                pass
        found.append(Fault(at, kind, target, other, 0.0 if kind in MOMENTARY else round(seconds, 3)))
    return sorted(found + _jumps(seed, gateways + workers, 2.0 + busy), key=lambda fault: fault.at)


def one_of_several(random: Random, faults: list[Fault], brokers: int) -> list[Fault]:
    """With several, one dies at a time, and in half of the seeds one does beside all the rest."""
    if brokers < 2:
        return faults
    if random.random() < 0.5:
        dies = Fault(round(random.uniform(3.0, 12.0), 3), "restart broker", seconds=round(random.uniform(1.0, 8.0), 3))
        faults = sorted([*faults, dies], key=lambda fault: fault.at)
    return [
        replace(fault, target=f"broker-{random.randrange(brokers)}") if fault.kind == "restart broker" else fault
        for fault in faults
    ]


def _workers_die(seed: int, workers: list[str]) -> list[Fault]:
    """In one seed of eight nothing else goes wrong, but all of them die at about the same moment, twice perhaps."""
    random = Random(f"workers {seed}")
    if random.random() > 1 / 8:
        return []
    found = []
    for begin in (random.uniform(3.0, 5.0), random.uniform(12.0, 16.0))[: random.randint(1, 2)]:
        for worker in workers:
            at, seconds = begin + random.uniform(0.0, 0.3), random.uniform(1.0, 6.0)
            found.append(Fault(round(at, 3), "kill worker", worker, seconds=round(seconds, 3)))
    return sorted(found, key=lambda fault: fault.at)


def _jumps(seed: int, programs: list[str], until: float) -> list[Fault]:
    """The wall clocks of one seed in six jump, forwards or backwards, and are set right again: a fault that explains no
    silence. By a chance of its own, so that the other seeds tell the story that they told before there were jumps."""
    random = Random(f"clocks {seed}")
    if random.random() > 1 / 6:
        return []
    return [
        Fault(
            round(random.uniform(2.0, until), 3),
            "clock jumps",
            random.choice(programs),
            seconds=round(random.uniform(1.0, LONGEST_SECONDS), 3),
            by=round(random.choice((-1, 1)) * random.uniform(60.0, JUMPED_SECONDS), 3),
        )
        for _ in range(random.randint(1, 2))
    ]
