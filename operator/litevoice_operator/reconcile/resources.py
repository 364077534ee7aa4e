"""Reads and validates custom resources, and writes their status."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from litevoice_contracts.errors import InvalidField, problems
from litevoice_operator.adapters.cluster import Cluster, ClusterError, Kind
from litevoice_operator.api.backlog_alert import BacklogAlertStatus
from litevoice_operator.api.base import API_VERSION
from litevoice_operator.api.conditions import Condition
from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.crd_difference import crd_finding, known_part, with_crd_finding
from litevoice_operator.reconcile.installed_crds import InstalledCrds
from litevoice_operator.reconcile.last_seen import LastSeen

REFUSED = (422, 500)
"""A value out of bounds; a value of another type, which server-side apply reports as an internal error."""

INDISPENSABLE = ("conditions", "topicPrefix", "partitions")
"""What users must be told, and what the operator must remember."""

T = TypeVar("T")


def validated(resource: Resource, read: Callable[[Resource], T]) -> T | Problem:
    """What `read` returns; it may raise ValidationError or InvalidField, with fields relative to `spec`."""
    try:
        return read(resource)
    except InvalidField as error:
        return Problem("InvalidSpec", f"spec.{error}", lasting=True)
    except ValidationError as error:
        field, message = problems(error, "")[0]
        return Problem("InvalidSpec", f"spec.{field}: {message}", lasting=True)


class Resources:
    """Shared by all loops.

    Attributes:
        last: what events have told; passes over what is at rest ask nobody.
    """

    def __init__(self, cluster: Cluster, crds: InstalledCrds) -> None:
        self._cluster = cluster
        self._crds = crds
        self.last = LastSeen()

    async def exists(self, kind: Kind, key: Key) -> bool:
        return await self._body(kind, key) is not None

    async def read(self, kind: Kind, key: Key, read: Callable[[Resource], T]) -> tuple[Resource, T | Problem] | None:
        """The resource and its `validated` spec; None when it is gone or being deleted."""
        resource = await self.find(kind, key)
        return None if resource is None else (resource, validated(resource, read))

    async def find(self, kind: Kind, key: Key) -> Resource | None:
        """None when it is gone or being deleted."""
        body = await self._body(kind, key)
        resource = Resource.model_validate(body) if body is not None else None
        return None if resource is None or resource.metadata.deletion_timestamp is not None else resource

    async def _body(self, kind: Kind, key: Key) -> Mapping[str, Any] | None:
        body = self.last.get(kind.kind, key, time.monotonic())
        if body is None:
            body = await self._cluster.get(kind, *key)
            self.last.answered(kind.kind, key, body, time.monotonic())
        return body

    async def keeps(self, kind: Kind, field: str) -> bool:
        """Whether the installed CRD has that field, ``status.topicPrefix`` for example."""
        difference = (await self._crds.get(kind.kind)).difference
        return difference is None or field not in difference.lacks

    async def write_status(self, resource: Resource, status: VoiceGatewayStatus | BacklogAlertStatus) -> None:
        """Only if it changed; adds the condition CRDOutdated. If an older CRD refuses `status`, only what is
        INDISPENSABLE is written."""
        crd = await self._crds.get(resource.kind)
        previous = [Condition.model_validate(condition) for condition in resource.status.get("conditions", ())]
        finding = crd_finding(crd.name, crd.difference)
        conditions = with_crd_finding(status.conditions, previous, finding, resource.metadata.generation, time.time())
        content: dict[str, Any] = status.model_copy(update={"conditions": conditions}).to_object()
        if crd.schema is not None and crd.difference is not None and crd.difference.lacks:
            content = known_part({"status": content}, crd.schema).get("status", {})
        if content == resource.status:
            return
        try:
            await self._apply(resource, content)
        except ClusterError as error:
            if error.status not in REFUSED or crd.difference is None or not crd.difference.refuses:
                raise
            await self._apply(resource, {name: content[name] for name in INDISPENSABLE if name in content})

    async def _apply(self, resource: Resource, content: dict[str, Any]) -> None:
        metadata = resource.metadata
        try:
            written = await self._cluster.apply_status(
                {
                    "apiVersion": API_VERSION,
                    "kind": resource.kind,
                    # With the uid, so a new resource of the same name does not get this one's status.
                    "metadata": {"namespace": metadata.namespace, "name": metadata.name, "uid": metadata.uid},
                    "status": content,
                }
            )
        except BaseException:
            self.last.forget(resource.kind, resource.key)  # whether it was written is not known
            raise
        self.last.answered(resource.kind, resource.key, written, time.monotonic())
