"""What befalls one caller: several things at a time, to its own gateway and worker and on their way to the broker, at a
moment of its conversation. One fault alone the product survives by one mechanism; two at a time need both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

from tests.simulation.faults import MOMENTARY, Fault
from tests.simulation.loop import VirtualLoop

SHARE = 0.6
"""Of the seeds that have them, one after the other, in the place of scattered faults."""
INSIST_SHARE = 0.3
"""Of the callers that leave: they try the same gateway again first."""
LOST_ANSWERS_SHARE = 0.04
"""Of the seeds that have nothing else."""
TIMES = (1.5, 6.5, 11.5, 16.5)
"""When each begins, or up to SPREAD_SECONDS later."""
SPREAD_SECONDS = 3.5
MOMENTS = ("is connected", "asks", "has asked", "is understood", "hears", "is answered")
"""Of a conversation; something strikes at the next one of these, or a while after it."""
WAIT_SECONDS = 4.0
"""For the moment; if it does not come, it happens anyway."""
DELAYS = (0.004, 0.1, 1.0, 4.0)
"""After the moment, at most: while the first call is on its way, within a beat, in the middle, in the next question."""

WAYS = {
    "cut": 1,
    "restart broker": 1,
    "restart proxy": 1,
    "slow proxy": 1,
    "lossy proxy": 1,
    "failing proxy": 2,
    "late notices": 1,
    "lost wake-ups": 1,
}
GATEWAYS = {"kill gateway": 1, "freeze gateway": 2, "hang gateway": 2, "end gateway": 1, "isolate gateway": 2}
MOVES = {"client leaves": 2, "client moves": 1, "client vanishes": 1}
WORKERS = {
    "kill worker": 2,
    "freeze worker": 3,
    "hang worker": 1,
    "end worker": 1,
    "isolate worker": 1,
    "scale workers": 1,
}
SECONDS = {
    "freeze gateway": ((0.5, 2.0), (2.0, 5.0), (4.0, 8.0)),
    "freeze worker": ((1.0, 4.0), (14.0, 20.0)),
    "failing proxy": ((0.1, 1.0), (0.5, 2.0)),
}
"""How long what lasts else than the others: a worker that stands still is replaced after some 14 s."""
SHORT, LONG = (0.1, 1.0), (1.0, 4.0)


def misfortunes(seed: int, proxies: Sequence[str], clients: Sequence[str]) -> list[Fault]:
    """Three or four, or none. By a chance of its own, so that the other seeds keep their stories."""
    random = Random(f"misfortunes {seed}")
    if random.random() > SHARE:
        return []
    begin = [at + random.uniform(0.0, SPREAD_SECONDS) for at in TIMES[: random.choice((3, 4))]]
    insists = Random(f"insists {seed}")
    return [
        replace(fault, kind="client insists")
        if fault.kind == "client leaves" and insists.random() < INSIST_SHARE
        else fault
        for at in begin
        for fault in _misfortune(random, at, proxies, clients)
    ]


def lost_answers(seed: int, clients: Sequence[str]) -> list[Fault]:
    """A gateway's questions come to the broker, but not the answers, when its client asks something; and the worker
    dies when that is answered. What is sent again then comes to a worker that has not seen the first."""
    random = Random(f"lost answers {seed}")
    if random.random() > LOST_ANSWERS_SHARE:
        return []
    found = []
    for earliest in TIMES[:3]:
        caller, at = random.choice(clients), round(earliest + random.uniform(0.0, SPREAD_SECONDS), 3)
        asks, answered = (round(random.uniform(0.0, most), 4) for most in (0.1, 1.0))
        deaf, dead = (round(random.uniform(0.1, most), 3) for most in (0.8, 1.0))
        found += [
            Fault(at, "deafen gateway", f"{caller}'s gateway", seconds=deaf, moment=f"{caller} asks", delay=asks),
            Fault(
                at, "kill worker", f"{caller}'s worker", seconds=dead, moment=f"{caller} is answered", delay=answered
            ),
        ]
    return found


def _misfortune(random: Random, at: float, proxies: Sequence[str], clients: Sequence[str]) -> list[Fault]:
    caller = random.choice(clients)
    moment = f"{caller} {random.choice(MOMENTS)}"
    found = []

    def strikes(kind: str, target: str, moment: str = moment) -> None:
        seconds = random.uniform(*random.choice(SECONDS.get(kind, (SHORT, LONG))))
        other = random.choice([*proxies, "admin"]) if kind == "cut" else ""
        delay = random.uniform(0.0, random.choice(DELAYS))
        lasts = 0.0 if kind in MOMENTARY else round(seconds, 3)
        found.append(
            Fault(round(at, 3), kind, target, other, lasts, moment=moment, delay=round(delay, 4) if moment else 0.0)
        )

    if random.random() < 0.45:
        kind = _one_of(random, WAYS)
        on_proxy = kind.endswith("proxy")
        target = random.choice(proxies) if on_proxy else f"{caller}'s gateway" if kind == "cut" else ""
        strikes(kind, target, random.choice((moment, "")))  # or it is there already when the rest comes
    if random.random() < 0.7:
        strikes(_one_of(random, GATEWAYS), f"{caller}'s gateway")
    for number in range(random.choice((0, 1, 1, 2, 3))):  # again as soon as it is there
        strikes(_one_of(random, MOVES), caller, f"{caller} is connected" if number else moment)
    if random.random() < 0.6 or not found:
        other = f"{caller} {random.choice(MOMENTS)}"
        strikes(_one_of(random, WORKERS), f"{caller}'s worker", random.choice((moment, other)))
    return found


def _one_of(random: Random, weights: Mapping[str, int]) -> str:
    return random.choices(list(weights), list(weights.values()))[0]


class Moments:
    """Faults that wait for one in a conversation. `strike` is called with each, once."""

    def __init__(self, loop: VirtualLoop, strike: Callable[[Fault], None]) -> None:
        self._loop = loop
        self._strike = strike
        self._waiting: dict[str, list[Fault]] = {}

    def wait_for(self, fault: Fault) -> None:
        self._waiting.setdefault(fault.moment, []).append(fault)
        self._loop.within(None, WAIT_SECONDS, self._strike_anyway, fault)

    def came(self, moment: str) -> None:
        for fault in self._waiting.pop(moment, ()):
            self._loop.within(None, fault.delay, self._strike, fault)

    def _strike_anyway(self, fault: Fault) -> None:
        if fault in self._waiting.get(fault.moment, ()):
            self._waiting[fault.moment].remove(fault)
            self._strike(fault)
