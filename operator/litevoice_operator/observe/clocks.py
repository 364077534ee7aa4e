"""How far the clock of a pod is off, from the Date of its answers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

OFF_SECONDS = 2.0
"""A clock that is off by less harms nothing."""
_RESOLUTION_SECONDS = 1.0
"""Of a Date; the rest of the second is cut off."""


def clock_offset(date: str, asked_at: float, answered_at: float) -> float | None:
    """How many seconds a clock is ahead of ours, at least; below 0: behind. 0 while it may be right, None when `date`
    says nothing. `asked_at` and `answered_at` are by our clock: the other one was read in between."""
    try:
        told = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    if told > answered_at:
        return told - answered_at
    return min(0.0, told + _RESOLUTION_SECONDS - asked_at)


def off(clocks: Mapping[str, float]) -> dict[str, float]:
    """Those of the clocks (whose → how many seconds ahead of ours) that are off."""
    return {name: seconds for name, seconds in clocks.items() if abs(seconds) >= OFF_SECONDS}


def ours_ahead(clocks: Mapping[str, float]) -> float | None:
    """How many seconds our own clock is ahead of all others, which agree; None when it is none of ours."""
    others = list(clocks.values())
    if len(others) < 2 or len(off(clocks)) < len(others) or max(others) - min(others) >= OFF_SECONDS:
        return None
    return -max(others, key=abs)


def apart(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"
