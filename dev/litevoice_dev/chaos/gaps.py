"""How long callers who waited for something heard nothing, per fault. Pure."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from litevoice_dev.chaos.records import Call, Happened

SETTLE_SECONDS = 10.0
"""A silence that begins later after a fault is none of it."""
BARS: Mapping[str, float] = {
    "gateway-drain": 0.5,
    "gateway-kill": 1.5,
    "worker-kill": 3.0,
    "broker-kill": 5.0,
    "broker-stop": 5.0,
    "broker-freeze": 5.0,
}
"""p99 in seconds. A broker's is counted from when it is back."""
_NO_ANSWER = ("session.created", "session.updated", "error", "litevoice.input_audio_buffer.confirmed")
_FROM_ITS_RETURN = ("broker-", "proxy-", "name-server-")


@dataclass(frozen=True, slots=True)
class Silence:
    """Somebody waited from `began` to `ended` and heard nothing. `first`: it was for the beginning of an answer."""

    began: float
    ended: float
    first: bool

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def silences(call: Call, now: float) -> list[Silence]:
    """All stretches between two events while an answer was due; an answer that has not come is due until `now`. One
    that the caller gave up is missing, or its question was lost in flight: the checker says which."""
    found = []
    times = [seen.at for seen in call.seen if seen.type not in _NO_ANSWER]
    for asked in call.asked:
        if asked.done_at is None and call.gave_up:
            continue
        until = now if asked.done_at is None else asked.done_at
        position = bisect.bisect_right(times, asked.asked_at)
        inside = times[position : bisect.bisect_right(times, until)]
        edges = [asked.asked_at, *inside, *([until] if asked.done_at is None else [])]
        found += [
            Silence(begin, end, first=number == 0) for number, (begin, end) in enumerate(itertools.pairwise(edges))
        ]
    return found


@dataclass(frozen=True, slots=True)
class Usual:
    """The longest silences of undisturbed calls: before an answer, and within one."""

    first: float
    later: float

    @classmethod
    def of(cls, controls: Iterable[Call]) -> Usual:
        every = [silence for call in controls for silence in silences(call, 0.0)]
        return cls(
            max((silence.seconds for silence in every if silence.first), default=0.0),
            max((silence.seconds for silence in every if not silence.first), default=0.0),
        )

    def excess(self, silence: Silence) -> float:
        return max(0.0, silence.seconds - (self.first if silence.first else self.later))


@dataclass(frozen=True, slots=True)
class Gap:
    """What one fault cost one caller: seconds beyond the usual, or after the return of what was away. `alone`: no fault
    of another kind was there at the time, or a moment before."""

    fault: Happened
    at: float
    seconds: float
    alone: bool = True


def gaps(faults: Sequence[Happened], calls: Sequence[tuple[Call, Usual]], now: float) -> list[Gap]:
    """For each fault the longest gap of every caller that waited at the time.

    Of several faults that a silence lies in, it is the one that began last before its end; who moved to another gateway
    although the fault was none of a gateway is counted like everybody.
    """
    found: dict[tuple[int, int], Gap] = {}
    for caller, (call, usual) in enumerate(calls):
        for silence in silences(call, now):
            causes = [
                number
                for number, fault in enumerate(faults)
                if fault.began < silence.ended and silence.began < fault.back_at + SETTLE_SECONDS
            ]
            if not causes:
                continue
            number = max(causes, key=lambda number: faults[number].began)
            fault = faults[number]
            seconds = usual.excess(silence)
            if fault.kind.startswith(_FROM_ITS_RETURN):
                seconds = min(seconds, max(0.0, silence.ended - max(fault.back_at, silence.began)))
            known = found.get((number, caller))
            if known is None or seconds > known.seconds:
                alone = len({faults[cause].kind for cause in causes}) == 1
                found[number, caller] = Gap(fault, silence.began, seconds, alone)
    return list(found.values())


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least that share of the values does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
