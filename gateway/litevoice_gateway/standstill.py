"""A gateway that stood still asks whose its sessions are, and until it knows sends nothing of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable

from litevoice_gateway.connections import Connection
from litevoice_gateway.pauses import STOOD_STILL_SECONDS
from litevoice_gateway.standing import Phase

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""So long does a gateway that stood still wait for the broker to say whose its sessions are. What goes to a broker that
does not answer will be marked as sent again, and workers do not begin from it."""
READ_SECONDS, READ_STEP_SECONDS = 2.0, 0.02
"""So long at most are the logs read for which the broker lists nobody, and that often is looked how far."""


class Standstill:
    """Notices that this process has stood still: another gateway may have taken a session over meanwhile, and its
    worker have ended, so what we have of it would be new to the next worker.

    Attributes:
        beat_at: when it was last seen that it has not (monotonic).
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[None]],
        on_looked: Callable[[], None],
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        """`look`: asks the broker whose the sessions are, and has those given up that are not ours. `on_looked`: it has
        answered, or does not within LOOK_SECONDS."""
        self._look = look
        self._on_looked = on_looked
        self._spawn = spawn
        self.beat_at = time.monotonic()
        self._looking: asyncio.Task[None] | None = None
        self._came_meanwhile: set[Connection] = set()

    def beat(self, now: float) -> None:
        self.awake(now)
        self.beat_at = now

    def awake(self, now: float) -> bool:
        """Whether it is known whose the sessions are: nothing has stood still since that was last asked."""
        if now - self.beat_at > STOOD_STILL_SECONDS:
            self.beat_at = now
            logger.warning("the gateway stood still, and asks whose its sessions are")
            if self._looking is not None:
                self._looking.cancel()
            self._looking = self._spawn(self._look_again())
        return self._looking is None

    async def is_over(self) -> None:
        """Waits until it is known. Nobody looks any more once the hub is closed."""
        while not self.awake(time.monotonic()) and self._looking is not None and not self._looking.done():
            await asyncio.wait([self._looking])

    # A client that comes while it is asked whose the sessions are claims its own afterwards: what the broker says of
    # before is not about it, and what this gateway had of it must not go ahead of its new epoch.

    def comes(self, connection: Connection) -> None:
        if not self.awake(time.monotonic()):
            self._came_meanwhile.add(connection)

    def has_come_meanwhile(self, connection: Connection) -> bool:
        return connection in self._came_meanwhile

    async def may_claim(self, connection: Connection) -> None:
        """Waits until it may."""
        try:
            if connection in self._came_meanwhile:
                await self.is_over()
        finally:
            self._came_meanwhile.discard(connection)

    async def _look_again(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._look()
        self._looking = None
        self._on_looked()


class Doubts:
    """Whose the sessions are for which the broker lists nobody, and that it has forgotten: it was restarted, or has
    dropped this gateway's link. Another gateway may have had them, and have ended by now. Then its epoch stands in the
    log, which is read to its end before anything is sent. Nobody reads for a client that is gone, or has come
    anew: it may have been there, and what it had said here does not leave.

    Attributes:
        lengths: of the logs that are in doubt, by session.
    """

    def __init__(self, connections: Iterable[Connection]) -> None:
        self._known = {connection: connection.session.newest_epoch for connection in connections}
        self.lengths: dict[str, int] = {}

    async def overtaken(self, position: Callable[[str], int | None]) -> list[Connection]:
        """`position`: how far a log is read, None when it is not ours."""
        doubtful = behind = [connection for connection in self._known if connection.session.id in self.lengths]
        by = time.monotonic() + READ_SECONDS
        while behind := [one for one in behind if self._is_behind(one, position(one.session.id))]:
            if time.monotonic() >= by:
                break
            await asyncio.sleep(READ_STEP_SECONDS)
        return [one for one in doubtful if self._is_overtaken(one)]

    def _is_behind(self, connection: Connection, position: int | None) -> bool:
        """Its session reads, and its log has more."""
        session = connection.session
        reads = session.phase is not Phase.ENDED and session.reading_replies
        return reads and position is not None and position < self.lengths[session.id]

    def _is_overtaken(self, connection: Connection) -> bool:
        if connection.session.phase is Phase.ENDED:
            return connection.gone or connection.session.is_replaced
        known = self._known[connection]
        return 0 <= known < connection.session.read_epoch  # before its own, those of earlier owners come
