"""How fast sessions of one fleet may be moved: one measure for everything that moves them, so that drains, rollouts and
rebalancing together leave the broker room for those that come by themselves. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from litevoice_contracts.settings import CLOSE_TIMEOUT_SECONDS, LAST_CALL_SECONDS
from litevoice_operator.api.voice_gateway import AFTER_DRAIN_SECONDS, Drain, VoiceGatewaySpec
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.scale import Load

TAKEOVERS_PER_SECOND = 849
"""Measured with one broker, 5,000 sessions at once (docs/sizing.md)."""
SHARE = 4
"""Moves on purpose take this part of it: the others are for clients whose gateway has died."""
BURST_SECONDS = 1.0
CLOSING_SECONDS = CLOSE_TIMEOUT_SECONDS + LAST_CALL_SECONDS


def moves_per_second(spec: VoiceGatewaySpec) -> int:
    """Of the whole fleet; each of its brokers has sessions of its own."""
    return TAKEOVERS_PER_SECOND * spec.rocketmq.brokers // SHARE


def moving_seconds(timeout_seconds: int) -> float:
    """Of a drain that must be over after `timeout_seconds`: in which sessions can be told so that each has its time to
    answer the Close; of a very short drain half of it."""
    return max(timeout_seconds - CLOSING_SECONDS, timeout_seconds / 2)


def timeout_for(seconds: float) -> int:
    """The other way round: the shortest `timeout_seconds` with so many `moving_seconds`."""
    return math.ceil(min(seconds + CLOSING_SECONDS, seconds * 2))


@dataclass(frozen=True, slots=True)
class Bucket:
    """Moves that may be made at once; `at`: when there were so many (seconds, on the clock of `now`)."""

    tokens: float
    at: float

    def filled(self, per_second: float, now: float) -> Bucket:
        """With what has come since; never more than what comes in BURST_SECONDS."""
        more = max(0.0, now - self.at) * per_second
        return Bucket(min(per_second * BURST_SECONDS, self.tokens + more), now)

    def without(self, moves: int) -> Bucket:
        return Bucket(self.tokens - moves, self.at)


@dataclass(frozen=True, slots=True)
class Drains:
    """Attributes:
    rates: of those to be told now, sessions per second.
    under_way: of those that drain already.
    left: what the bucket gets meanwhile.
    too_full: those that hold more than can be moved in time, and how many can be.
    """

    rates: Mapping[str, int]
    under_way: Mapping[str, int]
    left: int
    too_full: Mapping[str, int] = field(default_factory=dict)

    def noted(self, finding: Finding | None) -> Finding | None:
        """With who waits because it is too full; `finding`: what is waited for."""
        if finding is None or not self.too_full:
            return finding
        named = ", ".join(f"{name} until it holds {most}" for name, most in list(self.too_full.items())[:3])
        why = "more sessions than can be moved in time, by the drain limits that they were started with"
        return replace(finding, message=f"{finding.message}; some hold {why}, and wait: {named}")


def drains(pods: Sequence[Load], to_tell: Sequence[str], granted: Mapping[str, int], spec: VoiceGatewaySpec) -> Drains:
    """`to_tell`: in this order; `granted`: rates as returned before. One that would not be empty in time at what is
    left for it is not told until others are done; nor one that would not be at the best. What somebody else has told
    drains as fast as it can. A gateway drains by the limits that it was started with, whatever the spec says by now."""
    drain, most = spec.drain, moves_per_second(spec)
    by_name = {pod.name: pod for pod in pods}
    active = {
        pod.name: granted.get(pod.name, pod.drain_rate or drain.rate_per_second)
        for pod in pods
        if pod.draining and pod.sessions != 0 and not pod.empty
    }
    left = max(0, most - sum(active.values()))
    rates: dict[str, int] = {}
    too_full: dict[str, int] = {}
    for index, name in enumerate(to_tell):
        pod = by_name[name]
        fastest, seconds = _own_limits(pod, drain)
        needed = math.ceil((pod.sessions or 0) / seconds)
        share = max(needed, left // (len(to_tell) - index), 1)
        rate = min(share, fastest)
        if needed > min(fastest, most):
            too_full[name] = math.floor(min(fastest, most) * seconds)
        elif rate <= left:
            rates[name] = rate
            left -= rate
    return Drains(rates, active, left, too_full)


def _own_limits(pod: Load, drain: Drain) -> tuple[int, float]:
    """Sessions per second at most, and for how many seconds."""
    timeout_seconds = pod.grace_seconds - AFTER_DRAIN_SECONDS
    return pod.drain_rate or drain.rate_per_second, moving_seconds(
        timeout_seconds if timeout_seconds > 0 else drain.timeout_seconds
    )
