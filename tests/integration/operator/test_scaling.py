"""Scaling by sessions: a real gateway with real sessions, and the ReplicaSets that the operator writes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from litevoice_contracts.names import Names
from litevoice_dev import processes
from litevoice_operator.api.labels import ACCEPTING_LABEL
from tests.integration.apiserver import decoded, wait_until
from tests.integration.operator.at_the_broker import pile_up
from tests.integration.operator.process import Namespace, pod_ip, voice_gateway
from tests.integration.operator.test_alerts import GATEWAY_POD, NODE, GatewayPod, pod_status
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

AUTOSCALING = {
    "minReplicas": 1,
    "maxReplicas": 3,
    "sessionsPerPod": 2,
    "bufferPercent": 0,
    "scaleDown": {"stabilizationSeconds": 5},
}


def replicas(namespace: Namespace, component: str = "gateway") -> int:
    if component == "gateway":
        return namespace.gateway_replicas("demo")
    found = namespace.get("apps/v1", "deployments", f"demo-{component}") or {}
    return int(found.get("spec", {}).get("replicas", 0))


async def test_gateways_follow_sessions(namespace: Namespace, tmp_path: Path) -> None:
    path = f"{namespace.gateways}/demo"
    namespace.server.create(
        namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}, autoscaling=AUTOSCALING)
    )

    async def scaled(count: int, limited: str, reason: str) -> None:
        await asyncio.to_thread(wait_until, lambda: replicas(namespace) == count, f"{count} gateways")
        await asyncio.to_thread(namespace.wait_condition, path, "ScalingLimited", limited, reason)

    def limited() -> str:
        return str(namespace.condition(path, "ScalingLimited").get("message"))

    await scaled(1, "False", "AsSessionsAsk")
    with GatewayPod(namespace, tmp_path) as pod:
        await asyncio.to_thread(wait_until, pod.ready, "the gateway to be ready", 90)
        async with AsyncExitStack() as clients:
            for _ in range(3):
                socket = await clients.enter_async_context(pod.connect())
                assert json.loads(await socket.recv())["type"] == "session.created"
            await scaled(2, "False", "AsSessionsAsk")
            for _ in range(6):
                socket = await clients.enter_async_context(pod.connect())
                assert json.loads(await socket.recv())["type"] == "session.created"
            await scaled(3, "True", "AtMaximum")
            asked = "9 sessions ask for 5 gateways, autoscaling.maxReplicas is 3"  # at first, of fewer
            await asyncio.to_thread(wait_until, lambda: asked in limited(), asked)
        # Nobody is there any more; two of three gateways are not ready.
        await scaled(3, "True", "Starting")
        for number in (1, 2):
            address = pod_ip(number + 1)  # where nobody listens
            silent = {**pod_status(), "podIP": address, "podIPs": [{"ip": address}]}
            namespace.make_pod(f"demo-gateway-{number}", "demo", "gateway", NODE, **silent)
        await scaled(3, "True", "PodsSilent")

        asked = "2 of 3 gateways do not say how many sessions they hold"  # at first, the one that was there sooner
        await asyncio.to_thread(wait_until, lambda: asked in limited(), asked)
        assert GATEWAY_POD not in limited()
        for number in (1, 2):
            pod_path = namespace.path("v1", "pods", f"demo-gateway-{number}")
            namespace.server.request("DELETE", f"{pod_path}?gracePeriodSeconds=0")
        # Whoever lowers the bound decides.
        namespace.server.merge(path, {"spec": {"autoscaling": {"maxReplicas": 1}}})
        await asyncio.to_thread(wait_until, lambda: replicas(namespace) == 1, "one gateway")
    reasons = [event["reason"] for event in namespace.events("demo")]
    assert reasons == ["ScaledUp", "ScaledUp", "ScaledDown"]
    assert (namespace.server.get(path) or {})["status"]["desiredReplicas"] == 1

    # Without it, whoever writes `replicas` decides: kubectl scale, an HPA.
    namespace.server.merge(path, {"spec": {"autoscaling": None}})
    namespace.server.merge(f"{path}/scale", {"spec": {"replicas": 4}})
    await scaled(4, "False", "ScaledByOthers")


async def test_who_goes_is_marked_and_empty_before_the_fleet_shrinks(namespace: Namespace, tmp_path: Path) -> None:
    """Its ReplicaSet, whose controller is not here, removes what is marked. The gateway that does not say what it holds
    stays."""
    path, mark = f"{namespace.gateways}/demo", "controller.kubernetes.io/pod-deletion-cost"
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}, replicas=2))
    await asyncio.to_thread(wait_until, lambda: replicas(namespace) == 2, "two gateways")

    def costs() -> dict[str, str | None]:
        pods = namespace.server.request("GET", namespace.path("v1", "pods"))["items"]
        return {pod["metadata"]["name"]: pod["metadata"].get("annotations", {}).get(mark) for pod in pods}

    def accepts() -> list[str | None]:
        pods = namespace.server.request("GET", namespace.path("v1", "pods"))["items"]
        return [pod["metadata"]["labels"].get(ACCEPTING_LABEL) for pod in pods]

    def selected() -> str | None:
        service: dict[str, Any] = namespace.get("v1", "services", "demo-gateway") or {}
        found: str | None = service["spec"]["selector"].get(ACCEPTING_LABEL)
        return found

    def answers() -> bool:
        rows = (namespace.server.get(path) or {})["status"].get("pods", [])
        return [row.get("sessions") for row in rows] == [0, None]

    with GatewayPod(namespace, tmp_path) as pod:
        silent = {**pod_status(), "podIP": pod_ip(2), "podIPs": [{"ip": pod_ip(2)}]}  # where nobody listens
        namespace.make_pod("demo-gateway-1", "demo", "gateway", NODE, **silent)
        await asyncio.to_thread(wait_until, pod.ready, "the gateway to be ready", 90)
        await asyncio.to_thread(wait_until, answers, "the operator to see both gateways")
        # Pods of a release without the label get it, then the Service selects by it.
        await asyncio.to_thread(wait_until, lambda: selected() == "true", "the Service to select by the label")
        assert accepts() == ["true", "true"]
        socket = await pod.connect()
        assert json.loads(await socket.recv())["type"] == "session.created"
        namespace.server.merge(f"{path}/scale", {"spec": {"replicas": 1}})
        seen: list[tuple[int, dict[str, str | None]]] = []

        def shrunk() -> bool:
            seen.append((replicas(namespace), costs()))
            return seen[-1][0] == 1

        await asyncio.to_thread(wait_until, shrunk, "one gateway")
        assert seen[-1][1] == {GATEWAY_POD: "-1", "demo-gateway-1": None}
        assert (2, seen[-1][1]) in seen, "the mark was there before"
        await asyncio.wait_for(socket.wait_closed(), 20)
        assert socket.close_code == 1012
        assert not pod.ready()
        await asyncio.to_thread(wait_until, lambda: accepts() == ["false", "true"], "the label to follow")
        namespace.server.merge(f"{path}/scale", {"spec": {"replicas": 2}})
        await asyncio.to_thread(wait_until, lambda: costs()[GATEWAY_POD] is None, "the choice to be taken back")
        assert pod.ready(), "it takes new sessions again"
        await asyncio.to_thread(wait_until, lambda: accepts() == ["true", "true"], "the label to follow")
    told = {event["reason"]: event["message"] for event in namespace.events("demo")}
    assert told.keys() == {"Draining", "Drained", "DrainTakenBack"}
    assert "1 moved, 0 ended, 0 cut, 0 packets lost" in told["Drained"]


WORKER_IP = pod_ip(9)


@contextmanager
def worker(namespace: Namespace, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The worker, run as the operator's ConfigMap says, as two pods that only the API server knows."""
    settings = json.loads((namespace.get("v1", "configmaps", "demo-worker") or {})["data"]["settings.json"])
    for name, content in decoded(namespace.keys_secret("demo", "worker")).items():
        (folder / name).write_text(content)
    settings |= {"adminHost": WORKER_IP, "adminTlsDir": str(folder), "members": {"static": ["demo-worker-0"]}}
    (folder / "settings.json").write_text(json.dumps(settings))
    environment = {**os.environ, "POD_NAME": "demo-worker-0", "POD_IP": WORKER_IP,
                   "LITEVOICE_CONFIG": f"{folder}/settings.json", "PYTHONPATH": str(folder)}  # fmt: skip
    log = folder / "worker.log"
    process = processes.spawn([sys.executable, "-m", "litevoice_worker"], log=log, env=environment)
    try:
        for number in (0, 1):
            status = {**pod_status(), "podIP": WORKER_IP, "podIPs": [{"ip": WORKER_IP}]}
            namespace.make_pod(f"demo-worker-{number}", "demo", "worker", NODE, sealed=True, **status)
        yield process
    finally:
        processes.kill(process)


FRAIL = """
import asyncio, os, pathlib
from litevoice_worker.stages import Plugin

class Frail(Plugin):
    async def start(self):
        try:
            pathlib.Path(__file__).with_suffix(".ended").touch(exist_ok=False)
        except FileExistsError:
            return
        asyncio.get_running_loop().call_later(0.5, os._exit, 3)
    async def respond(self, prompt, context):
        yield "Hello."
"""
"""A responder whose process ends by itself, once."""


def install(folder: Path) -> None:
    """A team's distribution with that responder."""
    metadata = folder / "litevoice_test_frail-1.0.dist-info"
    metadata.mkdir()
    (folder / "litevoice_test_frail.py").write_text(FRAIL)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: litevoice-test-frail\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[litevoice.responders]\nfrail = litevoice_test_frail:Frail\n")


def test_workers_follow_their_load(namespace: Namespace, rocketmq: SharedRocketMQ, tmp_path: Path) -> None:
    """Idle ones go when they say so themselves; one that stands still makes its partition fall behind. They are asked
    for more than that: a condition names a plug-in that fails, with autoscaling or without."""
    path = f"{namespace.gateways}/demo"
    scaling = {"minReplicas": 1, "maxReplicas": 2, "maxBehindSeconds": 1, "scaleDown": {"stabilizationSeconds": 0}}
    pipelines = [{"name": "frail", "responder": {"use": "frail"}}]
    spec = {"rocketmq": {"partitions": 4}, "workers": {"replicas": 2}, "pipelines": pipelines}
    install(tmp_path)
    namespace.server.create(namespace.gateways, voice_gateway("demo", **spec))
    wait_until(lambda: replicas(namespace, "worker") == 2, "two workers")
    with worker(namespace, tmp_path) as process:
        failing = namespace.wait_condition(path, "PluginsHealthy", "False", "PluginFailing")
        assert 'responder "frail" crashed once in 10 minutes on demo-worker-' in failing["message"]
        namespace.server.merge(path, {"spec": {"workers": {"autoscaling": scaling}}})
        wait_until(lambda: replicas(namespace, "worker") == 1, "one worker")
        assert (namespace.server.get(path) or {})["spec"]["workers"]["replicas"] == 2, "what users write stays"
        process.send_signal(signal.SIGSTOP)
        pile_up(rocketmq, Names.default(namespace.name, "demo", 4))
        wait_until(lambda: replicas(namespace, "worker") == 2, "two workers")
    down, up = [event["message"] for event in namespace.events("demo") if event["reason"].startswith("Scaled")]
    assert down.startswith("from 2 to 1 workers: ")
    assert up.startswith("from 1 to 2 workers: a partition is ")
    wait_until(lambda: (namespace.server.get(path) or {})["status"]["workers"]["desiredReplicas"] == 2, "the status")
