"""Disruption budgets: how many pods node drains may take at a time, so that sessions have somewhere to go."""

from __future__ import annotations

from typing import Any

from litevoice_operator.api.labels import Component, selector_labels
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest


def disruption_budget(gateway: Gateway, component: Component) -> Manifest:
    """Rounded up by Kubernetes, so one pod at least. A gateway that is alone goes only beside another one, which the
    operator makes when its node is cordoned."""
    pod = gateway.spec.pod if component == "gateway" else gateway.spec.workers.pod
    spec: dict[str, Any] = {"selector": {"matchLabels": selector_labels(gateway.name, component)}}
    if component == "gateway" and gateway.alone:
        spec["minAvailable"] = 1
    elif pod.max_unavailable_percent is not None:
        spec["maxUnavailable"] = f"{pod.max_unavailable_percent}%"
    else:
        spec["maxUnavailable"] = 1
    return manifest(gateway, component, "policy/v1", "PodDisruptionBudget", spec=spec)
