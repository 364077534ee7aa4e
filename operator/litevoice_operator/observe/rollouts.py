"""What a Deployment tells: how far its rollout is, and what stops it. Of gateways, see `replica_sets`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litevoice_operator.api.labels import TEMPLATE_HASH_ANNOTATION


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a rollout is.

    Attributes:
        settled: its controller has seen the current template, and no pod of an older one is left.
        failure: why it is stuck, in its controller's words.
        updated: replicas of the current template; template: hash of that, "" when it has none.
    """

    wanted: int = 0
    replicas: int = 0
    ready: int = 0
    settled: bool = False
    failure: str = ""
    exists: bool = True
    updated: int = 0
    template: str = ""

    @property
    def current(self) -> int:
        """Replicas of now: none before it was made, whatever its default would be."""
        return self.wanted if self.exists else 0


def read_rollout(deployment: Mapping[str, Any]) -> Rollout:
    """From a Deployment as the API server returns it. Not settled until its controller has seen the latest change."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    template = (spec.get("template") or {}).get("metadata", {})
    wanted = int(spec.get("replicas", 1))
    replicas, updated = int(status.get("replicas", 0)), int(status.get("updatedReplicas", 0))
    seen = int(status.get("observedGeneration", 0)) >= int(deployment.get("metadata", {}).get("generation", 0))
    return Rollout(
        wanted=wanted,
        replicas=replicas,
        ready=int(status.get("readyReplicas", 0)),
        settled=seen and updated == wanted == replicas,
        failure=failures(status),
        exists=bool(deployment),
        updated=updated if seen else 0,
        template=str((template.get("annotations") or {}).get(TEMPLATE_HASH_ANNOTATION, "")),
    )


def failures(status: Mapping[str, Any]) -> str:
    """Of a Deployment or ReplicaSet, in the words of its controller."""
    return "; ".join(
        f"{condition.get('reason')}: {condition.get('message')}"
        for condition in status.get("conditions") or []
        if (condition.get("type"), condition.get("status")) in (("ReplicaFailure", "True"), ("Progressing", "False"))
    )
