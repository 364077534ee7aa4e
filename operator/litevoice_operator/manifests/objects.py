"""What all objects share: labels and the owner reference."""

from __future__ import annotations

from typing import Any

from litevoice_operator.api.base import API_VERSION
from litevoice_operator.api.labels import Component, labels
from litevoice_operator.api.resolved import Gateway

Manifest = dict[str, Any]


def manifest(
    gateway: Gateway, component: Component, api_version: str, kind: str, name: str = "", **content: object
) -> Manifest:
    """An object that the garbage collector removes with its VoiceGateway; without a `name`, the component's own."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "namespace": gateway.namespace,
            "name": name or gateway.object_name(component),
            "labels": labels(gateway.name, component),
            "ownerReferences": [controller(gateway.name, gateway.uid)],
        },
        **content,
    }


def controller(name: str, uid: str) -> dict[str, Any]:
    """The owner reference to the VoiceGateway."""
    return {
        "apiVersion": API_VERSION,
        "kind": "VoiceGateway",
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
