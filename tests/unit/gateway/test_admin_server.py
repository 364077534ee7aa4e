"""What a gateway's admin port tells of its sessions, over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from litevoice_contracts import control, events
from litevoice_contracts.envelopes import DownEnvelope
from litevoice_contracts.names import ClientId
from litevoice_contracts.news import PartitionNews, WorkerNews
from litevoice_contracts.settings import BrokerSettings, GatewaySettings
from litevoice_dev.ports import free_port
from litevoice_gateway.admin_server import AdminServer
from litevoice_gateway.connections import Connection
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.opening import Opening
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.session import Session
from litevoice_gateway.settings import Keys
from tests.unit.gateway.test_connections import Wire

TOKEN = "t" * 64


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Hub, aiohttp.ClientSession]]:
    """A gateway with two sessions whose broker was never there."""
    broker = BrokerSettings(
        endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down", partitions=8
    )
    settings = GatewaySettings(
        broker=broker, api_keys_dir="/", keys_dir="/", admin_host="127.0.0.1", admin_port=free_port()
    )
    hub = Hub(settings, Keys(b"k" * 32, TOKEN.encode()), Metrics(), "gateway-0", "10.0.0.1")
    for number, client in ((1, "10.1.0.9:4711"), (2, "[2001:db8::1]:4711")):
        opening = Opening(f"s_{number}", lambda: 1, client=client, principal=f"tenant-{number}")
        session = Session(opening, OpenAIRealtime(lambda: "item", returns=number == 1), hub.limits, 0.0)
        hub.sessions[session.id] = connection = Connection(hub, session, Wire(), number)
        connection.opened()
    server = AdminServer(hub, Drain(hub), TOKEN.encode(), "gateway-0")
    await server.start()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers=headers) as client_session:
        yield hub, client_session
    await server.close()


async def listed(at: aiohttp.ClientSession, **query: str) -> list[str]:
    async with at.get(control.SESSIONS_PATH, params=query) as answer:
        found = msgspec.json.decode(await answer.read(), type=control.SessionList)
        assert found.total == len(found.sessions)
        return sorted(session.session_id for session in found.sessions)


async def test_sessions_are_found_by_client_and_by_principal() -> None:
    async with served() as (_, at):
        assert await listed(at) == ["s_1", "s_2"]
        assert await listed(at, client="10.1.0.9") == await listed(at, client="10.1.0.9:4711") == ["s_1"]
        assert await listed(at, client="2001:db8::1") == ["s_2"]
        assert await listed(at, client="10.1.0") == []
        assert await listed(at, principal="tenant-2") == ["s_2"]
        assert await listed(at, principal="tenant-2", client="10.1.0.9") == []


async def test_the_status_says_how_fast_a_drain_is() -> None:
    """Its own setting: the operator's may have changed since."""
    async with served() as (hub, at), at.get(control.STATUS_PATH) as answer:
        status = msgspec.json.decode(await answer.read(), type=control.GatewayStatus)
        assert (status.sessions, status.drain_rate_per_second) == (2, hub.settings.drain_rate_per_second)


async def test_the_youngest_are_found_however_many_there_are() -> None:
    async with served() as (hub, at):
        opening = Opening("s_young", lambda: 1, client="10.1.0.7:1", principal="tenant-1")
        session = Session(opening, OpenAIRealtime(lambda: "item"), hub.limits, time.monotonic())
        hub.sessions[session.id] = Connection(hub, session, Wire(), 0)
        assert await listed(at, since="60", limit="1") == ["s_young"]
        async with at.get(control.SESSIONS_PATH, params={"since": "soon"}) as answer:
            assert (answer.status, await answer.json()) == (
                400,
                {"error": {"message": "since: expected a whole number of seconds"}},
            )


async def test_every_litetopic_of_the_gateway_is_told_in_one_answer() -> None:
    async with served() as (hub, at):

        async def told() -> control.Holdings:
            async with at.get(control.HOLDINGS_PATH) as answer:
                return msgspec.json.decode(await answer.read(), type=control.Holdings)

        before = await told()
        assert [ClientId.parse(client) for client in before.clients] == [
            ClientId("gateway-0", "10.0.0.1", "gateway", before.clients[0].rpartition("@")[2])
        ]
        assert (before.sessions, before.leaving) == (["s_1", "s_2"], [])
        leaves = hub.sessions.pop("s_1")
        releasing = asyncio.create_task(hub._release(leaves, moved=True))
        await asyncio.sleep(0)
        after = await told()
        assert (after.sessions, after.leaving) == (["s_2"], ["s_1"])
        hub.sessions["s_1"] = hub.sessions["s_2"]
        assert (await told()).leaving == [], "its client is back"
        del hub.sessions["s_1"]
        leaves.settled.set()
        await releasing
        assert (await told()).leaving == []


async def asked(at: aiohttp.ClientSession, path: str, body: bytes = b"") -> tuple[int, str]:
    """Status, and what an error says."""
    async with at.post(f"{control.SESSIONS_PATH}/{path}", data=body) as answer:
        said = await answer.json()
        return answer.status, said.get("error", {}).get("message", "")


async def test_one_session_is_moved_as_in_a_drain() -> None:
    async with served() as (hub, at):
        wire = hub.sessions["s_1"].transport
        assert isinstance(wire, Wire)
        assert await asked(at, "s_1/move", b'{"dry_run": true}') == (202, "")
        assert wire.closes == []
        assert await asked(at, "s_1/move") == (202, "")
        assert wire.closes == [1012]
        assert await asked(at, "s_1/move") == (409, "the session is closing already")
        assert await asked(at, "s_nobody/move") == (404, "this gateway does not own the session")
        status, said = await asked(at, "s_2/move", b'{"dry_run": 1}')
        assert (status, said.startswith("body: expected a ActRequest: ")) == (400, True)


async def test_a_session_in_a_turn_is_moved_at_its_edge() -> None:
    async with served() as (hub, at):
        connection = hub.sessions["s_1"]
        wire = connection.transport
        assert isinstance(wire, Wire)
        connection.delivered(0, DownEnvelope(1, 1, [events.ResponseStarted("r1", "i1")]).encode())
        assert connection.session.in_turn
        assert await asked(at, "s_1/move") == (202, "")
        assert wire.closes == []
        connection.delivered(1, DownEnvelope(1, 1, [events.ResponseFinished("r1", "i1", "completed", "Hi")]).encode())
        assert wire.closes == [1012]


async def test_a_client_that_cannot_come_back_is_moved_only_by_force() -> None:
    async with served() as (_, at):
        status, said = await asked(at, "s_2/move")
        assert (status, said) == (409, "its client has not shown that it can come back, and would lose the session")
        assert await asked(at, "s_2/move", b'{"force": true}') == (202, "")


async def test_what_cannot_be_taken_over_again_says_why() -> None:
    async with served() as (hub, at):
        changing = (409, "the session's LiteTopic is changing hands at the moment")
        assert await asked(at, "s_1/heal") == changing, "its broker was never there"
        assert await asked(at, "s_1/heal", b'{"dry_run": true}') == (202, "")
        hub.sessions["s_1"].writable(False)
        slow = (409, "its client reads too slowly: replies are taken over again when it reads on")
        assert await asked(at, "s_1/heal") == slow
        hub.sessions["s_2"].drain(at_edge=True, by=0.0)
        assert await asked(at, "s_2/heal") == (409, "the session is closing at the moment")
        assert await asked(at, "s_nobody/heal") == (404, "this gateway does not own the session")


async def test_a_drain_that_is_not_understood_says_why() -> None:
    async with served() as (_, at), at.post(control.DRAIN_PATH, data=b'{"policy": "Soon"}') as answer:
        said = (await answer.json())["error"]["message"]
        assert (answer.status, said.startswith("body: expected a DrainRequest: ")) == (400, True)


async def test_one_session_is_told_with_its_partition_and_who_reads_it() -> None:
    async with served() as (hub, client):

        async def told() -> control.SessionInfo:
            async with client.get(f"{control.SESSIONS_PATH}/s_1") as answer:
                return msgspec.json.decode(await answer.read(), type=control.SessionInfo)

        before = await told()
        assert (before.partition, before.stage, before.last_reply_seconds) == (1, "idle", -1.0)
        assert (before.worker, before.worker_heard_seconds) == ("", -1.0)
        reader = ClientId("worker-7", "10.2.0.7", "worker-fence", "abcd")
        hub._take_news(WorkerNews(str(reader), [PartitionNews(1, 2.5)]).encode())
        hub.sessions["s_1"].delivered(0, b"unreadable, but a message")
        after = await told()
        assert (after.worker, after.behind_seconds, after.next_position) == ("worker-7", 2.5, 1)
        assert 0 <= after.worker_heard_seconds < 60
        assert 0 <= after.last_reply_seconds < 60
