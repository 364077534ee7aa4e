"""BacklogAlerts with a real broker, a real gateway and a real client: who waits, where, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from litevoice_contracts.names import Names, new_session_id
from litevoice_dev import processes
from litevoice_dev.ports import free_port
from litevoice_operator.manifests.paths import ADMIN_PORT
from tests.integration.apiserver import decoded, wait_until
from tests.integration.conftest import BrokerKit
from tests.integration.operator.process import (
    Namespace,
    OperatorProcess,
    backlog_alert,
    pod_ip,
    voice_gateway,
)
from tests.integration.sending import send_fifo, send_lite
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import until

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

NODE, GATEWAY_POD, POD_IP = "node-7", "demo-gateway-0", pod_ip(1)
AUDIO_100_MILLISECONDS = base64.b64encode(b"\x00\x10" * 2400).decode()


@pytest.fixture
def namespace(namespace: Namespace) -> Namespace:
    """With a VoiceGateway `demo` whose names are at the broker, and an alert for each target."""
    server = namespace.server
    server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 2}))
    for target in ("Replies", "Requests"):
        server.create(namespace.alerts, backlog_alert(target.lower(), "demo", target))
    for target in ("replies", "requests"):
        namespace.wait_condition(f"{namespace.alerts}/{target}", "Ready", "True", "Measuring")
    return namespace


@pytest.fixture
async def broker(rocketmq: SharedRocketMQ, namespace: Namespace) -> AsyncIterator[BrokerKit]:
    kit = BrokerKit(rocketmq, Names.default(namespace.name, "demo", 2))
    yield kit
    await kit.close()


def pod_status(ip: str = POD_IP) -> dict[str, Any]:
    """As a kubelet writes it for a pod that works."""
    return {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"name": "gateway", "image": "x", "imageID": "", "ready": True, "restartCount": 0,
             "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        ],
    }  # fmt: skip


class GatewayPod:
    """The gateway, run as the operator's ConfigMap and Secret say, in a pod that only the API server knows."""

    def __init__(self, namespace: Namespace, folder: Path, number: int = 0, node: str = NODE) -> None:
        self.name, self.ip, self.port = f"demo-gateway-{number}", pod_ip(number + 1), free_port()
        folder.mkdir(exist_ok=True)
        settings = json.loads((namespace.get("v1", "configmaps", "demo-gateway") or {})["data"]["settings.json"])
        files = {f"keys/{name}": content for name, content in decoded(namespace.keys_secret("demo")).items()}
        for name, content in {**files, "api-keys/tester": "secret-key"}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)
        settings |= {"apiKeysDir": f"{folder}/api-keys", "keysDir": f"{folder}/keys",
                     "adminTlsDir": f"{folder}/keys", "adminHost": self.ip,
                     "listenHost": "127.0.0.1", "listenPort": self.port}  # fmt: skip
        self.settings, self._folder = settings, folder
        self.change({})
        self._environment = {**os.environ, "POD_NAME": self.name, "POD_IP": self.ip,
                             "LITEVOICE_CONFIG": f"{folder}/settings.json"}  # fmt: skip
        self._log = folder / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        namespace.make_pod(self.name, "demo", "gateway", node, sealed=True, **pod_status(self.ip))

    def change(self, settings: dict[str, Any]) -> None:
        """Before it starts, what the operator says."""
        self.settings |= settings
        (self._folder / "settings.json").write_text(json.dumps(self.settings))

    def __enter__(self) -> GatewayPod:
        self._process = processes.spawn(
            [sys.executable, "-m", "litevoice_gateway"], log=self._log, env=self._environment
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            processes.kill(self._process)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.ip}:{ADMIN_PORT}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """The sum over its labels."""
        with urllib.request.urlopen(f"http://{self.ip}:{ADMIN_PORT}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def connect(self, **options: Any) -> websockets.connect:
        return websockets.connect(
            f"ws://127.0.0.1:{self.port}/v1/realtime?can_return=true",
            additional_headers={"Authorization": "Bearer secret-key"},
            **options,
        )


def status(namespace: Namespace, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (namespace.server.get(path) or {}).get("status", {})
    return found


async def test_requests_that_wait_are_told_by_session_pod_node_and_client(
    namespace: Namespace, broker: BrokerKit, tmp_path: Path
) -> None:
    alert, gateway = f"{namespace.alerts}/requests", f"{namespace.gateways}/demo"
    bound = [{"severity": "critical", "perSession": {"ageSeconds": 3}}]
    turns = backlog_alert("turns", "demo", "Turns", thresholds=bound, forSeconds=0)
    namespace.server.create(namespace.alerts, turns)
    with GatewayPod(namespace, tmp_path) as pod:

        def answers() -> bool:
            return [row.get("sessions") for row in status(namespace, gateway).get("pods", [])] == [0]

        await asyncio.to_thread(wait_until, pod.ready, "the gateway to be ready", 90)
        await asyncio.to_thread(wait_until, answers, "the operator to see the gateway")
        async with pod.connect() as client:
            created = json.loads(await client.recv())
            for _ in range(30):
                await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": AUDIO_100_MILLISECONDS}))
                await asyncio.sleep(0.1)
            firing = await asyncio.to_thread(namespace.wait_condition, alert, "Firing", "True")
            assert "messages are waiting" in firing["message"]
            found = status(namespace, alert)
            host, port = client.local_address[:2]
            (culprit,) = found["top"]
            assert culprit["session"] == created["session"]["id"]
            assert (culprit["pod"], culprit["node"]) == (GATEWAY_POD, NODE)
            assert culprit["client"] == f"{host}:{port}"
            assert culprit["backlog"] >= 10
            assert (found["state"], found["severity"]) == ("Firing", "warning")
            assert namespace.condition(alert, "Ready")["status"] == "True"
            (event,) = namespace.events("requests")
            assert (event["reason"], event["type"]) == ("Firing", "Warning")
            for part in (created["session"]["id"], GATEWAY_POD, NODE, f"{host}:{port}"):
                assert part in event["message"]
            await asyncio.to_thread(namespace.wait_condition, f"{namespace.alerts}/turns", "Firing", "True")
            (stuck,) = status(namespace, f"{namespace.alerts}/turns")["top"]
            assert (stuck["session"], stuck["client"]) == (culprit["session"], culprit["client"])
            assert (stuck["pod"], stuck["node"], stuck["owner"]) == (GATEWAY_POD, NODE, "Held")
            assert stuck["ageSeconds"] >= 3
            row = status(namespace, gateway)["pods"][0]
            assert (row["name"], row["node"], row["sessions"]) == (GATEWAY_POD, NODE, 1)

            async def taken(_: object) -> None:
                """A worker that takes what it is given."""

            for partition in range(2):
                await broker.consumer(partition, taken)
            await asyncio.to_thread(namespace.wait_condition, alert, "Firing", "False")
            assert status(namespace, alert)["state"] == "Inactive"
            assert status(namespace, alert).get("top", []) == []
            assert [event["reason"] for event in namespace.events("requests")] == ["Firing", "Resolved"]


async def test_replies_that_wait_are_told_by_session_and_owner(
    namespace: Namespace, broker: BrokerKit, operator: OperatorProcess
) -> None:
    alert = f"{namespace.alerts}/replies"
    namespace.make_pod(GATEWAY_POD, "demo", "gateway", NODE, **pod_status())
    taken: list[int] = []
    owner = await broker.channel(lambda delivery: taken.append(delivery.position), config=broker.config(GATEWAY_POD))
    producer = await broker.producer()
    session = new_session_id(b"k" * 32, "tester", broker.names.partitions)
    await owner.subscribe([session])
    await send_lite(producer, broker.names.reply_topic, session, b"first")
    await until(lambda: taken == [0])
    owner.pause(session)
    for number in range(15):
        await send_lite(producer, broker.names.reply_topic, session, b"%d" % number)

    await asyncio.to_thread(namespace.wait_condition, alert, "Firing", "True")
    found = status(namespace, alert)
    assert found["value"]["messages"] == 15
    (culprit,) = found["top"]
    assert (culprit["session"], culprit["backlog"]) == (session, 15)
    # The broker lists the pod, and no gateway answers there.
    assert (culprit["pod"], culprit["node"], culprit["owner"]) == (GATEWAY_POD, NODE, "Unknown")
    (event,) = namespace.events("replies")
    for part in (session, GATEWAY_POD, NODE):
        assert part in event["message"]
    metrics = operator.metrics()
    assert f'litevoice_alerts_firing{{alert="replies",namespace="{namespace.name}",severity="warning"}} 1.0' in metrics
    assert f'gateway="demo",namespace="{namespace.name}",target="replies"' in metrics

    await owner.resume(session)
    await until(lambda: taken == list(range(16)))
    await asyncio.to_thread(namespace.wait_condition, alert, "Firing", "False")
    assert [event["reason"] for event in namespace.events("replies")] == ["Firing", "Resolved"]


def test_an_alert_about_nothing_says_so(namespace: Namespace) -> None:
    path = f"{namespace.alerts}/lost"
    namespace.server.create(namespace.alerts, backlog_alert("lost", "nobody", "Replies"))
    condition = namespace.wait_condition(path, "Ready", "False", "GatewayNotFound")
    assert condition["message"].startswith("spec.gatewayRef.name: there is no VoiceGateway nobody")
    namespace.server.create(namespace.gateways, voice_gateway("nobody", rocketmq={"partitions": 1}))
    namespace.wait_condition(path, "Ready", "True", "Measuring")


async def test_an_alert_ends_with_its_gateway_and_not_with_its_broker(
    namespace: Namespace, broker: BrokerKit, rocketmq: SharedRocketMQ, operator: OperatorProcess
) -> None:
    path = f"{namespace.alerts}/requests"
    fires = f'litevoice_alerts_firing{{alert="requests",namespace="{namespace.name}",severity="warning"}} 1.0'
    is_blind = f'litevoice_alerts_blind{{alert="requests",namespace="{namespace.name}"}} 1.0'

    def reasons() -> list[str]:
        return [event["reason"] for event in namespace.events("requests")]

    producer = await broker.producer()
    for _ in range(12):
        await send_fifo(producer, broker.names.partition_topic(0), "s_1", {}, b"waits")
    await asyncio.to_thread(namespace.wait_condition, path, "Firing", "True")
    nowhere = f"127.0.0.1:{free_port()}"
    namespace.server.merge(f"{namespace.gateways}/demo", {"spec": {"rocketmq": {"nameServer": nowhere}}})
    blind = await asyncio.to_thread(namespace.wait_condition, path, "Ready", "False", "BrokerUnavailable")
    assert nowhere in blind["message"]
    assert status(namespace, path)["state"] == "Firing"
    operator.kill()
    await asyncio.to_thread(operator.start)
    await asyncio.to_thread(wait_until, lambda: fires in operator.metrics(), "the gauge, as the status says")
    await asyncio.to_thread(wait_until, lambda: "Blind" in reasons(), "an Event")
    assert namespace.condition(path, "Blind")["status"] == "True"
    assert fires in operator.metrics()
    assert is_blind in operator.metrics()
    namespace.server.merge(f"{namespace.gateways}/demo", {"spec": {"rocketmq": {"nameServer": rocketmq.name_server}}})
    await asyncio.to_thread(wait_until, lambda: "Seeing" in reasons(), "another Event")
    assert fires in operator.metrics()
    assert is_blind not in operator.metrics()
    namespace.server.request("DELETE", f"{namespace.gateways}/demo")
    await asyncio.to_thread(namespace.wait_condition, path, "Ready", "False", "GatewayNotFound")
    assert status(namespace, path)["state"] == "Inactive"
    assert reasons() == ["Firing", "Blind", "Seeing", "Resolved"]


async def test_the_operator_goes_on_where_it_stopped(
    namespace: Namespace, broker: BrokerKit, operator: OperatorProcess
) -> None:
    path = f"{namespace.alerts}/requests"
    producer = await broker.producer()
    for _ in range(12):
        await send_fifo(producer, broker.names.partition_topic(0), "s_1", {}, b"waits")
    await asyncio.to_thread(namespace.wait_condition, path, "Firing", "True")
    since = status(namespace, path)["since"]
    operator.kill()
    await asyncio.to_thread(operator.start)
    before = status(namespace, path)["value"]
    await send_fifo(producer, broker.names.partition_topic(0), "s_1", {}, b"waits")
    await asyncio.to_thread(
        wait_until, lambda: status(namespace, path)["value"]["messages"] > before["messages"], "a new measurement"
    )
    assert (status(namespace, path)["state"], status(namespace, path)["since"]) == ("Firing", since)
    assert [event["reason"] for event in namespace.events("requests")] == ["Firing"]
