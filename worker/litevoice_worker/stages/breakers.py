"""Which of several endpoints to ask, and which not to for a while: a circuit breaker for each.

Pure: the clock is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FAILURES = 3
"""In a row, after which an endpoint is not asked for a while."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0
"""How long not: each time that it fails again twice as long."""


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    pause_seconds: float = 0.0
    asked_again_at: float = 0.0


class Breakers:
    """Of `count` endpoints, the preferred one first."""

    def __init__(self, count: int) -> None:
        self._breakers = [_Breaker() for _ in range(count)]

    def admitted(self, now: float) -> Iterator[int]:
        """The endpoints to ask, in this order, until one answers. When the pause of one is over, one request finds out
        how it is, and the others go on without it."""
        for index, breaker in enumerate(self._breakers):
            if now < breaker.asked_again_at:
                continue
            if breaker.pause_seconds:
                breaker.asked_again_at = now + breaker.pause_seconds
            yield index

    def succeeded(self, index: int) -> None:
        self._breakers[index] = _Breaker()

    def failed(self, index: int, now: float) -> None:
        breaker = self._breakers[index]
        breaker.failures += 1
        if breaker.failures >= FAILURES:
            breaker.pause_seconds = min(breaker.pause_seconds * 2 or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            breaker.asked_again_at = now + breaker.pause_seconds
