"""Writes a status, but only when it says something new, and so that an older CRD takes it."""

from __future__ import annotations

import time
from typing import Any

from litevoice_operator.adapters.cluster import Cluster, ClusterError
from litevoice_operator.api.backlog_alert import BacklogAlertStatus
from litevoice_operator.api.base import API_VERSION
from litevoice_operator.api.conditions import Condition
from litevoice_operator.api.meta import Resource
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus
from litevoice_operator.decide.crds import crd_finding, known_part, with_crd_finding
from litevoice_operator.reconcile.crds import InstalledCrds

REFUSED = (422, 500)
"""A value out of bounds; a value of another type, which server-side apply calls an error of its own."""


class Statuses:
    def __init__(self, cluster: Cluster, crds: InstalledCrds) -> None:
        self._cluster = cluster
        self._crds = crds

    async def write(self, resource: Resource, status: VoiceGatewayStatus | BacklogAlertStatus) -> None:
        """With the condition CRDOutdated beside those of `status`. When an older CRD refuses what `status` says, it
        gets the conditions alone."""
        crd = await self._crds.get(resource.kind)
        previous = [Condition.model_validate(condition) for condition in resource.status.get("conditions", ())]
        finding = crd_finding(crd.name, crd.difference)
        conditions = with_crd_finding(status.conditions, previous, finding, resource.metadata.generation, time.time())
        content: dict[str, Any] = status.model_copy(update={"conditions": conditions}).to_object()
        if crd.schema is not None:
            content = known_part({"status": content}, crd.schema).get("status", {})
        if content == resource.status:
            return
        try:
            await self._apply(resource, content)
        except ClusterError as error:
            if error.status not in REFUSED or crd.difference is None or not crd.difference.refuses:
                raise
            await self._apply(resource, {"conditions": content.get("conditions", [])})

    async def _apply(self, resource: Resource, content: dict[str, Any]) -> None:
        metadata = resource.metadata
        await self._cluster.apply_status(
            {
                "apiVersion": API_VERSION,
                "kind": resource.kind,
                # With the uid, so that a namesake made in the meantime does not get this one's status.
                "metadata": {"namespace": metadata.namespace, "name": metadata.name, "uid": metadata.uid},
                "status": content,
            }
        )
