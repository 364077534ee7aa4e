"""`litevoice drain`, `move` and `heal` with a real operator, API server, gateway and broker: who may, what becomes of
the caller, and what is recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from litevoice_cli.__main__ import main
from tests.integration.apiserver import HOST, wait_until
from tests.integration.operator.process import Namespace, OperatorProcess, grant_reviews, voice_gateway
from tests.integration.operator.test_alerts import GATEWAY_POD, GatewayPod, status

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first


@pytest.fixture
async def gateway(namespace: Namespace, tmp_path: Path) -> AsyncIterator[GatewayPod]:
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))
    await asyncio.to_thread(
        wait_until, lambda: namespace.get("v1", "configmaps", "demo-gateway") is not None, "the VoiceGateway", 60
    )
    with GatewayPod(namespace, tmp_path) as pod:

        def answers() -> bool:
            rows = status(namespace, f"{namespace.gateways}/demo").get("pods", [])
            return [row.get("sessions") for row in rows] == [0]

        await asyncio.to_thread(wait_until, pod.ready, "the gateway to be ready", 90)
        await asyncio.to_thread(wait_until, answers, "the operator to see the gateway")
        yield pod


async def test_who_may_change_what_becomes_of_a_session_does(
    namespace: Namespace, operator: OperatorProcess, gateway: GatewayPod, capsys: pytest.CaptureFixture[str]
) -> None:
    server, accounts = namespace.server, namespace.path("v1", "serviceaccounts")
    tokens = {}
    grant_reviews(server, namespace.name, f"{namespace.name}/viewer", f"{namespace.name}/manager")
    for account in ("viewer", "manager"):
        server.create(accounts, {"metadata": {"name": account}})
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["litevoice"]}}
        tokens[account] = str(server.create(f"{accounts}/{account}/token", asked)["status"]["token"])

    async def litevoice(*arguments: str, account: str = "manager") -> tuple[int, str]:
        url = f"http://{HOST}:{operator.port}"
        options = ["-n", namespace.name, "--url", url, "--token", tokens[account]]
        code = await asyncio.to_thread(main, [*arguments, *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    async with gateway.connect() as client:
        session = str(json.loads(await client.recv())["session"]["id"])
        assert (await litevoice("orphans", account="viewer"))[1].startswith("every LiteTopic in which something waits")
        for arguments in (("move", session), ("heal", session), ("drain", GATEWAY_POD)):
            code, said = await litevoice(*arguments, account="viewer")
            assert code == 1
            assert "may not update voicegateways/sessions.litevoice.dev" in said
        code, said = await litevoice("heal", session)
        assert (code, said.splitlines()[0]) == (
            0,
            f"{GATEWAY_POD} takes {session} over again, from position 0 on; the broker lists it as the owner.",
        )
        code, said = await litevoice("drain", GATEWAY_POD)
        assert (code, "no other gateway takes sessions" in said) == (1, True)
        assert (await litevoice("move", session, "--dry-run", "--force"))[0] == 0
        code, said = await litevoice("move", session, "--force")
        assert (code, f"{session} leaves {GATEWAY_POD}" in said) == (0, True)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012

    assert (await litevoice("drain", GATEWAY_POD, "--force"))[0] == 0
    assert not gateway.ready()
    assert (await litevoice("drain", GATEWAY_POD, "--cancel"))[0] == 0
    assert gateway.ready()
    by = f"asked for by system:serviceaccount:{namespace.name}:manager"
    told = [(event["reason"], event["message"]) for event in namespace.events("demo") if by in event["message"]]
    assert told == [
        ("SessionHealed", f"{GATEWAY_POD} takes {session} over again: {by}"),
        ("SessionMoved", f"{session} leaves {GATEWAY_POD}: {by}"),
        ("DrainRequested", f"{GATEWAY_POD} drains: {by}"),
        ("DrainCancelled", f"{GATEWAY_POD} takes sessions again: {by}"),
    ]
