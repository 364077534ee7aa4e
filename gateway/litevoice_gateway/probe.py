"""When to ask a worker that has gone quiet."""

from __future__ import annotations

LONGEST_FACTOR = 64


class Probe:
    """Decides, while something is expected from the worker, when to send it an empty envelope: a worker that misses
    something answers by asking for a replay, and so does one that has taken over and knows nothing of the session.

    Nothing is replayed unasked: the worker may only be slow, and would begin the turn twice. The intervals double up to
    LONGEST_FACTOR times the first.
    """

    __slots__ = ("_interval", "_seconds", "_since")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._interval = seconds
        self._since: float | None = None

    def heard(self, now: float) -> None:
        """A sign of life of the worker."""
        self._interval = self._seconds
        if self._since is not None:
            self._since = now

    def due(self, now: float, *, waiting: bool) -> bool:
        """Whether to ask at `now`; `waiting` tells whether anything is expected from the worker at all."""
        if not waiting:
            self._since = None
            self._interval = self._seconds
            return False
        if self._since is None:
            self._since = now
        if now - self._since < self._interval:
            return False
        self._since = now
        self._interval = min(self._interval * 2, self._seconds * LONGEST_FACTOR)
        return True
