"""How fast sessions of one fleet may be moved: one measure for everything that moves them, so that drains, rollouts and
rebalancing together leave the broker room for those that come by themselves. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.scale import Load

TAKEOVERS_PER_SECOND = 849
"""Measured with one broker, 5,000 sessions at once (docs/sizing.md)."""
SHARE = 4
"""Moves on purpose take this part of it: the others are for clients whose gateway has died."""
BURST_SECONDS = 1.0


def moves_per_second(spec: VoiceGatewaySpec) -> int:
    """Of the whole fleet; each of its brokers has sessions of its own."""
    return TAKEOVERS_PER_SECOND * spec.rocketmq.brokers // SHARE


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
    """

    rates: Mapping[str, int]
    under_way: Mapping[str, int]
    left: int


def drains(pods: Sequence[Load], to_tell: Sequence[str], granted: Mapping[str, int], spec: VoiceGatewaySpec) -> Drains:
    """`to_tell`: in this order; `granted`: rates as returned before. One that would not be empty in time at what is
    left for it is not told until others are done. What somebody else has told drains as fast as the spec allows."""
    drain, most = spec.drain, moves_per_second(spec)
    by_name = {pod.name: pod for pod in pods}
    active = {
        pod.name: granted.get(pod.name, drain.rate_per_second)
        for pod in pods
        if pod.draining and pod.sessions != 0 and not pod.empty
    }
    left = max(0, most - sum(active.values()))
    rates: dict[str, int] = {}
    for index, name in enumerate(to_tell):
        needed = math.ceil((by_name[name].sessions or 0) / drain.timeout_seconds)
        share = max(needed, left // (len(to_tell) - index), 1)
        rate = min(share, drain.rate_per_second)
        if needed <= rate <= left:
            rates[name] = rate
            left -= rate
    return Drains(rates, active, left)
