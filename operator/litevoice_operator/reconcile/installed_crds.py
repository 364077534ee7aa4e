"""Which schemas are installed: checked now and then, so a CRD upgrade is noticed without a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from litevoice_operator.adapters.cluster import BACKLOG_ALERT, VOICE_GATEWAY, Cluster, ClusterError
from litevoice_operator.api.base import GROUP
from litevoice_operator.api.definitions import schemas
from litevoice_operator.decide.crd_difference import INSTALL, Difference, Schema, compare

CHECK_SECONDS, RETRY_SECONDS = 10.0, 2.0
"""Between checks, and after one that failed: a CRD just installed is published a second or two later."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstalledCrd:
    """Attributes:
    schema: of the whole object; None if the API server does not publish it.
    difference: from the operator's own; None likewise.
    """

    name: str
    schema: Schema | None = None
    difference: Difference | None = None


class InstalledCrds:
    """Shared by all loops."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._built = schemas()
        self._crds = {kind.kind: InstalledCrd(f"{kind.plural}.{GROUP}") for kind in (VOICE_GATEWAY, BACKLOG_ALERT)}
        self._next_look_at = 0.0
        self._looking = asyncio.Lock()
        self._trouble = ""

    async def get(self, kind: str) -> InstalledCrd:
        """At most CHECK_SECONDS old, or else the last that could be read."""
        async with self._looking:
            if time.monotonic() >= self._next_look_at:
                await self._look()
                self._next_look_at = time.monotonic() + (RETRY_SECONDS if self._trouble else CHECK_SECONDS)
        return self._crds[kind]

    async def _look(self) -> None:
        try:
            served = await self._cluster.served_schemas()
        except ClusterError as error:
            self._report_trouble(str(error))
            return
        self._report_trouble("" if served.keys() >= self._crds.keys() else "the API server publishes no schema")
        for kind, crd in self._crds.items():
            if kind in served:
                self._take(kind, crd, served[kind])

    def _take(self, kind: str, before: InstalledCrd, schema: Schema) -> None:
        difference = compare(self._built[kind], schema)
        self._crds[kind] = InstalledCrd(before.name, schema, difference)
        if difference == (before.difference or Difference()):
            return
        facts: Mapping[str, object] = {
            "crd": before.name,
            "lacks": list(difference.lacks),
            "refuses": list(difference.refuses),
            "unknown": list(difference.unknown),
        }
        if difference.outdated:
            _log.warning("installed CRD is older than this operator", extra={**facts, "upgrade": INSTALL})
        elif difference.lacks:
            _log.warning("installed CRD differs from this operator's", extra=facts)
        else:
            _log.info("installed CRD knows every field of this operator", extra=facts)

    def _report_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            _log.warning("cannot compare the installed CRDs with this operator's", extra={"error": trouble})
        self._trouble = trouble
