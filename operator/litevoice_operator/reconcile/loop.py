"""The loop that reconciles one custom resource: woken by events, or when the pause it asked for is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from litevoice_broker.waiting import set_within
from litevoice_operator.api.resource import Key
from litevoice_operator.metrics import RECONCILE_SECONDS, RECONCILES

Reconcile = Callable[[], Awaitable[float | None]]
"""One pass; returns the seconds until the next one, None when the resource is gone."""

SETTLE_SECONDS = 0.2
"""Events come in bursts: one pass serves all that arrive within this time."""
FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 10.0

_log = logging.getLogger(__name__)


class Loop:
    """Runs `reconcile` until it says that the resource is gone, then calls `on_end`. Failures are retried for ever,
    with back-off: an API server or a broker that is down for minutes is nothing special. A pass begins only while
    `acting` is set."""

    def __init__(
        self,
        kind: str,
        key: Key,
        reconcile: Reconcile,
        on_end: Callable[[], Awaitable[None]],
        acting: asyncio.Event,
    ) -> None:
        self._kind = kind
        self._key = key
        self._reconcile = reconcile
        self._on_end = on_end
        self._acting = acting
        self._wake = asyncio.Event()
        self._backoff_seconds = 0.0
        self._task = asyncio.create_task(self._run(), name=f"{kind} {key[0]}/{key[1]}")

    def wake(self) -> None:
        """Reconcile soon."""
        self._wake.set()

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        try:
            while (pause_seconds := await self._pass()) is not None or self._wake.is_set():
                if await set_within(self._wake, pause_seconds):
                    await asyncio.sleep(max(SETTLE_SECONDS, self._backoff_seconds))
                self._wake.clear()
        finally:
            await self._on_end()

    async def _pass(self) -> float | None:
        await self._acting.wait()
        began = time.monotonic()
        try:
            pause_seconds = await self._reconcile()
        except Exception as error:
            self._backoff_seconds = min(MAX_BACKOFF_SECONDS, max(FIRST_BACKOFF_SECONDS, self._backoff_seconds * 2))
            RECONCILES.labels(self._kind, "failed").inc()
            _log.warning(
                "reconcile failed; will retry",
                extra={"kind": self._kind, "object": "/".join(self._key), "error": f"{type(error).__name__}: {error}"},
                exc_info=_log.isEnabledFor(logging.DEBUG),
            )
            return self._backoff_seconds
        finally:
            RECONCILE_SECONDS.labels(self._kind).observe(time.monotonic() - began)
        self._backoff_seconds = 0.0
        RECONCILES.labels(self._kind, "done").inc()
        return pause_seconds
