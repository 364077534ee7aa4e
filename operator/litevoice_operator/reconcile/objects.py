"""Keeps the objects that a VoiceGateway owns as their manifests say, with few requests while nothing changes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence

from litevoice_operator.adapters.cluster import Cluster, ClusterError
from litevoice_operator.decide.gateway_status import Problem
from litevoice_operator.manifests.objects import Manifest

RESYNC_SECONDS = 60.0
"""An unchanged manifest is applied again after this time, which repairs what others changed or removed."""


class OwnedObjects:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._applied: dict[tuple[str, str], tuple[str, float]] = {}

    async def apply(self, manifests: Sequence[Manifest]) -> Problem | None:
        """Every manifest is tried; the first lasting refusal is returned. Raises ClusterError for the others."""
        refused: list[ClusterError] = []
        for manifest in manifests:
            try:
                await self._apply(manifest)
            except ClusterError as error:
                if error.retryable:
                    raise
                refused.append(error)
        return Problem("ApplyFailed", str(refused[0]), lasting=True) if refused else None

    async def _apply(self, manifest: Manifest) -> None:
        key = (str(manifest["kind"]), str(manifest["metadata"]["name"]))
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        before, at = self._applied.get(key, ("", 0.0))
        if digest == before and time.monotonic() - at < RESYNC_SECONDS:
            return
        await self._cluster.apply(manifest)
        self._applied[key] = (digest, time.monotonic())
