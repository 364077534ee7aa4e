"""VoiceGateways on a real API server and a real RocketMQ: what is made, what is told, what is removed."""

from __future__ import annotations

import copy
import json
import secrets
from typing import Any

import msgspec
import pytest

from litevoice_contracts.control import DrainReport
from litevoice_contracts.names import Names
from litevoice_dev.ports import free_port
from litevoice_operator.api.labels import REVISION_LABEL, TEMPLATE_HASH_ANNOTATION
from litevoice_operator.manifests.certificates import admin_certificate
from litevoice_operator.manifests.keys import derive_keys
from tests.integration.apiserver import ApiServer, decoded, wait_until
from tests.integration.operator.at_the_broker import missing
from tests.integration.operator.process import ROOT_KEY, Namespace, OperatorProcess, voice_gateway
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first


@pytest.fixture(scope="module")
def operator_server(operator_server: ApiServer) -> ApiServer:
    operator_server.start_garbage_collector()
    return operator_server


def deployment(namespace: Namespace, name: str) -> dict[str, Any]:
    return namespace.get("apps/v1", "deployments", name) or {}


def reasons(namespace: Namespace) -> list[str]:
    return sorted(event["reason"] for event in namespace.events("demo") if event["reason"] in ("Paused", "Resumed"))


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
    secret = namespace.keys_secret("demo")
    certificate = admin_certificate(keys.admin_token)
    assert decoded(secret) == {
        "session-signing-key": keys.session_signing_key,
        "admin-token": keys.admin_token,
        "admin-tls.crt": certificate.certificate.decode(),
        "admin-tls.key": certificate.key.decode(),
    }
    for api, plural in (
        ("v1", "services"),
        ("v1", "serviceaccounts"),
        ("policy/v1", "poddisruptionbudgets"),
    ):
        for name in ("demo-gateway", "demo-worker"):
            assert namespace.get(api, plural, name), f"{plural} {name}"
    assert deployment(namespace, "demo-worker")
    assert namespace.gateway_set("demo")
    assert namespace.get("rbac.authorization.k8s.io/v1", "rolebindings", "demo-worker")

    server.merge(f"{path}/scale", {"spec": {"replicas": 5}})
    wait_until(lambda: namespace.gateway_replicas("demo") == 5, "the ReplicaSet to be scaled")
    selector = server.request("GET", f"{path}/scale")["status"]["selector"]
    assert selector == (
        "app.kubernetes.io/name=litevoice,app.kubernetes.io/instance=demo,app.kubernetes.io/component=gateway"
    )

    # Paused: whoever changes the spec or an object, it stays; the status is written, and the rest works while paused.
    server.merge(path, {"spec": {"paused": True}})
    namespace.wait_condition(path, "Paused", "True")
    server.merge(path, {"spec": {"replicas": 6, "workers": {"replicas": 4}}})
    generation = server.request("GET", path)["metadata"]["generation"]
    wait_until(
        lambda: server.request("GET", path)["status"]["observedGeneration"] == generation, "the new spec to be seen"
    )
    assert namespace.condition(path, "ScalingLimited")["reason"] == "Paused"
    assert namespace.condition(path, "Ready")["reason"] == "GatewaysNotReady"
    assert namespace.gateway_replicas("demo") == 5
    assert deployment(namespace, "demo-worker")["spec"]["replicas"] == 2
    server.merge(path, {"spec": {"paused": False}})
    wait_until(lambda: namespace.gateway_replicas("demo") == 6, "the operator to act again")
    namespace.wait_condition(path, "Paused", "False")
    server.merge(path, {"spec": {"paused": True}})
    wait_until(lambda: reasons(namespace) == ["Paused", "Paused", "Resumed"], "each transition to be told once")

    server.request("DELETE", path)
    wait_until(lambda: server.get(path) is None, "the VoiceGateway to be gone")
    assert set(missing(rocketmq, names)) >= {f"topic {names.reply_topic}", f"topic {names.partition_topic(0)}"}
    for api, plural, name in (
        ("v1", "secrets", secret["metadata"]["name"]),
        ("v1", "services", "demo-gateway"),
        ("apps/v1", "deployments", "demo-worker"),
        ("rbac.authorization.k8s.io/v1", "roles", "demo-worker"),
    ):
        wait_until(lambda a=api, p=plural, n=name: namespace.get(a, p, n) is None, f"{plural} {name} to be gone")  # type: ignore[misc]
    wait_until(lambda: namespace.gateway_sets("demo") == [], "the ReplicaSet to be gone")


def rolled_out(namespace: Namespace, component: str) -> None:
    """As its controller writes it when all pods run."""
    worker = component == "worker"
    found = deployment(namespace, "demo-worker") if worker else namespace.gateway_set("demo")
    replicas = found["spec"]["replicas"]
    status = {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        **({"updatedReplicas": replicas} if worker else {}),
    }
    path = namespace.path("apps/v1", "deployments" if worker else "replicasets", found["metadata"]["name"])
    namespace.server.merge(f"{path}/status", {"status": status})


def test_ready_and_back(namespace: Namespace) -> None:
    path = f"{namespace.gateways}/demo"
    created = namespace.server.create(namespace.gateways, voice_gateway("demo"))
    wait_until(lambda: bool(deployment(namespace, "demo-worker")), "the Deployment")
    rolled_out(namespace, "gateway")
    assert "0 of 2 workers" in namespace.wait_condition(path, "Ready", "False", "WorkersNotReady")["message"]
    rolled_out(namespace, "worker")
    ready = namespace.wait_condition(path, "Ready", "True")
    assert ready["observedGeneration"] == created["metadata"]["generation"]
    assert namespace.condition(path, "Reconciling")["status"] == "False"
    assert namespace.condition(path, "Stalled")["status"] == "False"
    cells = namespace.server.kubectl("get", "vgw", "demo", "-n", namespace.name, "--no-headers").split()
    assert cells[:8] == ["demo", "True", "Settled", "2", "2", "2", "0", "0"]
    (revision,) = (namespace.server.get(path) or {})["status"]["revisions"]
    assert (revision["newest"], revision["desired"]) == (True, 2)
    namespace.server.merge(path, {"spec": {"logLevel": "debug"}})  # rolls the pods, one by one
    namespace.wait_condition(path, "Reconciling", "True", "RollingOut")
    assert namespace.condition(path, "Ready")["status"] == "True"


def partitions_told(namespace: Namespace, component: str) -> int:
    text = (namespace.get("v1", "configmaps", f"demo-{component}") or {})["data"]["settings.json"]
    return int(json.loads(text)["broker"]["partitions"])


def test_workers_are_told_of_more_partitions_before_gateways_are(
    namespace: Namespace, operator: OperatorProcess, rocketmq: SharedRocketMQ
) -> None:
    server, path = namespace.server, f"{namespace.gateways}/demo"
    server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 2}))
    wait_until(lambda: bool(deployment(namespace, "demo-worker")), "the Deployment")
    rolled_out(namespace, "gateway")
    rolled_out(namespace, "worker")
    namespace.wait_condition(path, "Ready", "True")
    (before,) = namespace.gateway_sets("demo")

    server.merge(path, {"spec": {"rocketmq": {"partitions": 4}}})
    waits = namespace.wait_condition(path, "Reconciling", "True", "RaisingPartitions")
    assert "2 of 4 partitions" in waits["message"]
    wait_until(lambda: partitions_told(namespace, "worker") == 4, "workers to be told")
    wait_until(lambda: missing(rocketmq, Names.default(namespace.name, "demo", 4)) == [], "topics at the broker")
    assert operator.stop() == 0
    operator.start()
    wait_until(lambda: "0 of 2 do" in namespace.condition(path, "Reconciling")["message"], "what it waits for")
    assert partitions_told(namespace, "gateway") == 2
    assert [one["metadata"]["name"] for one in namespace.gateway_sets("demo")] == [before["metadata"]["name"]]
    assert (server.get(path) or {})["status"]["partitions"] == 2

    rolled_out(namespace, "worker")
    wait_until(lambda: partitions_told(namespace, "gateway") == 4, "gateways to be told")
    assert (server.get(path) or {})["status"]["partitions"] == 4
    wait_until(
        lambda: namespace.gateway_sets("demo")[-1]["metadata"]["name"] != before["metadata"]["name"], "a new set"
    )
    wait_until(
        lambda: [one["reason"] for one in namespace.events("demo")].count("PartitionsRaised") == 1, "it to be told once"
    )


def test_a_fleet_of_an_earlier_release_is_taken_over(namespace: Namespace, operator: OperatorProcess) -> None:
    """Its Deployment goes without its pods; one of the current template stays the newest, under its old name."""
    server, path = namespace.server, f"{namespace.gateways}/demo"
    server.create(namespace.gateways, voice_gateway("demo"))
    wait_until(lambda: bool(namespace.gateway_set("demo")), "the ReplicaSet")
    assert operator.stop() == 0
    made = namespace.gateway_set("demo")
    own = namespace.path("apps/v1", "replicasets", made["metadata"]["name"])
    server.request("DELETE", own)
    wait_until(lambda: namespace.gateway_set("demo") == {}, "no ReplicaSet")
    template = copy.deepcopy(made["spec"]["template"])
    labels = template["metadata"]["labels"]
    del labels[REVISION_LABEL]
    metadata = {"name": "demo-gateway", "labels": made["metadata"]["labels"], **shared(made, "ownerReferences")}
    del metadata["labels"][REVISION_LABEL]
    before = server.create(
        namespace.path("apps/v1", "deployments"),
        {"metadata": metadata, "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}},
    )
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo-gateway", "controller": True,
             "blockOwnerDeletion": True, "uid": before["metadata"]["uid"]}  # fmt: skip
    for revision, image, count in (("7f9b", None, 2), ("6d8c", "older:1", 1), ("5bbf", "oldest:1", 0)):
        pod = copy.deepcopy(template)
        pod["metadata"]["labels"][REVISION_LABEL] = revision
        if image:
            pod["spec"]["containers"][0]["image"] = image
            pod["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION] = f"hash-of-{image}"
            # What the VoiceGateway does not name any more.
            pod["spec"]["volumes"].append({"name": "was-named", "secret": {"secretName": "was-named"}})
        pods = {"matchLabels": pod["metadata"]["labels"]}
        left = {"name": f"demo-gateway-{revision}", "labels": pod["metadata"]["labels"], "ownerReferences": [owner]}
        spec = {"replicas": count, "selector": pods, "template": pod}
        server.create(namespace.path("apps/v1", "replicasets"), {"metadata": left, "spec": spec})
    operator.start()
    wait_until(lambda: deployment(namespace, "demo-gateway") == {}, "the Deployment to be gone")

    def taken() -> bool:
        sets = {one["metadata"]["name"]: one for one in namespace.gateway_sets("demo")}
        owners = [owner["kind"] for one in sets.values() for owner in one["metadata"].get("ownerReferences", [])]
        return sorted(sets) == ["demo-gateway-6d8c", "demo-gateway-7f9b"] and owners == ["VoiceGateway"] * 2

    wait_until(taken, "its ReplicaSets to be the VoiceGateway's, and the one without pods to be gone")
    assert namespace.condition(path, "Ready")["reason"] == "GatewaysNotReady"
    server.merge(f"{path}/scale", {"spec": {"replicas": 4}})

    def replicas() -> dict[str, int]:
        return {one["metadata"]["name"]: one["spec"]["replicas"] for one in namespace.gateway_sets("demo")}

    wait_until(lambda: replicas().get("demo-gateway-7f9b") == 4, "the newest one to be scaled")
    wait_until(lambda: list(replicas()) == ["demo-gateway-7f9b"], "the one of the older template, without pods, to go")


def shared(body: dict[str, Any], field: str) -> dict[str, Any]:
    return {field: body["metadata"][field]}


def test_what_is_removed_by_hand_comes_back_when_the_operator_restarts(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.server.create(namespace.gateways, voice_gateway("demo"))
    wait_until(lambda: namespace.get("v1", "services", "demo-gateway") is not None, "the Service")
    wait_until(lambda: bool(deployment(namespace, "demo-worker")), "the Deployment")
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
    assert namespace.gateway_set("demo"), "gateways wait for a broker by themselves"
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
    assert namespace.gateway_set(name) == {}
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

    def forced() -> list[str]:
        return [event["message"] for event in namespace.events("demo") if event["reason"] == "SessionsForced"]

    def last_drain() -> Any:
        return (namespace.server.get(path) or {})["status"].get("lastDrain")

    wait_until(lambda: last_drain() is not None, "the drain report")
    assert last_drain() == {
        "pod": "demo-gateway-9", "moved": 7, "completed": 1, "forced": 1, "lostPackets": 0, "durationSeconds": 2.5,
        "finishedAt": "2026-01-01T00:00:09Z",
    }  # fmt: skip
    wait_until(lambda: bool(forced()), "an Event of what was cut")
    assert forced() == ["demo-gateway-9 has ended after a drain of 2.5 s: 7 moved, 1 ended, 1 cut, 0 packets lost"]


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
    secret = namespace.keys_secret("demo")["metadata"]["name"]
    made = namespace.gateway_set("demo")["metadata"]["name"]
    for api, plural, name in (("v1", "secrets", secret), ("apps/v1", "replicasets", made)):
        namespace.server.request("DELETE", namespace.path(api, plural, name))
    namespace.server.request("DELETE", path)
    wait_until(lambda: namespace.server.get(path) is None, "the VoiceGateway to be gone")
