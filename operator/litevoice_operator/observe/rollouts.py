"""What the operator reads from a Deployment: how far its pods are, and what stops it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a Deployment is.

    Attributes:
        settled: its controller has seen the current template and no pod of an older one is left.
        failure: why it cannot go on, in the words of its controller.
    """

    wanted: int = 0
    replicas: int = 0
    ready: int = 0
    settled: bool = False
    failure: str = ""

    @property
    def complete(self) -> bool:
        return self.ready >= self.wanted


def read_rollout(deployment: Mapping[str, Any]) -> Rollout:
    """From a Deployment as the API server returns it; one that its controller has not looked at yet is not settled."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    wanted = int(spec.get("replicas", 1))
    replicas = int(status.get("replicas", 0))
    seen = int(status.get("observedGeneration", 0)) >= int(deployment.get("metadata", {}).get("generation", 0))
    failures = [
        f"{condition.get('reason')}: {condition.get('message')}"
        for condition in status.get("conditions") or []
        if (condition.get("type"), condition.get("status")) in (("ReplicaFailure", "True"), ("Progressing", "False"))
    ]
    return Rollout(
        wanted=wanted,
        replicas=replicas,
        ready=int(status.get("readyReplicas", 0)),
        settled=seen and int(status.get("updatedReplicas", 0)) == wanted == replicas,
        failure="; ".join(failures),
    )
