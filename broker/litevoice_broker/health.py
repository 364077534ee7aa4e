"""Whether a client can work right now and, if not, a sentence that says why: readiness probes show it to people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from litevoice_broker.errors import BrokerUnavailable

logger = logging.getLogger(__name__)


class Health:
    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._callbacks: list[Callable[[], None]] = []
        self._ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        return not self._reason

    @property
    def reason(self) -> str:
        """ "" when ready."""
        return self._reason

    def set(self, reason: str) -> None:
        """ "" for ready. Calls the callbacks when something changed."""
        if reason == self._reason:
            return
        self._reason = reason
        if reason:
            self._ready.clear()
        else:
            self._ready.set()
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                logger.exception("health callback failed")

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Raises BrokerUnavailable with the reason when it is not ready in time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ready.wait()
        except TimeoutError:
            raise BrokerUnavailable(f"not ready after {timeout_seconds:g} s: {self._reason}") from None
