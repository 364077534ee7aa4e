"""What the pods may do in Kubernetes: gateways nothing, workers see which workers are ready."""

from __future__ import annotations

from litevoice_operator.api.labels import Component
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest

_RBAC = "rbac.authorization.k8s.io"


def service_account(gateway: Gateway, component: Component) -> Manifest:
    account = manifest(gateway, component, "v1", "ServiceAccount", automountServiceAccountToken=False)
    pod = gateway.spec.pod if component == "gateway" else gateway.spec.workers.pod
    if pod.service_account_annotations:
        account["metadata"]["annotations"] = dict(pod.service_account_annotations)
    return account


def worker_role(gateway: Gateway) -> Manifest:
    """EndpointSlices have generated names, so the Role cannot be narrowed to the one Service."""
    rule = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    return manifest(gateway, "worker", f"{_RBAC}/v1", "Role", rules=[rule])


def worker_role_binding(gateway: Gateway) -> Manifest:
    name = gateway.object_name("worker")
    role = {"apiGroup": _RBAC, "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": gateway.namespace}]
    return manifest(gateway, "worker", f"{_RBAC}/v1", "RoleBinding", roleRef=role, subjects=subjects)
