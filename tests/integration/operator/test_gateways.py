"""VoiceGateways on a real API server and a real RocketMQ: what is made, what is told, what is removed."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import msgspec
import pytest

from litevoice_broker.admin import Admin
from litevoice_contracts.control import DrainReport
from litevoice_contracts.names import Names
from litevoice_dev.ports import free_port
from litevoice_operator.manifests.keys import derive_keys
from tests.integration.apiserver import ApiServer, decoded, wait_until
from tests.integration.operator.process import ROOT_KEY, Namespace, OperatorProcess, voice_gateway
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first


@pytest.fixture(scope="module")
def operator_server(operator_server: ApiServer) -> ApiServer:
    operator_server.start_garbage_collector()
    return operator_server


def missing(rocketmq: SharedRocketMQ, names: Names) -> list[str]:
    """What the broker does not have."""

    async def ask() -> list[str]:
        admin = Admin(rocketmq.name_server)
        try:
            return await admin.names_exist(names)
        finally:
            await admin.close()

    return asyncio.run(ask())


def deployment(namespace: Namespace, name: str) -> dict[str, Any]:
    return namespace.get("apps/v1", "deployments", name) or {}


def test_from_creation_to_removal(namespace: Namespace, rocketmq: SharedRocketMQ) -> None:
    server, path = namespace.server, f"{namespace.gateways}/demo"
    server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 3}))
    names = Names.default(namespace.name, "demo", 3)

    condition = namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")
    assert "0 of 2 gateways are ready" in condition["message"]
    wait_until(lambda: missing(rocketmq, names) == [], "topics and groups at the broker")
    settings = json.loads((namespace.get("v1", "configmaps", "demo-gateway") or {})["data"]["settings.json"])
    assert settings["broker"]["nameServer"] == rocketmq.name_server
    keys = derive_keys(ROOT_KEY, namespace.name, "demo")
    secret = namespace.get("v1", "secrets", "demo-keys") or {}
    assert decoded(secret) == {"session-signing-key": keys.session_signing_key, "admin-token": keys.admin_token}
    for api, plural in (
        ("v1", "services"),
        ("v1", "serviceaccounts"),
        ("policy/v1", "poddisruptionbudgets"),
        ("apps/v1", "deployments"),
    ):
        for name in ("demo-gateway", "demo-worker"):
            assert namespace.get(api, plural, name), f"{plural} {name}"
    assert namespace.get("rbac.authorization.k8s.io/v1", "rolebindings", "demo-worker")

    server.merge(f"{path}/scale", {"spec": {"replicas": 5}})
    wait_until(lambda: deployment(namespace, "demo-gateway")["spec"]["replicas"] == 5, "the Deployment to be scaled")
    selector = server.request("GET", f"{path}/scale")["status"]["selector"]
    assert selector == (
        "app.kubernetes.io/name=litevoice,app.kubernetes.io/instance=demo,app.kubernetes.io/component=gateway"
    )

    server.request("DELETE", path)
    wait_until(lambda: server.get(path) is None, "the VoiceGateway to be gone")
    assert set(missing(rocketmq, names)) >= {f"topic {names.reply_topic}", f"topic {names.partition_topic(0)}"}
    for api, plural, name in (
        ("v1", "secrets", "demo-keys"),
        ("v1", "services", "demo-gateway"),
        ("apps/v1", "deployments", "demo-worker"),
        ("rbac.authorization.k8s.io/v1", "roles", "demo-worker"),
    ):
        wait_until(lambda a=api, p=plural, n=name: namespace.get(a, p, n) is None, f"{plural} {name} to be gone")  # type: ignore[misc]


def rolled_out(namespace: Namespace, name: str) -> None:
    """As the Deployment's controller writes it when all pods run."""
    found = deployment(namespace, name)
    replicas = found["spec"]["replicas"]
    status = {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
    }
    namespace.server.merge(namespace.path("apps/v1", "deployments", name) + "/status", {"status": status})


def test_ready_and_back(namespace: Namespace) -> None:
    path = f"{namespace.gateways}/demo"
    created = namespace.server.create(namespace.gateways, voice_gateway("demo"))
    wait_until(lambda: bool(deployment(namespace, "demo-worker")), "the Deployments")
    rolled_out(namespace, "demo-gateway")
    assert "0 of 2 workers" in namespace.wait_condition(path, "Ready", "False", "WorkersNotReady")["message"]
    rolled_out(namespace, "demo-worker")
    ready = namespace.wait_condition(path, "Ready", "True")
    assert ready["observedGeneration"] == created["metadata"]["generation"]
    assert namespace.condition(path, "Reconciling")["status"] == "False"
    assert namespace.condition(path, "Stalled")["status"] == "False"
    namespace.server.merge(path, {"spec": {"logLevel": "debug"}})  # rolls the pods, one by one
    namespace.wait_condition(path, "Reconciling", "True", "RollingOut")
    assert namespace.condition(path, "Ready")["status"] == "True"


def test_what_is_removed_by_hand_comes_back_when_the_operator_restarts(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.server.create(namespace.gateways, voice_gateway("demo"))
    wait_until(lambda: namespace.get("v1", "services", "demo-gateway") is not None, "the Service")
    wait_until(lambda: bool(deployment(namespace, "demo-worker")), "the Deployments")
    namespace.server.request("DELETE", namespace.path("v1", "services", "demo-gateway"))
    assert operator.stop() == 0
    operator.start()
    wait_until(lambda: namespace.get("v1", "services", "demo-gateway") is not None, "the Service to be back")


def test_a_broker_that_is_not_there_is_told_and_then_used(namespace: Namespace, rocketmq: SharedRocketMQ) -> None:
    path, nowhere = f"{namespace.gateways}/demo", f"127.0.0.1:{free_port()}"
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq={"nameServer": nowhere}))
    condition = namespace.wait_condition(path, "Ready", "False", "BrokerUnavailable")
    assert condition["message"].startswith(f"nameServer: cannot reach {nowhere}")
    assert namespace.condition(path, "Stalled")["status"] == "False"
    assert deployment(namespace, "demo-gateway"), "gateways wait for a broker by themselves"
    namespace.server.merge(path, {"spec": {"rocketmq": {"nameServer": rocketmq.name_server}}})
    namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")
    assert missing(rocketmq, Names.default(namespace.name, "demo", 8)) == []


def test_a_name_too_long_for_a_topic_names_the_field(server: ApiServer, operator: OperatorProcess) -> None:
    namespace = Namespace(server, f"t-{secrets.token_hex(4)}-{'x' * 52}")
    name = "y" * 50
    namespace.server.create(namespace.gateways, voice_gateway(name))
    path = f"{namespace.gateways}/{name}"
    condition = namespace.wait_condition(path, "Ready", "False", "InvalidSpec")
    assert condition["message"].startswith("spec.rocketmq.requestTopic: ")
    assert namespace.condition(path, "Stalled")["status"] == "True"
    # Names of one's own are the way out.
    assert deployment(namespace, f"{name}-gateway") == {}
    server.request("DELETE", path)
    wait_until(lambda: server.get(path) is None, "the VoiceGateway to be gone")


def test_what_kubernetes_refuses_is_told(namespace: Namespace) -> None:
    path = f"{namespace.gateways}/second"
    listen = {"serviceType": "NodePort", "nodePort": 31234}
    namespace.server.create(namespace.gateways, voice_gateway("first", listen=listen))
    wait_until(lambda: namespace.get("v1", "services", "first-gateway") is not None, "the first Service")
    namespace.server.create(namespace.gateways, voice_gateway("second", listen=listen))
    condition = namespace.wait_condition(path, "Ready", "False", "ApplyFailed")
    assert "provided port is already allocated" in condition["message"]
    assert namespace.condition(path, "Stalled")["status"] == "True"
    namespace.server.merge(path, {"spec": {"listen": {"nodePort": 31235}}})
    namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")


def test_a_missing_secret_is_told_by_its_field(namespace: Namespace) -> None:
    path = f"{namespace.gateways}/demo"
    namespace.server.create(namespace.gateways, voice_gateway("demo"))
    namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")
    namespace.make_pod(
        "demo-gateway-1", "demo", "gateway", "node-1", phase="Pending",
        conditions=[{"type": "PodScheduled", "status": "True"}],
        containerStatuses=[
            {"name": "gateway", "image": "x", "imageID": "", "ready": False, "restartCount": 0,
             "state": {"waiting": {"reason": "ContainerCreating"}}}
        ],
    )  # fmt: skip
    pod = namespace.get("v1", "pods", "demo-gateway-1") or {}
    namespace.server.create(
        namespace.path("v1", "events"),
        {
            "metadata": {"name": "demo-gateway-1.1"},
            "involvedObject": {"kind": "Pod", "name": "demo-gateway-1", "namespace": namespace.name,
                               "uid": pod["metadata"]["uid"]},
            "type": "Warning",
            "reason": "FailedMount",
            "message": 'MountVolume.SetUp failed for volume "api-keys" : secret "api-keys" not found',
            "lastTimestamp": "2026-01-01T00:00:00Z",
        },
    )  # fmt: skip
    condition = namespace.wait_condition(path, "Ready", "False", "SecretNotMounted")
    assert 'spec.auth.apiKeysSecret: secret "api-keys" not found' in condition["message"]
    assert namespace.condition(path, "Stalled")["status"] == "True"


def test_the_report_of_a_drained_gateway_outlives_its_pod(namespace: Namespace) -> None:
    path = f"{namespace.gateways}/demo"
    namespace.server.create(namespace.gateways, voice_gateway("demo"))
    namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")
    report = DrainReport(state="drained", sessions=9, moved=7, completed=1, forced=1, duration_seconds=2.5)
    namespace.make_pod(
        "demo-gateway-9", "demo", "gateway", "node-1", phase="Succeeded",
        containerStatuses=[
            {"name": "gateway", "image": "x", "imageID": "", "ready": False, "restartCount": 0,
             "state": {"terminated": {"exitCode": 0, "message": msgspec.json.encode(report).decode(),
                                      "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:09Z"}}}
        ],
    )  # fmt: skip
    namespace.server.request("DELETE", namespace.path("v1", "pods", "demo-gateway-9") + "?gracePeriodSeconds=0")

    def last_drain() -> Any:
        return (namespace.server.get(path) or {})["status"].get("lastDrain")

    wait_until(lambda: last_drain() is not None, "the drain report")
    assert last_drain() == {
        "pod": "demo-gateway-9", "moved": 7, "completed": 1, "forced": 1, "lostPackets": 0, "durationSeconds": 2.5,
        "finishedAt": "2026-01-01T00:00:09Z",
    }  # fmt: skip


def test_deletion_does_not_wait_for_ever_for_a_broker_that_is_gone(namespace: Namespace) -> None:
    path, nowhere = f"{namespace.gateways}/demo", f"127.0.0.1:{free_port()}"
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq={"nameServer": nowhere}))
    namespace.wait_condition(path, "Ready", "False", "BrokerUnavailable")
    namespace.server.request("DELETE", path)
    wait_until(lambda: namespace.server.get(path) is None, "the VoiceGateway to be gone", 150)
    (event,) = [event for event in namespace.events("demo") if event["reason"] == "BrokerCleanupFailed"]
    assert (event["type"], nowhere in event["message"]) == ("Warning", True)


def test_a_whole_namespace_can_be_deleted(namespace: Namespace) -> None:
    """The namespace's controller is not here, so its deletion is played object by object, the Secret first."""
    path = f"{namespace.gateways}/demo"
    namespace.server.create(namespace.gateways, voice_gateway("demo"))
    namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")
    for api, plural, name in (("v1", "secrets", "demo-keys"), ("apps/v1", "deployments", "demo-gateway")):
        namespace.server.request("DELETE", namespace.path(api, plural, name))
    namespace.server.request("DELETE", path)
    wait_until(lambda: namespace.server.get(path) is None, "the VoiceGateway to be gone")
