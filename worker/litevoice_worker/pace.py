"""How fast a thread works, and how much of its time: told when it begins and ends, asked by another thread."""

from __future__ import annotations

import math

BUSY_SECONDS = 1.0
"""Over about how long the busy share is smoothed."""
_SMOOTHING = 0.02


class Pace:
    """Times are monotonic seconds, of the wall: a thread that has to wait for a core is busy.

    Attributes:
        seconds_per_window: of the last hundred rounds or so.
    """

    def __init__(self, now: float) -> None:
        self.seconds_per_window = 0.0
        self._share = 0.0
        self._at = now
        self._working = False

    def begin(self, now: float) -> None:
        self._turn(now, working=True)

    def end(self, now: float, windows: int) -> None:
        """So many windows are done since `begin`."""
        taken = (now - self._at) / windows
        weight = _SMOOTHING if self.seconds_per_window else 1.0
        self.seconds_per_window += weight * (taken - self.seconds_per_window)
        self._turn(now, working=False)

    def busy(self, now: float) -> float:
        """The share of time at work, 0 to 1."""
        return self._working + (self._share - self._working) * math.exp((self._at - now) / BUSY_SECONDS)

    def _turn(self, now: float, *, working: bool) -> None:
        self._share, self._at, self._working = self.busy(now), now, working
