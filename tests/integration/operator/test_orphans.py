"""The operator finds sessions that nobody owns, or not who serves them, with real gateways at a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from litevoice_broker.config import AdminAccess
from litevoice_contracts import events
from litevoice_contracts.names import Names
from litevoice_dev.ports import free_port
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.adapters.gateways import Gateways as Admins
from litevoice_operator.observe.pods import Pod
from litevoice_operator.reconcile import orphans
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.shared import GatewayView
from tests.integration.conftest import BrokerKit
from tests.integration.gateway.process import ADMIN, Gateway, Gateways, PlayedWorker, opened, receive
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.timeout(300)
KEY = ("voice", "demo")
Found = tuple[str, str, str, str]
"""Session, fault, whether it is held, who has or had it."""


@dataclass
class Operator:
    """What the operator has: a broker, and gateway pods at addresses of their own with one admin port."""

    names: Names
    broker: Broker
    admins: Admins
    port: int
    gateways: Gateways
    backlogs: Backlogs
    pods: dict[str, Pod] = field(default_factory=dict)

    async def start_gateway(self) -> Gateway:
        host = f"127.0.0.{len(self.pods) + 11}"
        gateway = await self.gateways.start(adminHost=host, adminPort=self.port)
        self.pods[gateway.name] = Pod(
            KEY[0], gateway.name, gateway.name, KEY[1], "gateway", "node", host, True, False, 0.0, False, "", None
        )
        return gateway

    async def look(self) -> set[Found]:
        view = GatewayView(None, self.names, self.backlogs)
        looked = await orphans.look(view, self.names, list(self.pods.values()), self.admins, ADMIN)
        assert not looked.unseen
        assert all(one.backlog for one in looked.findings if one.fault == "orphan")
        return {(one.session, one.fault, one.holding, one.pod) for one in looked.findings}

    async def until(self, fits: Callable[[set[Found]], bool]) -> None:
        found: set[Found] = set()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not fits(found := await self.look()):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"last found: {found}") from None


@pytest.fixture
async def operator_of(rocketmq: SharedRocketMQ, names: Names, gateways: Gateways) -> AsyncIterator[Operator]:
    broker, port = Broker(Installed(rocketmq.name_server, AdminAccess())), free_port()
    await broker.use(rocketmq.name_server, admin_tls=False)
    async with Admins(port) as admins:
        yield Operator(names, broker, admins, port, gateways, Backlogs(KEY, broker, admins, PodCache(), ADMIN))
    await broker.close()


async def test_what_a_killed_gateway_leaves_is_found_until_its_client_is_back(
    operator_of: Operator, played_worker: PlayedWorker
) -> None:
    killed, other = await operator_of.start_gateway(), await operator_of.start_gateway()
    async with killed.connect() as socket, other.connect() as served:
        session, well = await opened(socket), await opened(served)
        for name in (session, well):
            await played_worker.say(name, events.ResponseStarted("r1", "i1"))
        heard = (await receive(socket))["event_id"]
        await operator_of.until(lambda found: not found and session in operator_of.backlogs.seen)
        killed.kill()
        await played_worker.say(session, events.AudioDelta("r1", "i1", b"waits"))
        await operator_of.until(lambda found: found == {(session, "owner-unknown", "unknown", killed.name)})
        del operator_of.pods[killed.name]
        await operator_of.until(lambda found: found == {(session, "orphan", "left", killed.name)})
    async with other.connect(query=f"session_id={session}&last_event_id={heard}"):
        await operator_of.until(lambda found: found == set())


async def test_replies_that_nobody_is_subscribed_for_are_orphans(
    operator_of: Operator, played_worker: PlayedWorker, kit: BrokerKit
) -> None:
    await operator_of.start_gateway()
    taken = asyncio.Event()
    channel = await kit.channel(lambda delivery: taken.set())
    await channel.subscribe(["s_orphan"])
    await played_worker.say("s_orphan", events.ResponseStarted("r1", "i1"))
    await taken.wait()
    channel.pause("s_orphan")
    await played_worker.say("s_orphan", events.AudioDelta("r1", "i1", b"waits"))
    await operator_of.until(lambda found: found == {("s_orphan", "stale-subscription", "left", "owner")})
    await channel.release("s_orphan")
    await operator_of.until(lambda found: found == {("s_orphan", "orphan", "left", "")})
