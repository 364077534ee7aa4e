"""Writes a status, but only when it says something new."""

from __future__ import annotations

from typing import Any

from litevoice_operator.adapters.cluster import Cluster
from litevoice_operator.api.base import API_VERSION, Api
from litevoice_operator.api.meta import Resource


async def write_status(cluster: Cluster, resource: Resource, status: Api) -> None:
    content: dict[str, Any] = status.to_object()
    if content == resource.status:
        return
    metadata = resource.metadata
    await cluster.apply_status(
        {
            "apiVersion": API_VERSION,
            "kind": resource.kind,
            # With the uid, so that a namesake made in the meantime does not get this one's status.
            "metadata": {"namespace": metadata.namespace, "name": metadata.name, "uid": metadata.uid},
            "status": content,
        }
    )
