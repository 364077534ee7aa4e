"""ConfigMaps with the settings files, and their hash: a changed file rolls the pods that read it, and only those."""

from __future__ import annotations

import hashlib
import json

from litevoice_contracts.settings import GatewaySettings, WorkerSettings
from litevoice_operator.api.labels import Component
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest
from litevoice_operator.manifests.paths import CONFIG_FILE
from litevoice_operator.manifests.settings_files import gateway_settings, worker_settings


def gateway_config_map(gateway: Gateway) -> Manifest:
    return _config_map(gateway, "gateway", gateway.gateway_object, gateway_settings(gateway))


def worker_config_map(gateway: Gateway) -> Manifest:
    return _config_map(gateway, "worker", gateway.worker_object, worker_settings(gateway))


def config_hash(settings: GatewaySettings | WorkerSettings) -> str:
    return hashlib.sha256(_text(settings).encode()).hexdigest()[:16]


def _config_map(
    gateway: Gateway, component: Component, name: str, settings: GatewaySettings | WorkerSettings
) -> Manifest:
    return manifest(gateway, "v1", "ConfigMap", name, component, data={CONFIG_FILE: _text(settings)})


def _text(settings: GatewaySettings | WorkerSettings) -> str:
    return json.dumps(settings.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True) + "\n"
