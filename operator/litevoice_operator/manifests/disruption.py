"""Disruption budgets: a node drain takes one pod at a time, so sessions have somewhere to go."""

from __future__ import annotations

from litevoice_operator.api.labels import Component, selector_labels
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest


def gateway_disruption_budget(gateway: Gateway) -> Manifest:
    return _budget(gateway, "gateway", gateway.gateway_object)


def worker_disruption_budget(gateway: Gateway) -> Manifest:
    return _budget(gateway, "worker", gateway.worker_object)


def _budget(gateway: Gateway, component: Component, name: str) -> Manifest:
    return manifest(
        gateway,
        "policy/v1",
        "PodDisruptionBudget",
        name,
        component,
        spec={"maxUnavailable": 1, "selector": {"matchLabels": selector_labels(gateway.name, component)}},
    )
