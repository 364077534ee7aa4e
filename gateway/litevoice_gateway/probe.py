"""When to probe a worker that has gone quiet."""

from __future__ import annotations

from typing import Literal

LONGEST_FACTOR = 64


class Probe:
    """Decides, while something is expected from the worker, when to replay the open turn and when only to nudge.

    The first timeout triggers a replay. While that is unanswered only empty nudges follow, at doubling intervals up to
    LONGEST_FACTOR times the first: the worker may just be away, with the replay waiting at the broker, and one that
    lost the replay answers a nudge by asking for another.
    """

    __slots__ = ("_interval", "_replay_open", "_seconds", "_since")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._interval = seconds
        self._since: float | None = None
        self._replay_open = False

    def heard(self, now: float, *, answered: bool) -> None:
        """A message of the worker came; `answered` is False for one that an older attempt has left behind."""
        self._interval = self._seconds
        if self._since is not None:
            self._since = now
        if answered:
            self._replay_open = False

    def replayed(self, now: float) -> None:
        """The turn was replayed, for whatever reason."""
        self._replay_open = True
        self._since = now

    def check(self, now: float, *, waiting: bool) -> Literal["replay", "nudge"] | None:
        """What to send at `now`; `waiting` tells whether anything is expected from the worker at all."""
        if not waiting:
            self._since = None
            self._interval = self._seconds
            return None
        if self._since is None:
            self._since = now
        if now - self._since < self._interval:
            return None
        self._since = now
        self._interval = min(self._interval * 2, self._seconds * LONGEST_FACTOR)
        return "nudge" if self._replay_open else "replay"
