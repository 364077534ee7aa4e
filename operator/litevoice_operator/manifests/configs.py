"""ConfigMaps with the settings files, and their hash: a changed file rolls only the pods that read it."""

from __future__ import annotations

import hashlib
import json

from litevoice_operator.api.labels import Component
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest
from litevoice_operator.manifests.paths import CONFIG_FILE
from litevoice_operator.manifests.settings_files import gateway_settings, worker_settings


def config_map(gateway: Gateway, component: Component) -> Manifest:
    return manifest(gateway, component, "v1", "ConfigMap", data={CONFIG_FILE: _text(gateway, component)})


def config_hash(gateway: Gateway, component: Component) -> str:
    return hashlib.sha256(_text(gateway, component).encode()).hexdigest()[:16]


def _text(gateway: Gateway, component: Component) -> str:
    settings = gateway_settings(gateway) if component == "gateway" else worker_settings(gateway)
    return json.dumps(settings.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True) + "\n"
