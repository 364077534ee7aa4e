"""Whose session is it? With `externalTrafficPolicy: Local`, gateways and alerts see the clients' own addresses."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets

from e2e import environment
from e2e.shell import kubectl, kubectl_json

pytestmark = pytest.mark.timeout(300)


@pytest.mark.skipif(not environment.is_local(), reason="needs nodes that are reachable from here")
async def test_a_local_traffic_policy_shows_the_clients_own_address(endpoint: environment.Endpoint) -> None:
    set_policy("Local")
    try:
        async with asyncio.timeout(120):
            while not await own_address_is_listed(endpoint):
                await asyncio.sleep(1)
    finally:
        set_policy("Cluster")


def set_policy(policy: str) -> None:
    patch = json.dumps({"spec": {"listen": {"externalTrafficPolicy": policy}}})
    kubectl("patch", "vgw", "-n", environment.NAMESPACE, environment.GATEWAY, "--type=merge", "-p", patch)
    environment.wait_ready()


async def own_address_is_listed(endpoint: environment.Endpoint) -> bool:
    """Calls through the node of a gateway pod; False while the nodes do not know the policy yet."""
    pod = environment.pods("gateway")[0]
    node = kubectl_json("get", "pod", "-n", environment.NAMESPACE, pod)["status"]["hostIP"]
    url = f"ws://{node}:30080/v1/realtime?model=litevoice"
    async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {endpoint.api_key}"}) as call:
        created = json.loads(await call.recv())
        host, port = call.local_address[:2]
        session_id = created["session"]["id"]
        return f" {host}:{port} " in environment.listed_by(environment.pod_holding(session_id), session_id)
