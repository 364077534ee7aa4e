"""Who the pods are to Kubernetes: gateways nobody, workers allowed to see which workers are ready."""

from __future__ import annotations

from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest


def gateway_service_account(gateway: Gateway) -> Manifest:
    return manifest(
        gateway, "v1", "ServiceAccount", gateway.gateway_object, "gateway", automountServiceAccountToken=False
    )


def worker_service_account(gateway: Gateway) -> Manifest:
    return manifest(
        gateway, "v1", "ServiceAccount", gateway.worker_object, "worker", automountServiceAccountToken=False
    )


def worker_role(gateway: Gateway) -> Manifest:
    """EndpointSlices have generated names, so that the Role cannot be narrowed to the one Service."""
    return manifest(
        gateway,
        "rbac.authorization.k8s.io/v1",
        "Role",
        gateway.worker_object,
        "worker",
        rules=[{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}],
    )


def worker_role_binding(gateway: Gateway) -> Manifest:
    return manifest(
        gateway,
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        gateway.worker_object,
        "worker",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": gateway.worker_object},
        subjects=[{"kind": "ServiceAccount", "name": gateway.worker_object, "namespace": gateway.namespace}],
    )
