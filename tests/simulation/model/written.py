"""What a broker writes from time to time, and has as last written after a kill -9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

OFFSETS_SECONDS, LOCKS_SECONDS = 5.0, 10.0
"""How often committed offsets and order locks are written: flushConsumerOffsetInterval, and what 5.5.0 has built in."""
FIRST_SECONDS = 10.0
"""After the broker's start."""
_Value = TypeVar("_Value")


class Writing:
    """When a broker writes: `started` is set at each of its starts."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.started = now()

    def times(self, at: float, interval: float) -> int:
        """How often it has written until then."""
        since = at - self.started - FIRST_SECONDS
        return int(since // interval) + 1 if since >= 0.0 else 0


class Written(Generic[_Value]):
    """`value` is what the living broker goes by."""

    __slots__ = ("_changed_at", "_interval", "_value", "_writing", "_written")

    def __init__(self, writing: Writing, interval: float, value: _Value) -> None:
        self._writing, self._interval = writing, interval
        self._value = self._written = value
        self._changed_at = writing.now()

    @property
    def value(self) -> _Value:
        return self._value

    @value.setter
    def value(self, value: _Value) -> None:
        self._write()
        self._value = value

    def killed(self) -> None:
        self._write()
        self._value = self._written

    def _write(self) -> None:
        writing, now = self._writing, self._writing.now()
        if writing.times(now, self._interval) > writing.times(max(self._changed_at, writing.started), self._interval):
            self._written = self._value
        self._changed_at = now
