"""A fleet at rest costs the API server no LIST; whoever acts has looked. What is asked stands in its audit log."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from prometheus_client.parser import text_string_to_metric_families

from bench.operator import AUDIT_POLICY
from bench.operator_figures import audited
from litevoice_contracts.metrics import GATEWAY_STATUS_ANSWERS, OPERATOR_RECONCILES
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.cluster import Cluster, Kind
from litevoice_operator.decide.plan import Apply
from litevoice_operator.reconcile.execute import Executor
from litevoice_operator.reconcile.nodes import Nodes
from tests.integration.apiserver import ApiServer, running, wait_until
from tests.integration.operator.process import Namespace, OperatorProcess, voice_gateway
from tests.integration.operator.test_alerts import GatewayPod
from tests.integration.operator.test_scaling import worker
from tests.waiting import until

SERVICE = Kind("v1", "Service")
pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ApiServer]:
    """With an audit log."""
    policy = folder / "policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY))
    flags = f"--audit-policy-file={policy}", f"--audit-log-path={folder / 'audit.log'}"
    with running(folder / "server", *flags) as server:
        yield server


@pytest.fixture
def asked(folder: Path) -> Callable[[], Counter[str]]:
    """How often the operator has asked for what until now."""
    return lambda: audited((folder / "audit.log").read_text().splitlines(), 0.0, 1e12)


@pytest.fixture
async def cluster(operator_server: ApiServer) -> AsyncIterator[Cluster]:
    """As the operator."""
    configuration = Configuration()
    await kubernetes_config.load_kube_config(
        config_file=str(operator_server.operator_kubeconfig), client_configuration=configuration
    )
    async with Cluster(ApiClient(configuration), "operator-0") as cluster:
        yield cluster


def settle(namespace: Namespace, workers: int) -> None:
    """As controllers would say that all is there."""
    gateways = namespace.gateway_set("demo")["metadata"]["name"]
    for plural, name, size in (("replicasets", gateways, 1), ("deployments", "demo-worker", workers)):
        made = namespace.get("apps/v1", plural, name) or {}
        status = {"observedGeneration": made["metadata"]["generation"], "replicas": size, "readyReplicas": size,
                  "availableReplicas": size}  # fmt: skip
        status |= {"updatedReplicas": size} if plural == "deployments" else {}
        namespace.server.merge(f"{namespace.path('apps/v1', plural, name)}/status", {"status": status})


def test_a_fleet_at_rest_is_not_listed(
    namespace: Namespace, asked: Callable[[], Counter[str]], operator: OperatorProcess, tmp_path: Path
) -> None:
    path = f"{namespace.gateways}/demo"
    spec = {"replicas": 1, "workers": {"replicas": 2}, "rocketmq": {"partitions": 2}}
    namespace.server.create(namespace.gateways, voice_gateway("demo", **spec))
    wait_until(lambda: bool(namespace.gateway_sets("demo")), "the ReplicaSet")
    wait_until(lambda: namespace.get("apps/v1", "deployments", "demo-worker") is not None, "the Deployment")
    (tmp_path / "worker").mkdir()
    with GatewayPod(namespace, tmp_path / "gateway") as pod, worker(namespace, tmp_path / "worker"):
        wait_until(pod.ready, "the gateway to be ready", 90)
        settle(namespace, workers=2)
        namespace.wait_condition(path, "Ready", "True")
        namespace.wait_condition(path, "Reconciling", "False", "Settled")

        def lists() -> int:
            return sum(count for what, count in asked().items() if what.startswith("list "))

        def done() -> float:
            """Passes over VoiceGateways until now."""
            labels = {"kind": "VoiceGateway", "outcome": "done"}
            families = text_string_to_metric_families(operator.metrics())
            samples = (sample for family in families for sample in family.samples)
            return sum(one.value for one in samples if (one.name, one.labels) == (OPERATOR_RECONCILES, labels))

        def reads() -> int:
            return sum(asked()[f"get {what}"] for what in ("voicegateways", "deployments"))

        def passes(number: int) -> int:
            """LISTs while pod events wake the operator's loop so often."""
            before = lists()
            for wake in range(number):
                seen = done()
                change = {"metadata": {"annotations": {"litevoice.dev/test": f"{before}-{wake}"}}}
                namespace.server.merge(namespace.path("v1", "pods", pod.name), change)
                wait_until(lambda seen=seen: done() > seen, "a pass")  # type: ignore[misc]
            return lists() - before

        def questions(number: int) -> float:
            """To the gateway, for its status, meanwhile."""
            before = pod.metric(GATEWAY_STATUS_ANSWERS)
            passes(number)
            return pod.metric(GATEWAY_STATUS_ANSWERS) - before

        wait_until(lambda: passes(5) == 0, "it to be at rest")
        read = reads()
        passes(5)
        assert reads() < read + 5, "the watch has told, not the API server at each pass"
        wait_until(lambda: questions(5) <= 1, "passes to ask nobody, beside the question that waits for a change")
        before = lists()
        namespace.server.merge(f"{path}/scale", {"spec": {"replicas": 2}})
        wait_until(lambda: namespace.gateway_replicas("demo") == 2, "two gateways")
        assert lists() >= before + 2, "pods and ReplicaSets are listed by whoever acts"
        namespace.server.merge(f"{path}/scale", {"spec": {"replicas": 1}})
        wait_until(lambda: namespace.gateway_replicas("demo") == 1, "one gateway")
        settle(namespace, workers=2)
        wait_until(lambda: passes(3) == 0, "it to be at rest again")
    before = lists()
    wait_until(lambda: lists() > before, "nobody to be believed about pods that do not answer")


async def test_a_replica_set_that_others_have_changed_stays_until_it_was_looked_at(
    namespace: Namespace, cluster: Cluster
) -> None:
    gateway = f"{namespace.gateways}/demo"
    namespace.server.create(namespace.gateways, voice_gateway("demo", replicas=1, rocketmq={"partitions": 1}))
    await asyncio.to_thread(wait_until, lambda: bool(namespace.gateway_sets("demo")), "the ReplicaSet")
    namespace.server.merge(gateway, {"spec": {"paused": True}})
    await asyncio.to_thread(namespace.wait_condition, gateway, "Paused", "True")
    made = namespace.gateway_set("demo")
    name, uid = made["metadata"]["name"], made["metadata"]["ownerReferences"][0]["uid"]
    metadata = {key: made["metadata"][key] for key in ("namespace", "name", "labels", "ownerReferences")}
    manifest = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": made["spec"]}
    path = namespace.path("apps/v1", "replicasets", name)
    changed = namespace.server.merge(path, {"spec": {"replicas": 3}})

    executor = Executor(cluster, cast(Broker, None), (namespace.name, "demo"))
    outcome = await executor.execute([Apply(manifest)], uid, {name: made["metadata"]["resourceVersion"]})
    assert (outcome.applied, outcome.problem, executor.done) == ([], None, {}), "it is due again"
    assert namespace.gateway_replicas("demo") == 3
    outcome = await executor.execute([Apply(manifest)], uid, {name: changed["metadata"]["resourceVersion"]})
    assert [body["spec"]["replicas"] for body in outcome.applied] == [1]


async def test_what_nobody_has_touched_is_looked_at_and_not_written(
    namespace: Namespace, cluster: Cluster, asked: Callable[[], Counter[str]]
) -> None:
    gateway = f"{namespace.gateways}/demo"
    namespace.server.create(namespace.gateways, voice_gateway("demo", replicas=1, rocketmq={"partitions": 1}))
    await asyncio.to_thread(
        wait_until, lambda: namespace.get("v1", "services", "demo-gateway") is not None, "a Service"
    )
    namespace.server.merge(gateway, {"spec": {"paused": True}})
    await asyncio.to_thread(namespace.wait_condition, gateway, "Paused", "True")
    made = namespace.get("v1", "services", "demo-gateway") or {}
    metadata = {key: made["metadata"][key] for key in ("namespace", "name", "labels", "ownerReferences")}
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": made["spec"]["ports"]}}
    executor = Executor(cluster, cast(Broker, None), (namespace.name, "demo"))

    async def written() -> int:
        before = asked()["patch services"]
        outcome = await executor.execute([Apply(manifest)])
        assert [body["metadata"]["name"] for body in outcome.applied] == ["demo-gateway"]
        seen = asked()["get services"]
        await cluster.get(SERVICE, namespace.name, "demo-gateway")
        await until(lambda: asked()["get services"] > seen, "the audit log to have it all")
        return asked()["patch services"] - before

    assert [await written() for _ in range(3)] == [1, 0, 0]
    namespace.server.merge(
        namespace.path("v1", "services", "demo-gateway"), {"metadata": {"labels": {"litevoice.dev/test": "a"}}}
    )
    assert [await written() for _ in range(2)] == [1, 0], "others have changed it"
    manifest = {**manifest, "metadata": {**metadata, "annotations": {"litevoice.dev/test": "b"}}}
    assert [await written() for _ in range(2)] == [1, 0], "another manifest"


async def test_cordoned_nodes_are_watched(
    operator_server: ApiServer, cluster: Cluster, asked: Callable[[], Counter[str]]
) -> None:
    nodes = Nodes(cluster)
    path = "/api/v1/nodes"
    for name in ("rest-1", "rest-2"):
        operator_server.create(path, {"metadata": {"name": name}})
    operator_server.merge(f"{path}/rest-1", {"spec": {"unschedulable": True}})
    await nodes.begin()
    try:
        assert nodes.known
        assert sorted(nodes.cordoned) == ["rest-1"]
        for name, cordoned, expected in (("rest-2", True, ["rest-1", "rest-2"]), ("rest-1", False, ["rest-2"])):
            operator_server.merge(f"{path}/{name}", {"spec": {"unschedulable": cordoned}})
            await until(lambda expected=expected: sorted(nodes.cordoned) == expected, str(expected))
        await asyncio.sleep(2)  # the operator has looked, too
        before = asked()["list nodes"]
        operator_server.merge(f"{path}/rest-1", {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(2)
        assert asked()["list nodes"] == before, "what nodes that are not cordoned do does not matter"
    finally:
        await nodes.close()
