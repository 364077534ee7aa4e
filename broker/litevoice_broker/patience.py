"""How long somebody waits for an answer: seconds that this process has lived through, not those on the clock."""

from __future__ import annotations

import asyncio
from types import TracebackType

PARTS = 8
LATE_SECONDS = 0.5
"""A timer that comes so much too late says that the process stood still."""


class Patience:
    """Like `asyncio.timeout`, but a process that stands still loses one part of `seconds` at most: what was answered
    meanwhile lies unread in its sockets, and is read before the next part is over.

    Attributes:
        stood_still: the process did; what has failed since may have failed for that.
    """

    def __init__(self, seconds: float) -> None:
        self.stood_still = False
        self._part = seconds / PARTS
        self._left = PARTS
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Patience:
        await self._timeout.__aenter__()
        self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)  # raises TimeoutError

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._part, self._passed, loop.time() + self._part)

    def _passed(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self.stood_still |= loop.time() - due > LATE_SECONDS
        self._left -= 1
        if self._left:
            self._wait()
        else:
            self._timer = None
            self._timeout.reschedule(loop.time())
