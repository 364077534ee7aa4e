"""The Service that clients connect to, and the headless one whose EndpointSlices list the ready workers."""

from __future__ import annotations

from typing import Any

from litevoice_operator.api.labels import ACCEPTING_LABEL, selector_labels
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest
from litevoice_operator.manifests.paths import ADMIN_PORT


def gateway_service(gateway: Gateway) -> Manifest:
    listen = gateway.spec.listen
    port = {"name": "ws", "port": listen.port, "targetPort": "ws", "protocol": "TCP", "appProtocol": "kubernetes.io/ws"}
    if listen.node_port is not None:
        port["nodePort"] = listen.node_port
    policy = {"externalTrafficPolicy": listen.external_traffic_policy} if listen.service_type != "ClusterIP" else {}
    selector = selector_labels(gateway.name, "gateway")
    if gateway.routed_by_label:
        selector[ACCEPTING_LABEL] = "true"
    spec: dict[str, Any] = {"type": listen.service_type, "selector": selector, "ports": [port], **policy}
    if listen.load_balancer_class:
        spec["loadBalancerClass"] = listen.load_balancer_class
    service = manifest(gateway, "gateway", "v1", "Service", spec=spec)
    if listen.annotations:
        service["metadata"]["annotations"] = dict(listen.annotations)
    return service


def worker_service(gateway: Gateway) -> Manifest:
    port = {"name": "admin", "port": ADMIN_PORT, "targetPort": "admin", "protocol": "TCP"}
    spec = {"clusterIP": "None", "selector": selector_labels(gateway.name, "worker"), "ports": [port]}
    return manifest(gateway, "worker", "v1", "Service", spec=spec)
