"""One pure builder per Kubernetes object that a VoiceGateway owns: Gateway in, plain JSON object out."""

from __future__ import annotations

from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.configs import gateway_config_map, worker_config_map
from litevoice_operator.manifests.disruption import gateway_disruption_budget, worker_disruption_budget
from litevoice_operator.manifests.gateway import gateway_deployment
from litevoice_operator.manifests.identities import (
    gateway_service_account,
    worker_role,
    worker_role_binding,
    worker_service_account,
)
from litevoice_operator.manifests.keys import Keys, keys_secret
from litevoice_operator.manifests.objects import Manifest
from litevoice_operator.manifests.services import gateway_service, worker_service
from litevoice_operator.manifests.worker import worker_deployment


def all_manifests(gateway: Gateway, keys: Keys) -> list[Manifest]:
    """Everything in the order of creation: what pods mount comes before the pods."""
    return [
        keys_secret(gateway, keys),
        gateway_config_map(gateway),
        worker_config_map(gateway),
        gateway_service_account(gateway),
        worker_service_account(gateway),
        worker_role(gateway),
        worker_role_binding(gateway),
        gateway_service(gateway),
        worker_service(gateway),
        gateway_disruption_budget(gateway),
        worker_disruption_budget(gateway),
        gateway_deployment(gateway),
        worker_deployment(gateway),
    ]
