"""Disruption budgets: node drains take one pod at a time, so sessions have somewhere to go."""

from __future__ import annotations

from litevoice_operator.api.labels import Component, selector_labels
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest


def disruption_budget(gateway: Gateway, component: Component) -> Manifest:
    selector = {"matchLabels": selector_labels(gateway.name, component)}
    spec = {"maxUnavailable": 1, "selector": selector}
    return manifest(gateway, component, "policy/v1", "PodDisruptionBudget", spec=spec)
