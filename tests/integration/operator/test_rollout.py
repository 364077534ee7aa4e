"""Gateways that are replaced: a real gateway with a real session on a cordoned node, and one of an older version. No
ReplicaSet's controller is here: the test makes the pods, and takes away those that it would."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import websockets

from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.decide import rebalance
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.scale import Load
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.manifests.paths import ADMIN_PORT
from litevoice_operator.observe.pods import read_pod
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.rebalance import Rebalancing
from litevoice_operator.reconcile.shared import Shared
from tests.integration.apiserver import wait_until
from tests.integration.operator.process import ROOT_KEY, Namespace, voice_gateway
from tests.integration.operator.test_alerts import NODE, GatewayPod
from tests.waiting import until

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first


async def test_a_gateway_alone_leaves_its_cordoned_node_for_another_one_then_for_a_newer_one(
    namespace: Namespace, tmp_path: Path
) -> None:
    server, path, nodes = namespace.server, f"{namespace.gateways}/demo", "/api/v1/nodes"
    spec = {"replicas": 1, "workers": {"replicas": 1}, "rocketmq": {"partitions": 1}}
    server.create(nodes, {"metadata": {"name": NODE}})
    server.create(namespace.gateways, voice_gateway("demo", **spec))

    async def waits(condition: object, what: str) -> None:
        await asyncio.to_thread(wait_until, condition, what, 60)  # type: ignore[arg-type]

    def replicas() -> list[int]:
        return [one["spec"]["replicas"] for one in namespace.gateway_sets("demo")]

    def budget() -> dict[str, object]:
        found = namespace.get("policy/v1", "poddisruptionbudgets", "demo-gateway") or {"spec": {}}
        return {key: value for key, value in found["spec"].items() if key != "selector"}

    def remove(pod: GatewayPod) -> None:
        server.request("DELETE", f"{namespace.path('v1', 'pods', pod.name)}?gracePeriodSeconds=0")

    await waits(lambda: replicas() == [1], "the ReplicaSet")
    await waits(lambda: budget() == {"minAvailable": 1}, "it not to be evicted while it is alone")
    with GatewayPod(namespace, tmp_path / "first") as first:
        await waits(first.ready, "the gateway to be ready")
        socket = await first.connect()
        assert json.loads(await socket.recv())["type"] == "session.created"
        server.merge(f"{nodes}/{NODE}", {"spec": {"unschedulable": True}})
        await waits(lambda: replicas() == [2], "another one beside it")
        assert first.ready(), "it serves until then"
        with GatewayPod(namespace, tmp_path / "second", 1, "node-8") as second:
            await waits(second.ready, "the second gateway to be ready")
            await asyncio.wait_for(socket.wait_closed(), 60)
            assert socket.close_code == 1012
            await waits(lambda: replicas() == [1], "its ReplicaSet to remove what is empty")
            await asyncio.to_thread(remove, first)
            server.merge(f"{nodes}/{NODE}", {"spec": {"unschedulable": False}})
            assert budget() == {"minAvailable": 1}

            socket = await second.connect()
            assert json.loads(await socket.recv())["type"] == "session.created"
            server.merge(path, {"spec": {"logLevel": "debug"}})
            await waits(lambda: sorted(replicas()) == [1, 1], "a ReplicaSet of the new version beside the old one")
            with GatewayPod(namespace, tmp_path / "third", 2) as third:
                await waits(third.ready, "the third gateway to be ready")
                await asyncio.wait_for(socket.wait_closed(), 60)
                await waits(lambda: sorted(replicas()) == [0, 1], "the old one to go")
                await asyncio.to_thread(remove, second)
                await waits(lambda: replicas() == [1], "its ReplicaSet to be deleted")
    told_why = [event["message"] for event in namespace.events("demo") if event["reason"] == "Draining"]
    assert told_why == [
        "demo-gateway-0: its 1 sessions go; its node is cordoned",
        "demo-gateway-1: its 1 sessions go; it is of an older version",
    ]
    drained = [event["message"] for event in namespace.events("demo") if event["reason"] == "Drained"]
    assert [message.partition(" is empty")[0] for message in drained] == ["demo-gateway-0", "demo-gateway-1"]


async def test_sessions_leave_a_crowded_gateway_once_and_those_that_do_not_come_back_stay(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's own loop would wait for ten minutes; here it is called by hand."""
    monkeypatch.setattr(rebalance, "ONCE_IN_SECONDS", 0.0)
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))
    key = (namespace.name, "demo")
    told: list[str] = []
    await asyncio.to_thread(wait_until, lambda: bool(namespace.gateway_sets("demo")), "the ReplicaSet", 60)

    async def tell(_about: object, event: EventText) -> None:
        told.append(event.message)

    with GatewayPod(namespace, tmp_path) as pod:
        await asyncio.to_thread(wait_until, pod.ready, "the gateway to be ready", 90)
        pods = PodCache()
        body = namespace.get("v1", "pods", pod.name) or {}
        pods.replace(key, [read_pod(body)])
        async with Gateways(ADMIN_PORT) as gateways:
            shared = cast(Shared, SimpleNamespace(pods=pods, gateways=gateways, outbox=SimpleNamespace(send=tell)))
            balance = Rebalancing(shared, key, derive_keys(ROOT_KEY, *key).admin_token)
            stays = await websockets.connect(
                f"ws://127.0.0.1:{pod.port}/v1/realtime", additional_headers={"Authorization": "Bearer secret-key"}
            )
            others = [await pod.connect() for _ in range(5)]
            for socket in (stays, *others):
                assert json.loads(await socket.recv())["type"] == "session.created"
            fleet = [Load(pod.name, sessions=6, max_sessions=100), Load("demo-gateway-1", max_sessions=100)]

            def closed() -> int:
                return sum(socket.close_code == 1012 for socket in others)

            # The oldest are asked first: one of them does not come back, and is not asked again.
            for expected in (1, 3):
                await asyncio.sleep(0.1)  # the bucket fills
                await balance.move(fleet, {pod.name: 0.0}, 200, {})
                await until(lambda count=expected: closed() == count, f"{expected} sessions to be told")
            assert stays.close_code is None
    assert told == [
        "demo-gateway-0: 1 of its 6 sessions go where there is more room",
        "demo-gateway-0: 2 of its 6 sessions go where there is more room",
    ]
