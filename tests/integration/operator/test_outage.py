"""How the operator stands to the API server: an outage of 90 s, permissions in some namespaces only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from litevoice_contracts.names import Names
from tests.integration.apiserver import ApiServer, running, wait_until
from tests.integration.conftest import BrokerKit
from tests.integration.operator.process import (
    Namespace,
    OperatorProcess,
    backlog_alert,
    grant_chart_rules,
    voice_gateway,
)
from tests.integration.sending import send_fifo
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

OUTAGE_SECONDS = 90
BACK_SECONDS = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    """One for each test."""
    with running(tmp_path / "api") as server:
        yield server


@pytest.fixture
def operator(server: ApiServer, rocketmq: SharedRocketMQ, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Not started yet."""
    operator = OperatorProcess(server, rocketmq, tmp_path / "operator")
    yield operator
    operator.kill()


async def test_an_outage_of_the_api_server(
    server: ApiServer, operator: OperatorProcess, rocketmq: SharedRocketMQ
) -> None:
    await asyncio.to_thread(server.install_definitions)
    grant_chart_rules(server)
    namespace = Namespace.new(server)
    gateway, alert = f"{namespace.gateways}/demo", f"{namespace.alerts}/requests"
    await asyncio.to_thread(operator.start)
    server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))
    server.create(namespace.alerts, backlog_alert("requests", "demo", "Requests"))
    await asyncio.to_thread(namespace.wait_condition, alert, "Ready", "True", "Measuring")
    pid = operator.pid

    server.kill_server()
    down = time.monotonic()
    kit = BrokerKit(rocketmq, Names.default(namespace.name, "demo", 1))
    try:
        producer = await kit.producer()
        for _ in range(20):  # what happens meanwhile must be noticed afterwards
            await send_fifo(producer, kit.names.partition_topic(0), "s_1", {}, b"waits")
    finally:
        await kit.close()
    while time.monotonic() - down < OUTAGE_SECONDS:
        assert operator.running
        await asyncio.sleep(1)
    assert await asyncio.to_thread(operator.answers, "/healthz")

    await asyncio.to_thread(server.start)
    server.merge(gateway, {"spec": {"replicas": 5}})
    server.create(namespace.gateways, voice_gateway("newcomer", rocketmq={"partitions": 1}))
    server.request("DELETE", f"{namespace.alerts}/requests")
    server.create(namespace.alerts, backlog_alert("again", "demo", "Requests"))

    def scaled() -> bool:
        return namespace.gateway_replicas("demo") == 5

    await asyncio.to_thread(wait_until, scaled, "the ReplicaSet to follow", BACK_SECONDS)
    await asyncio.to_thread(
        wait_until,
        lambda: bool(namespace.gateway_sets("newcomer")),
        "a new VoiceGateway to be seen",
        BACK_SECONDS,
    )
    await asyncio.to_thread(
        namespace.wait_condition, f"{namespace.alerts}/again", "Firing", "True", timeout_seconds=BACK_SECONDS
    )
    assert operator.running
    assert operator.pid == pid


async def test_an_operator_of_some_namespaces_needs_no_permission_elsewhere(
    server: ApiServer, rocketmq: SharedRocketMQ, tmp_path: Path
) -> None:
    await asyncio.to_thread(server.install_definitions)
    served, other = (Namespace.new(server) for _ in range(2))
    grant_chart_rules(server, served.name)
    for namespace in (other, served):
        server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))
    operator = OperatorProcess(server, rocketmq, tmp_path / "operator", WATCH_NAMESPACES=served.name)
    try:
        await asyncio.to_thread(operator.start)
        await asyncio.to_thread(served.wait_condition, f"{served.gateways}/demo", "Ready", "False", "GatewaysNotReady")
        await asyncio.to_thread(served.wait_condition, f"{served.gateways}/demo", "CRDOutdated", "False", "UpToDate")
        assert "status" not in (server.get(f"{other.gateways}/demo") or {})
        server.request("DELETE", f"{served.gateways}/demo")
        await asyncio.to_thread(
            wait_until, lambda: server.get(f"{served.gateways}/demo") is None, "the VoiceGateway to be gone"
        )
    finally:
        operator.kill()
