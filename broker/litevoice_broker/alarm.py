"""One timer that is set again and again, and goes off at the earliest time that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """`ring` is called in the event loop, once for each time that the alarm was set and not cancelled.

    Remembers its own time: on uvloop, `call_at` gives a handle without one when the time has come already.
    """

    __slots__ = ("_at", "_handle", "_ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._at = 0.0
        self._handle: asyncio.Handle | None = None

    def set(self, at: float) -> None:
        """Rings at `at` (loop time) at the latest."""
        if self._handle is not None:
            if self._at <= at:
                return
            self._handle.cancel()
        self._at = at
        self._handle = asyncio.get_running_loop().call_at(at, self._rings)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _rings(self) -> None:
        self._handle = None
        self._ring()
