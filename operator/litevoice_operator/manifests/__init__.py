"""One pure builder per Kubernetes object that a VoiceGateway owns: Gateway in, plain JSON object out."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from litevoice_operator.api.labels import COMPONENTS, TEMPLATE_HASH_ANNOTATION
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.configs import config_map
from litevoice_operator.manifests.disruption import disruption_budget
from litevoice_operator.manifests.gateway import gateway_set
from litevoice_operator.manifests.identities import service_account, worker_role, worker_role_binding
from litevoice_operator.manifests.keys import Keys, keys_secret, worker_keys_secret
from litevoice_operator.manifests.objects import Manifest
from litevoice_operator.manifests.services import gateway_service, worker_service
from litevoice_operator.manifests.worker import worker_deployment


def all_manifests(gateway: Gateway, keys: Keys) -> list[Manifest]:
    """Everything in the order of creation: what pods mount comes before the pods."""
    gateway = _with_token(gateway, keys)
    return [
        keys_secret(gateway, keys),
        worker_keys_secret(gateway, keys),
        *(config_map(gateway, component) for component in COMPONENTS),
        *(service_account(gateway, component) for component in COMPONENTS),
        worker_role(gateway),
        worker_role_binding(gateway),
        gateway_service(gateway),
        worker_service(gateway),
        *(disruption_budget(gateway, component) for component in COMPONENTS),
        gateway_set(gateway, keys),
        worker_deployment(gateway, keys),
    ]


def worker_template(gateway: Gateway, keys: Keys) -> str:
    """Hash of the workers' template."""
    template = worker_deployment(_with_token(gateway, keys), keys)["spec"]["template"]
    return str(template["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION])


def _with_token(gateway: Gateway, keys: Keys) -> Gateway:
    return replace(gateway, worker_token_sha256=hashlib.sha256(keys.worker_token.encode()).hexdigest())
