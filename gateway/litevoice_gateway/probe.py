"""When to ask a worker that has gone quiet."""

from __future__ import annotations

import math
from typing import Literal

LONGEST_FACTOR = 64
LOOK_SECONDS = 1.0
"""What a worker has published may wait at the broker, whose wake-up got lost: that is looked for so long before."""
UNPROVEN_LOOK_SECONDS = 1.0
"""And so long after something is expected for the first time since a takeover: between its two steps a wake-up is lost
more often."""


class Probe:
    """Decides, while something is expected from the worker, when to send it an empty envelope: a worker that misses
    something answers by asking for a replay, and so does one that has taken over and knows nothing of the session.

    Nothing is replayed unasked: the worker may only be slow, and would begin the turn twice. Before each question the
    gateway looks whether the answer is there already. The intervals double up to LONGEST_FACTOR times the first.
    """

    __slots__ = ("_interval", "_looked_at", "_seconds", "_since", "_unproven_since")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._interval = seconds
        self._since: float | None = None
        self._looked_at: float | None = None
        self._unproven_since: float | None = None

    def heard(self, now: float) -> None:
        """A sign of life of the worker."""
        self._interval = self._seconds
        self._looked_at = None
        if self._since is not None:
            self._since = now

    def due(self, now: float, *, waiting: bool, unproven: bool = False) -> Literal["look", "ask"] | None:
        """What to do at `now`; `waiting` tells whether anything is expected from the worker at all, `unproven` that it
        is more than silence, and that nothing has come since the session was taken over."""
        if not waiting:
            self._since = self._looked_at = None
            self._interval = self._seconds
            return None
        if self._since is None:
            self._since = now
        waited, ahead = now - self._since, min(LOOK_SECONDS, self._interval / 2)
        if not unproven or self._unproven_since is None:
            self._unproven_since = now if unproven else None
        elif now - self._unproven_since >= UNPROVEN_LOOK_SECONDS:
            self._unproven_since = math.inf  # once
            return "look"
        if self._looked_at is None and waited >= self._interval - ahead:
            self._looked_at = now
            return "look"
        if self._looked_at is None or waited < self._interval or now - self._looked_at < ahead:
            return None
        self._since, self._looked_at = now, None
        self._interval = min(self._interval * 2, self._seconds * LONGEST_FACTOR)
        return "ask"
