"""What is done to the example fleet on the local cluster, and when it has come about. All of it blocks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from e2e import fleet_nodes
from e2e.environment import GATEWAY, NAMESPACE, RELEASE, SYSTEM_NAMESPACE
from e2e.fleet_watch import SELECTOR
from e2e.shell import kubectl, kubectl_json, wait_until
from litevoice_dev.fleet.seen import settled
from litevoice_operator.observe.pods import read_pod

SETTLED_SECONDS = 420.0
CLOSE_SECONDS = 3.0
"""What the Close of those who cannot come back may take: so long before the end of a drain they are closed."""
_BACK_SECONDS = 300.0


def gateway_pods() -> list[Any]:
    items: list[Any] = kubectl_json("get", "pods", "-n", NAMESPACE, "-l", SELECTOR)["items"]
    return items


def patch(spec: dict[str, Any]) -> None:
    kubectl("patch", "vgw", "-n", NAMESPACE, GATEWAY, "--type=merge", "-p", json.dumps({"spec": spec}))


def restore() -> None:
    """As the example says, whatever has gone wrong."""
    kubectl("scale", "deployment", "-n", SYSTEM_NAMESPACE, f"{RELEASE}-operator", "--replicas=1")
    patch({"replicas": 2, "session": {"maxPerPod": None}, "pod": {"annotations": None}})


def drain_within(seconds: int) -> dict[str, Any]:
    """`spec.drain`."""
    return {"policy": "Auto", "timeoutSeconds": seconds, "turnWaitSeconds": 2}


def wait_settled(replicas: int) -> None:
    def all_there() -> bool:
        gateway = kubectl_json("get", "vgw", "-n", NAMESPACE, GATEWAY)
        return settled(gateway, len(gateway_pods()), replicas)

    wait_until(all_there, SETTLED_SECONDS, f"{replicas} gateways, settled")


def scale(replicas: int) -> None:
    kubectl("scale", "vgw", "-n", NAMESPACE, GATEWAY, f"--replicas={replicas}")
    wait_settled(replicas)


def restart() -> None:
    patch({"pod": {"annotations": {"restarted": str(time.time_ns())}}})


def roll(replicas: int, change: Callable[[], None] = restart) -> None:
    """Every gateway is replaced, because of `change`."""
    before = {pod["metadata"]["name"] for pod in gateway_pods()}
    change()
    wait_until(lambda: not before & {pod["metadata"]["name"] for pod in gateway_pods()}, SETTLED_SECONDS, "a rollout")
    wait_settled(replicas)


def workers_nodes() -> tuple[str, str]:
    """The worker's node that stays, because RocketMQ is on it, and the one that is drained and cut off. Raises
    RuntimeError."""
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=rocketmq"
    brokers = kubectl_json("get", "pods", "-n", SYSTEM_NAMESPACE, "-l", selector)["items"]
    stay = {pod["spec"]["nodeName"] for pod in brokers}
    nodes = {node["metadata"]["name"] for node in kubectl_json("get", "nodes")["items"]}
    others = sorted(nodes - stay - {fleet_nodes.CONTROL_PLANE})
    if len(stay) != 1 or not others:
        raise RuntimeError(f"expected RocketMQ on one node and another one beside it, it is on {sorted(stay)}")
    return next(iter(stay)), others[0]


def drain_node(node: str, replicas: int) -> None:
    try:
        kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=400s",
            timeout_seconds=430,
        )  # fmt: skip
        wait_settled(replicas)
    finally:
        kubectl("uncordon", node)


def cut_node_off(node: str, seconds: float, replicas: int) -> None:
    fleet_nodes.cut_off(node)
    try:
        time.sleep(seconds)
    finally:
        fleet_nodes.mend(node)
    kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=180s")
    wait_settled(replicas)


def kill_pod(name: str, replicas: int) -> None:
    """SIGKILL, and its object is gone at once. Its ReplicaSet brings another one, whoever is away."""
    kubectl("delete", "pod", "-n", NAMESPACE, name, "--grace-period=0", "--force")

    def back() -> bool:
        pods = [read_pod(body) for body in gateway_pods()]
        return len(pods) == sum(pod.ready and pod.name != name for pod in pods) == replicas

    wait_until(back, _BACK_SECONDS, f"{replicas} gateways after one was killed")


def stop_operator() -> None:
    kubectl("scale", "deployment", "-n", SYSTEM_NAMESPACE, f"{RELEASE}-operator", "--replicas=0")
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=operator"
    kubectl("wait", "--for=delete", "pod", "-n", SYSTEM_NAMESPACE, "-l", selector, "--timeout=60s")


def start_operator() -> None:
    kubectl("scale", "deployment", "-n", SYSTEM_NAMESPACE, f"{RELEASE}-operator", "--replicas=1")
    kubectl("rollout", "status", "deployment", "-n", SYSTEM_NAMESPACE, f"{RELEASE}-operator", "--timeout=180s")


def api_server_away(seconds: float) -> None:
    fleet_nodes.stop_api_server()
    try:
        time.sleep(seconds)
    finally:
        fleet_nodes.start_api_server()
    wait_until(lambda: kubectl("get", "--raw", "/readyz", "--request-timeout=5s"), _BACK_SECONDS, "the API server")
