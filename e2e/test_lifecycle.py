"""A VoiceGateway from `kubectl apply` over `kubectl scale` to `kubectl delete`, with a real garbage collector."""

from __future__ import annotations

import json

import pytest

from e2e import environment
from e2e.shell import kubectl, kubectl_json, wait_until

pytestmark = pytest.mark.timeout(900)

NAMESPACE, NAME = "voice-short", "short"
OWNED = (
    "deployments,replicasets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,"
    "poddisruptionbudgets,roles,rolebindings"
)


def owned() -> list[str]:
    listed = kubectl_json("get", OWNED, "-n", NAMESPACE, "-l", f"app.kubernetes.io/instance={NAME}")["items"]
    return [f"{item['kind']}/{item['metadata']['name']}" for item in listed]


def ready_replicas() -> int:
    status = kubectl_json("get", "vgw", "-n", NAMESPACE, NAME).get("status", {})
    return int(status.get("readyReplicas") or 0)


def test_apply_scale_and_delete(endpoint: environment.Endpoint) -> None:
    resources = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "keys", "namespace": NAMESPACE},
            "stringData": {"somebody": "a-key-that-nobody-uses"},
        },
        {
            "apiVersion": "litevoice.dev/v1alpha1",
            "kind": "VoiceGateway",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"replicas": 1, "auth": {"apiKeysSecret": "keys"}, "workers": {"replicas": 1}},
        },
    ]
    try:
        kubectl("apply", "-f", "-", text="\n---\n".join(map(json.dumps, resources)))
        kubectl("wait", "vgw", NAME, "-n", NAMESPACE, "--for=condition=Ready", "--timeout=280s")
        assert ready_replicas() == 1

        kubectl("scale", "vgw", NAME, "-n", NAMESPACE, "--replicas=2")
        wait_until(lambda: ready_replicas() == 2, 180, "a second gateway")

        assert {"Deployment", "ReplicaSet"} <= {name.partition("/")[0] for name in owned()}
        kubectl("delete", "vgw", NAME, "-n", NAMESPACE, "--timeout=120s")
        wait_until(lambda: not owned(), 180, "everything of the VoiceGateway to be gone")
        kubectl("get", "secret", "keys", "-n", NAMESPACE)  # the user's own stays
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
