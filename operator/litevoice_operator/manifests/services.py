"""The Service that clients connect to, and the headless one whose EndpointSlices list the ready workers."""

from __future__ import annotations

from litevoice_operator.api.labels import selector_labels
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest
from litevoice_operator.manifests.paths import ADMIN_PORT


def gateway_service(gateway: Gateway) -> Manifest:
    listen = gateway.spec.listen
    port = {"name": "ws", "port": listen.port, "targetPort": "ws", "protocol": "TCP", "appProtocol": "kubernetes.io/ws"}
    if listen.node_port is not None:
        port["nodePort"] = listen.node_port
    policy = {"externalTrafficPolicy": listen.external_traffic_policy} if listen.service_type != "ClusterIP" else {}
    return manifest(
        gateway,
        "v1",
        "Service",
        gateway.gateway_object,
        "gateway",
        spec={
            "type": listen.service_type,
            "selector": selector_labels(gateway.name, "gateway"),
            "ports": [port],
            **policy,
        },
    )


def worker_service(gateway: Gateway) -> Manifest:
    return manifest(
        gateway,
        "v1",
        "Service",
        gateway.worker_object,
        "worker",
        spec={
            "clusterIP": "None",
            "selector": selector_labels(gateway.name, "worker"),
            "ports": [{"name": "admin", "port": ADMIN_PORT, "targetPort": "admin", "protocol": "TCP"}],
        },
    )
