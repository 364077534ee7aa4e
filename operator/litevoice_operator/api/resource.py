"""A custom resource as the API server returns it, before its spec is read."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from litevoice_operator.api.base import API_VERSION, Api

Key = tuple[str, str]
"""Namespace and name."""


class Metadata(Api):
    """metadata of a custom resource as the API server returns it."""

    namespace: str
    name: str
    uid: str
    generation: int = 0
    deletion_timestamp: str | None = None


class Resource(Api):
    """spec and status are still plain JSON objects."""

    kind: str
    metadata: Metadata
    spec: dict[str, Any] = Field(default_factory=dict)
    status: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.metadata.namespace, self.metadata.name

    @property
    def reference(self) -> dict[str, str]:
        """ObjectReference for Events."""
        return {"apiVersion": API_VERSION, "kind": self.kind, "namespace": self.metadata.namespace,
                "name": self.metadata.name, "uid": self.metadata.uid}  # fmt: skip
