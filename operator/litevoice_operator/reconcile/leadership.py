"""Holds the Lease, or waits for it. Own code: `kubernetes.aio.leaderelection` ends at the first connection error and
writes local time as UTC, and kopf's peering is no lock (docs/adr/0021)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from litevoice_operator.adapters.cluster import LEASE, Cluster, ClusterError
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.leadership import GIVE_UP_SECONDS, RENEW_SECONDS, Seen, lease_spec, may_act, may_take

_log = logging.getLogger(__name__)


class Leadership:
    """`key`: namespace and name of the Lease; without a name there is no other operator. `on_lost` is called when
    another has taken the Lease that was ours.

    Attributes:
        acting: set while this operator may act.
    """

    def __init__(self, cluster: Cluster, key: Key, identity: str, on_lost: Callable[[], None]) -> None:
        self._cluster = cluster
        self._key = key
        self._identity = identity
        self._on_lost = on_lost
        self._seen = Seen()
        self._renewed_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.acting = asyncio.Event()

    @property
    def holder(self) -> str:
        """Who holds the Lease, as last seen; "" while nobody does."""
        return self._seen.holder

    async def begin(self) -> None:
        """Returns after the first look; goes on until `close`."""
        if not self._key[1]:
            self.acting.set()
            return
        await self._look()
        self._task = asyncio.create_task(self._run(), name="lease")

    async def close(self) -> None:
        """Gives the Lease up, so that a successor need not wait. Nothing may be done afterwards."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if may_act(self._renewed_at, time.monotonic()):
            with contextlib.suppress(ClusterError, TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._cluster.replace(LEASE, *self._key, self._seen.version, {"holderIdentity": ""})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._look()

    async def _look(self) -> None:
        had_it, began = self._renewed_at is not None, time.monotonic()
        self._judge()  # not only after a look, which may take seconds
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS / 2):
                await self._take_or_renew(began)
        except (ClusterError, TimeoutError) as error:
            _log.warning("lease not renewed", extra={"lease": "/".join(self._key), "error": str(error)})
        self._judge()
        if had_it and self._renewed_at is None:
            self._on_lost()

    def _judge(self) -> None:
        acting = may_act(self._renewed_at, time.monotonic())
        if acting != self.acting.is_set():
            facts = {"lease": "/".join(self._key), "identity": self._identity, "holder": self._seen.holder}
            _log.info("this operator acts" if acting else "this operator does not act", extra=facts)
            (self.acting.set if acting else self.acting.clear)()

    async def _take_or_renew(self, began: float) -> None:
        lease = await self._cluster.get(LEASE, *self._key)
        self._seen = self._seen.after(lease, began)
        if not may_take(self._seen, self._identity, began):
            self._renewed_at = None
            return
        spec = lease_spec(self._seen, self._identity, (lease or {}).get("spec", {}), time.time())
        written = await self._cluster.replace(LEASE, *self._key, self._seen.version, spec)
        self._seen = self._seen.after(written, began)
        self._renewed_at = began
