"""As much of an API server as the passes of one VoiceGateway need, in memory: nothing changes what is written here but
who writes it, and each write can be refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from litevoice_operator.adapters.cluster import VOICE_GATEWAY, ClusterError, Kind

Name = tuple[str, str]


class Shelf:
    """`refused`: kinds that cannot be written now, "status" for that of VoiceGateways."""

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.objects: dict[Name, dict[str, Any]] = {}
        self.refused: set[str] = set()
        self._writes = 0
        metadata = {"namespace": "shop", "name": name, "uid": "uid-1", "generation": 1}
        self.gateway = self._put(VOICE_GATEWAY.kind, {"kind": "VoiceGateway", "metadata": metadata, "spec": dict(spec)})

    def change_spec(self, **changes: Any) -> None:
        self.gateway["spec"] |= changes
        self.gateway["metadata"]["generation"] += 1

    @property
    def conditions(self) -> dict[str, tuple[str, str]]:
        """Type → status and reason."""
        listed = self.gateway.get("status", {}).get("conditions", [])
        return {one["type"]: (one["status"], one["reason"]) for one in listed}

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [body for (of, _), body in self.objects.items() if of == kind]

    async def served_schemas(self) -> dict[str, Any]:
        raise ClusterError(404, "nothing is published")

    async def get(self, kind: Kind, _: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((kind.kind, name)))

    async def list(self, kind: Kind, _: str, **__: Any) -> list[dict[str, Any]]:
        return copy.deepcopy(self.of(kind.kind))

    async def create(self, manifest: Mapping[str, Any]) -> bool:
        await self.apply(manifest)
        return True

    async def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self._refuse(manifest["kind"])
        return copy.deepcopy(self._put(manifest["kind"], copy.deepcopy(dict(manifest))))

    async def change(
        self, kind: Kind, _: str, name: str, __: str, change: Mapping[str, Any], ___: Sequence[Any] = ()
    ) -> dict[str, Any]:
        body = self.objects[kind.kind, name]
        return await self.apply({**body, "spec": body["spec"] | change.get("spec", {})})

    async def delete(self, kind: Kind, _: str, name: str, __: str, **___: Any) -> bool:
        return self.objects.pop((kind.kind, name), None) is not None

    async def apply_status(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self._refuse("status")
        self.gateway["status"] = copy.deepcopy(manifest["status"])
        return self.gateway

    def _put(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self._writes += 1
        metadata = body["metadata"]
        metadata |= {"uid": metadata.get("uid", f"uid-of-{metadata['name']}"), "resourceVersion": str(self._writes)}
        self.objects[kind, metadata["name"]] = body
        return body

    def _refuse(self, kind: str) -> None:
        if kind in self.refused:
            raise ClusterError(500, f"{kind}: refused")
