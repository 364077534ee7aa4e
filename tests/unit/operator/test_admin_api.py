"""What people ask the operator: the question, its bounds, and the answer that it puts together from the real admin
servers of a gateway and a worker, while no broker answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from litevoice_broker.config import AdminAccess
from litevoice_contracts.control import WorkerStatus
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import Names, partition_of
from litevoice_contracts.settings import BrokerSettings, GatewaySettings
from litevoice_dev.ports import free_port
from litevoice_gateway.admin_server import AdminServer as GatewayAdminServer
from litevoice_gateway.connections import Connection
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.opening import Opening
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.session import Session
from litevoice_gateway.settings import Keys as GatewayKeys
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.adapters.cluster import Cluster
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.admin_api import read_question, token_of
from litevoice_operator.decide.orphans import Finding
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.observe.pods import Pod
from litevoice_operator.reconcile import acts as acts_module
from litevoice_operator.reconcile import inquiries as inquiries_module
from litevoice_operator.reconcile import orphans
from litevoice_operator.reconcile.backlogs import Backlogs, Seen
from litevoice_operator.reconcile.inquiries import Inquiries, Question
from litevoice_operator.reconcile.outbox import Outbox
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.polls import Polls
from litevoice_operator.reconcile.shared import GatewayView, Shared
from litevoice_operator.reconcile.turns import Turns
from litevoice_worker.admin import AdminServer as WorkerAdminServer
from litevoice_worker.sessions import Sessions
from tests.unit.gateway.test_connections import Wire
from tests.unit.worker.test_shell import Bench

KEY = ("voice", "demo")
ROOT = b"r" * 32
PARTITIONS = 4
GATEWAY, WORKER, SILENT = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "0"}, "limit: expected a whole number, 1 or more, got '0'"),
        ({"limit": "ten"}, "limit: expected a whole number"),
        ({"offset": "950"}, "offset: expected at most 1000 together with limit, got 950 and 100"),
        ({"since": "-3"}, "since: expected a whole number"),
        ({"sort": "client"}, "sort: expected one of stalled, backlog, age, got 'client'"),
        ({"clent": "10.0.0.1"}, "clent: expected one of namespace, gateway, client"),
    ],
)
def test_what_is_no_question_is_refused_with_the_fields_name(query: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidField) as refused:
        read_question(query)
    assert said in str(refused.value)


def test_the_token_is_in_the_header_that_proxies_leave_alone_or_in_the_usual_one() -> None:
    assert token_of({"Authorization": "Bearer abc"}) == "abc"
    assert token_of({"Authorization": "Basic abc"}) == token_of({}) == ""
    assert token_of({"Litevoice-Token": "xyz", "Authorization": "Bearer abc"}) == "xyz"


def pod(name: str, component: str, ip: str) -> Pod:
    return Pod(*KEY[:1], name, name, KEY[1], component, f"node-of-{name}", ip, True, False, 0.0, False, "", None)


def sessions_of(hub: Hub) -> None:
    for number in range(3):
        opening = Opening(f"s_{number}", lambda: 1, client=f"10.1.0.{number}:4711", principal="tenant")
        session = Session(opening, OpenAIRealtime(lambda: "item"), hub.limits, -float(number))
        hub.sessions[session.id] = connection = Connection(hub, session, Wire(), partition_of(session.id, PARTITIONS))
        connection.opened()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inquiries_module, acts_module):
        monkeypatch.setattr(module, "BROKER_SECONDS", 0.1)


@asynccontextmanager
async def asked(api_server: str = "http://127.0.0.1:9") -> AsyncIterator[Inquiries]:
    """A VoiceGateway with three sessions on one gateway, one worker, a gateway that never answers, and no broker."""
    port, keys = free_port(), derive_keys(ROOT, *KEY)
    names = Names("up", "down", PARTITIONS)
    broker_settings = BrokerSettings(
        endpoints="nobody:8081",
        name_server="nobody:9876",
        request_topic="up",
        reply_topic="down",
        partitions=PARTITIONS,
    )
    settings = GatewaySettings(
        broker=broker_settings, api_keys_dir="/", keys_dir="/", admin_host=GATEWAY, admin_port=port
    )
    token = keys.admin_token.encode()
    hub = Hub(settings, GatewayKeys(b"k" * 32, token), Metrics(), "gateway-0", GATEWAY)
    sessions_of(hub)
    hub.refuse("10.1.0.8:4711", "tenant", "", "full", "this gateway takes no new sessions: sessions")
    gateway_server = GatewayAdminServer(hub, Drain(hub), token, "gateway-0")
    await gateway_server.start()
    bench = Bench()
    at_worker = Sessions(10, bench.runner, bench.metrics, bench.say)
    at_worker.get("s_1", 0)
    worker_server = WorkerAdminServer(
        bench.metrics.registry,
        lambda: "",
        hashlib.sha256(keys.worker_token.encode()).hexdigest(),
        lambda: WorkerStatus("worker-0", True, "", 1, 10, [0]),
        at_worker.report,
        bench.metrics.status_answered,
    )
    await worker_server.start(WORKER, port)
    broker = Broker(Installed("127.0.0.1:9", AdminAccess()))
    await broker.use("127.0.0.1:9", admin_tls=False)
    pods = PodCache()
    pods.replace(
        KEY,
        [
            pod("gateway-0", "gateway", GATEWAY),
            pod("gateway-1", "gateway", SILENT),
            pod("worker-0", "worker", WORKER),
        ],
    )
    async with AsyncExitStack() as stack, Gateways(port) as gateways:
        backlogs = Backlogs(KEY, broker, gateways, pods, keys.admin_token)
        nothing = cast(Any, None)
        configuration = Configuration()
        configuration.host = api_server
        cluster = await stack.enter_async_context(Cluster(ApiClient(configuration), "operator-0"))
        shared = Shared(
            cluster, nothing, gateways, Polls(gateways), pods, Outbox(cluster.post_event), Turns(1), nothing, nothing,
            nothing, nothing, ROOT, asyncio.Event(), {KEY: GatewayView(None, names, backlogs)},
        )  # fmt: skip
        yield Inquiries(shared, nothing, "operator-0")
    await broker.close()
    await gateway_server.close()
    await worker_server.close()


async def test_sessions_are_listed_in_pages_with_pod_and_node_and_who_did_not_answer() -> None:
    async with asked() as inquiries:
        first = await inquiries.sessions(Question(sort="age", limit=2))
        assert [row.session.session_id for row in first.sessions] == ["s_2", "s_1"]
        assert (first.total, first.next, first.silent) == (3, 2, ["voice/gateway-1"])
        assert {(row.namespace, row.gateway, row.pod, row.node) for row in first.sessions} == {
            (*KEY, "gateway-0", "node-of-gateway-0")
        }
        second = await inquiries.sessions(Question(sort="age", offset=2, limit=2))
        assert ([row.session.session_id for row in second.sessions], second.next) == (["s_0"], -1)
        found = await inquiries.sessions(Question(client="10.1.0.1"))
        assert ([row.session.session_id for row in found.sessions], found.total) == (["s_1"], 1)
        assert (await inquiries.sessions(Question(namespace="other"))).total == 0


async def test_a_session_is_told_as_far_as_it_is_known_without_the_broker() -> None:
    async with asked() as inquiries:
        held = await inquiries.session("s_1", Question())
        assert held is not None
        assert held.session is not None
        assert (held.owner, held.pod, held.node, held.silent) == (
            "Held", "gateway-0", "node-of-gateway-0", ["gateway-1"],
        )  # fmt: skip
        assert held.session.client == "10.1.0.1:4711"
        assert held.broker_error
        assert held.clocks == {"gateway-0": 0.0}, "its worker is not known without the broker"
        assert await inquiries._clocks(KEY) == {"gateway-0": 0.0, "worker-0": 0.0}
        lost = await inquiries.session("s_nobody", Question())
        assert lost is not None
        assert (lost.owner, lost.verdict.cause) == ("Unknown", "broker-silent")
        assert (held.last_pod, lost.last_pod) == ("", "")
        foreign = await inquiries.session(f"s{PARTITIONS + 1}_nobody", Question())
        assert foreign is not None
        assert (held.partition, foreign.partition) == (partition_of("s_1", PARTITIONS), -1)
        assert await inquiries.session("s_1", Question(namespace="other")) is None


async def test_who_had_a_session_that_nobody_holds_is_remembered_with_node_and_client() -> None:
    async with asked() as inquiries:
        inquiries._shared.views[KEY].backlogs.saw("gateway-1", {"s_gone": "10.1.0.9:4711"})
        gone = await inquiries.session("s_gone", Question())
        assert gone is not None
        assert (gone.last_pod, gone.last_node, gone.last_client) == (
            "gateway-1", "node-of-gateway-1", "10.1.0.9:4711",
        )  # fmt: skip
        page = await inquiries.sessions(Question(sort="age", client="10.1.0.9"))
        assert page.sessions == []
        assert [msgspec.structs.astuple(row) for row in page.at_silent] == [
            (*KEY, "s_gone", "gateway-1", "node-of-gateway-1", "10.1.0.9:4711")
        ]
        for question in (Question(client="10.1.0.8"), Question(client="10.1.0.9", principal="tenant"), Question()):
            assert (await inquiries.sessions(question)).at_silent == [], "it is another's, or not known to be theirs"
        seen = inquiries._shared.views[KEY].backlogs.seen
        assert seen["s_1"] == ("gateway-0", "node-of-gateway-0", "10.1.0.1:4711")


async def test_orphans_are_listed_with_who_had_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(*_: object) -> orphans.Looked:
        return orphans.Looked(
            [
                Finding("s_known", "orphan", "left", "gateway-9", (), 3, 12),
                Finding("s_moved", "orphan", "left", "gateway-0", (), 3, 12),
                Finding("s_unknown", "orphan", "left", "", (), 3, 12),
            ],
            [],
        )

    monkeypatch.setattr(orphans, "look", look)
    async with asked() as inquiries:
        view = inquiries._shared.views[KEY]
        view.backlogs.seen["s_known"] = Seen("gateway-9", "node-c", "10.1.0.9:1")
        view.backlogs.seen["s_moved"] = Seen("gateway-9", "node-c", "10.1.0.9:1")
        page = await inquiries.orphans(Question())
        assert [(row.session_id, row.pod, row.node, row.client) for row in page.orphans] == [
            ("s_known", "gateway-9", "node-c", "10.1.0.9:1"),
            ("s_moved", "gateway-0", "node-of-gateway-0", ""),
            ("s_unknown", "", "", ""),
        ]


async def test_partitions_without_a_broker_say_why() -> None:
    async with asked() as inquiries:
        page = await inquiries.partitions(Question())
        assert page.partitions == []
        assert [text.partition(":")[0] for text in page.unseen] == ["voice/demo"]
