"""What is read from pods, their drain reports and their Events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from litevoice_contracts.control import DrainReport, RefusedSettings
from litevoice_operator.api.voice_gateway_status import MAX_LISTED_DRAINS
from litevoice_operator.observe.mounts import mount_problem
from litevoice_operator.observe.pods import read_pod
from litevoice_operator.reconcile.pod_cache import PodCache

REPORT = DrainReport(state="drained", sessions=7, moved=5, completed=1, forced=1, lost_packets=2, duration_seconds=3.25)


def body(name: str = "demo-gateway-1", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": "u-1",
            "creationTimestamp": "1970-01-01T00:01:00Z",
            "labels": {"app.kubernetes.io/instance": "demo", "app.kubernetes.io/component": "gateway"},
        },
        "spec": {"nodeName": "node-1"},
        "status": status,
    }


def conditions(**states: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": state} for kind, state in states.items()]


def terminated(message: str, finished_at: str = "2026-01-02T03:04:05Z") -> dict[str, Any]:
    return {"terminated": {"exitCode": 0, "message": message, "finishedAt": finished_at}}


def report(finished_at: str = "2026-01-02T03:04:05Z") -> dict[str, Any]:
    return terminated(msgspec.json.encode(REPORT).decode(), finished_at)


def test_a_pod_that_works() -> None:
    pod = read_pod(
        body(
            podIP="10.1.1.1",
            conditions=conditions(PodScheduled="True", Ready="True"),
            containerStatuses=[{"state": {"running": {}}}],
        )
    )
    assert (pod.namespace, pod.name, pod.instance, pod.component) == ("shop", "demo-gateway-1", "demo", "gateway")
    assert (pod.node, pod.ip, pod.ready, pod.terminating, pod.starting, pod.trouble) == (
        "node-1", "10.1.1.1", True, False, False, "",
    )  # fmt: skip
    assert (pod.created_at, pod.drained) == (60.0, None)
    assert pod.address == "10.1.1.1", "a pod of an early release is asked without TLS"


@pytest.mark.parametrize(
    ("ports", "ip", "address"),
    [
        ([], "10.1.1.1", "10.1.1.1"),
        ([{"name": "admin", "containerPort": 9090}], "10.1.1.1", "10.1.1.1"),
        ([{"containerPort": 9443}], "10.1.1.1", "10.1.1.1"),
        ([{"name": "admin", "containerPort": 9090}, {"name": "admin-tls", "containerPort": 9443}], "10.1.1.1",
         "tls:10.1.1.1"),
        ([{"name": "admin-tls", "containerPort": 9443}], "2001:db8::1", "tls:2001:db8::1"),
        ([{"name": "admin-tls", "containerPort": 9443}], "", ""),
    ],
)  # fmt: skip
def test_a_pod_says_whether_its_admin_port_takes_tls(ports: list[dict[str, Any]], ip: str, address: str) -> None:
    running = body(podIP=ip, containerStatuses=[{"state": {"running": {}}}])
    for containers in ([{"name": "gateway", "ports": ports}], [{"name": "other"}, {"name": "gateway", "ports": ports}]):
        pod = read_pod({**running, "spec": {**running["spec"], "containers": containers}})
        cache = PodCache()
        cache.put(pod)
        assert pod.address == address
        assert cache.addresses(("shop", "demo")) == ({"demo-gateway-1": address} if address else {})


TROUBLES: list[tuple[str, dict[str, Any], bool, str]] = [
    ("no node has room",
     {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]},
     False, "cannot be scheduled: 0/3 nodes are available"),
    ("container not made yet",
     {"conditions": conditions(PodScheduled="True", Ready="False"),
      "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, True, ""),
    ("scheduled, the kubelet has not answered", {"conditions": conditions(PodScheduled="True")}, True, ""),
    ("image cannot be pulled",
     {"conditions": conditions(PodScheduled="True", Ready="False"),
      "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]},
     False, "ErrImagePull: not found"),
    ("crash loop",
     {"conditions": conditions(PodScheduled="True", Ready="False"),
      "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, False, "CrashLoopBackOff"),
    ("runs and is not ready: the gateway itself knows why",
     {"conditions": conditions(PodScheduled="True", Ready="False"),
      "containerStatuses": [{"state": {"running": {}}}]}, False, ""),
]  # fmt: skip


@pytest.mark.parametrize(("description", "status", "starting", "trouble"), TROUBLES, ids=[row[0] for row in TROUBLES])
def test_trouble(description: str, status: dict[str, Any], starting: bool, trouble: str) -> None:
    pod = read_pod(body(**status))
    assert (pod.starting, pod.trouble) == (starting, trouble)


def test_an_object_without_anything() -> None:
    pod = read_pod({})
    assert (pod.name, pod.ready, pod.drained) == ("", False, None)


def test_drain_report_of_a_gateway_that_ended() -> None:
    drained = read_pod(body(containerStatuses=[{"state": report()}])).drained
    assert drained is not None
    assert drained.to_object() == {
        "pod": "demo-gateway-1", "moved": 5, "completed": 1, "forced": 1, "lostPackets": 2, "durationSeconds": 3.25,
        "finishedAt": "2026-01-02T03:04:05Z",
    }  # fmt: skip


def test_the_newer_of_two_reports_counts() -> None:
    status = {"state": report("2026-01-02T03:04:06Z"), "lastState": report("2026-01-02T03:04:01Z")}
    drained = read_pod(body(containerStatuses=[status])).drained
    assert drained is not None
    assert drained.finished_at == "2026-01-02T03:04:06Z"


@pytest.mark.parametrize(
    "message",
    ["", "panic: out of memory", "[]", "{", '{"state": "draining", "moved": 3}', '{"state": 7}', '"\\ud800"', "\ud800"],
)
def test_other_termination_messages_are_no_reports(message: str) -> None:
    assert read_pod(body(containerStatuses=[{"state": terminated(message)}])).drained is None


def test_the_cache_keeps_the_report_of_a_pod_that_is_gone() -> None:
    cache, gateway = PodCache(), ("shop", "demo")
    running: dict[str, Any] = {"state": {"running": {}}}
    cache.put(read_pod(body(podIP="10.1.1.1", containerStatuses=[running])))
    cache.put(read_pod(body("demo-gateway-2", podIP="10.1.1.2", containerStatuses=[running])))
    assert cache.addresses(gateway) == {"demo-gateway-1": "10.1.1.1", "demo-gateway-2": "10.1.1.2"}
    cache.remove(read_pod(body(containerStatuses=[{"state": report()}])))
    assert cache.get(gateway, "demo-gateway-1") is None
    drained = cache.last_drains(gateway)
    assert [drain.moved for drain in drained] == [5]
    cache.replace(gateway, [])
    assert cache.addresses(gateway) == {}
    assert cache.last_drains(gateway) == drained
    cache.forget(gateway)
    assert cache.last_drains(gateway) == ()


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_has_ended_and_stays_as_an_object_is_gone(phase: str) -> None:
    """Its ReplicaSet has replaced it. As a pod it would keep its fleet from rest, an old ReplicaSet from going, and a
    rollout from its end, until somebody deletes it."""
    cache, gateway = PodCache(), ("shop", "demo")
    ended = read_pod(body(phase=phase, podIP="10.1.1.1", containerStatuses=[{"state": report()}]))
    running = read_pod(body("demo-gateway-2", phase="Running", podIP="10.1.1.2"))
    cache.put(read_pod(body(phase="Running", podIP="10.1.1.1")))
    cache.put(ended)
    assert (cache.of(gateway), cache.addresses(gateway)) == ([], {})
    cache.replace(gateway, [ended, running])
    assert cache.of(gateway) == [running]
    assert [drain.moved for drain in cache.last_drains(gateway)] == [5], "what it has left is told"


def test_the_cache_keeps_the_newest_reports_each_once() -> None:
    cache, gateway = PodCache(), ("shop", "demo")
    for second in (7, *range(MAX_LISTED_DRAINS + 2), 7):
        ended = {"state": report(f"2026-01-02T03:04:{second:02d}Z")}
        cache.put(read_pod(body(f"demo-gateway-{second}", containerStatuses=[ended])))
    kept = [drain.pod for drain in cache.last_drains(gateway)]
    assert kept == [f"demo-gateway-{second}" for second in range(MAX_LISTED_DRAINS + 1, 1, -1)]


REFUSED = RefusedSettings("pipelines[0].responder.use", "a responder that is installed")
NO_MEMBERS = RefusedSettings("members", "either service or static")


@pytest.mark.parametrize(
    ("description", "message", "expected"),
    [
        ("a pipeline", REFUSED, "spec.pipelines[0].responder.use: expected a responder that is installed"),
        ("not a field of the resource", NO_MEMBERS, "members: expected either service or static"),
        ("a drain report", REPORT, ""),
    ],
)
def test_settings_that_a_program_refuses(description: str, message: Any, expected: str) -> None:
    last = terminated(msgspec.json.encode(message).decode())
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}
    assert read_pod(body(containerStatuses=[waiting])).refused == expected, description
    ready = conditions(PodScheduled="True", Ready="True")
    assert read_pod(body(conditions=ready, containerStatuses=[waiting])).refused == ""


MOUNTS = [
    ("missing Secret", ['MountVolume.SetUp failed for volume "api-keys" : secret "keys" not found'],
     'spec.auth.apiKeysSecret: secret "keys" not found'),
    ("missing key",
     ['MountVolume.SetUp failed for volume "responder-key" : references non-existent secret key: apiKey'],
     "spec.workers.pipeline.responder.openai.apiKeySecret: references non-existent secret key: apiKey"),
    ("the newest counts",
     ['MountVolume.SetUp failed for volume "broker" : secret "a" not found',
      'MountVolume.SetUp failed for volume "broker" : secret "b" not found'],
     'spec.rocketmq.credentialsSecret: secret "b" not found'),
    ("a volume of somebody else", ['MountVolume.SetUp failed for volume "sidecar" : x'], ""),
    ("a Secret of the workers", ['MountVolume.SetUp failed for volume "secret-3" : secret "x" not found'],
     'spec.workers.secrets[3]: secret "x" not found'),
    ("another event", ["Unable to attach or mount volumes"], ""),
    ("nothing", [], ""),
]  # fmt: skip


@pytest.mark.parametrize(("description", "messages", "expected"), MOUNTS, ids=[row[0] for row in MOUNTS])
def test_mount_problem(description: str, messages: list[str], expected: str) -> None:
    assert mount_problem(messages) == expected
