"""Which nodes are cordoned: one watch for all fleets."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from litevoice_operator.adapters.cluster import Cluster, ClusterError

CHANGED_SECONDS = 1.0
"""After a change, before it is looked: nodes are often cordoned several at a time."""
REFUSED_SECONDS = 5.0
"""After what the API server did not answer, or does not allow."""

_log = logging.getLogger(__name__)


class Nodes:
    """Attributes:
    cordoned: names; as before while the API server does not answer.
    known: the operator may see nodes.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._task: asyncio.Task[None] | None = None
        self.cordoned: frozenset[str] = frozenset()
        self.known = False

    async def begin(self) -> None:
        """Returns after the first look; goes on until `close`."""
        version = await self._look()
        self._task = asyncio.create_task(self._run(version), name="nodes")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, version: str | None) -> None:
        while True:
            pause_seconds = CHANGED_SECONDS if version else REFUSED_SECONDS
            try:
                while version:
                    version = await self._cluster.cordons_stay(version)
            except ClusterError as error:
                _log.info("nodes not watched", extra={"error": str(error)})
                pause_seconds = REFUSED_SECONDS
            await asyncio.sleep(pause_seconds)
            version = await self._look()

    async def _look(self) -> str | None:
        """The version to watch from; None when they cannot be seen."""
        try:
            names, version = await self._cluster.cordoned_nodes()
        except ClusterError as error:
            if error.status == 403:
                self.cordoned, self.known = frozenset(), False
            _log.info("nodes not seen", extra={"error": str(error)})
            return None
        self.cordoned, self.known = frozenset(names), True
        return version
