"""What all objects share: labels, selectors, the owner reference."""

from __future__ import annotations

from typing import Any, Literal

from litevoice_operator.api.base import API_VERSION
from litevoice_operator.api.resolved import Gateway

Manifest = dict[str, Any]
Component = Literal["gateway", "worker"]

MANAGED_BY = "litevoice-operator"
MANAGED_SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY}"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"


def selector_labels(name: str, component: Component) -> dict[str, str]:
    """The labels that tell the pods of one component of one VoiceGateway from all others."""
    return {"app.kubernetes.io/name": "litevoice", INSTANCE_LABEL: name, COMPONENT_LABEL: component}


def selector_text(name: str, component: Component) -> str:
    """The same as a label selector in text form."""
    return ",".join(f"{key}={value}" for key, value in selector_labels(name, component).items())


def labels(name: str, component: Component) -> dict[str, str]:
    return {**selector_labels(name, component), "app.kubernetes.io/managed-by": MANAGED_BY}


def manifest(
    gateway: Gateway, api_version: str, kind: str, name: str, component: Component, **content: object
) -> Manifest:
    """An object that the garbage collector removes with its VoiceGateway."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "namespace": gateway.namespace,
            "name": name,
            "labels": labels(gateway.name, component),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "VoiceGateway",
                    "name": gateway.name,
                    "uid": gateway.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        **content,
    }
