"""What comes for a client that has left is taken all the same: nothing may wait at the broker for nobody.

Otherwise it could not be told from what waits for the clients of a gateway that was killed, who may come back. Who
does come back has lost nothing: positions decide what a client gets, not acknowledgements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from litevoice_broker.errors import BrokerError

logger = logging.getLogger(__name__)

QUIET_SECONDS, MAX_SECONDS = 10.0, 120.0
"""Until the session has been quiet for so long, or for so long in all."""
MAX_SESSIONS = 5000
"""What comes for more that leave at once is not taken."""


class Replies(Protocol):
    """What it needs of the LiteChannel."""

    def position(self, name: str) -> int | None: ...

    async def resume(self, name: str) -> None: ...


class Leaving:
    """`is_back` tells whether the client has come back to this pod."""

    def __init__(self, is_back: Callable[[str], bool]) -> None:
        self._is_back = is_back
        self._sessions = 0

    async def hear_out(self, name: str, replies: Replies) -> None:
        """Returns when the LiteTopic may be released: it is quiet, or somebody owns the session again."""
        if self._sessions >= MAX_SESSIONS:
            return
        self._sessions += 1
        try:
            await self._hear_out(name, replies)
        finally:
            self._sessions -= 1

    async def _hear_out(self, name: str, replies: Replies) -> None:
        by, heard = time.monotonic() + MAX_SECONDS, None
        while not self._is_back(name) and time.monotonic() < by:
            try:
                await replies.resume(name)  # it was a slow reader, perhaps
            except BrokerError as error:
                logger.info("replies to a client that has left wait", extra={"session": name, "error": str(error)})
            position = replies.position(name)
            if position is None or position == heard:
                return
            heard = position
            await asyncio.sleep(QUIET_SECONDS)
