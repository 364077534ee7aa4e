"""Names of their own for each test at the run's one RocketMQ, and clients for them."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.fence import Fence
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_contracts.names import ClientId, Names
from litevoice_dev import processes
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import LocalStack
from tests.integration import failure_report
from tests.integration.apiserver import server  # noqa: F401 - fixture
from tests.integration.cutting import cut_off
from tests.integration.gateway.process import gateways, played_worker  # noqa: F401 - fixtures
from tests.integration.operator.process import namespace, operator, operator_server  # noqa: F401 - fixtures
from tests.integration.shared_rocketmq import AnyRocketMQ, SharedRocketMQ, of_all_jobs, running

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["LITEVOICE_PORT_SHARE"] = os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")

EXPIRATION_MINUTES = 30
_Client = TypeVar("_Client", Producer, LiteChannel, PartitionConsumer, Fence)


LONGEST_FIRST = (
    *("broker/test_restarts", "test_conversation", "chart/test_images", "worker/test_process", "broker/test_guarded"),
    *("test_overload", "dev/test_clients"),
    *(
        "operator/test_alerts",
        "operator/test_outage",
        "operator/test_routes",
        "gateway/test_takeover",
        "broker/test_conformance",
        "operator/test_gateways",
        "dev/test_try",
    ),
    *("test_neighbours", "gateway/test_wire", "broker/test_two_brokers", "chart/test_install", "gateway/test_listing"),
    *("gateway/test_backpressure", "operator/test_admission", "operator/test_crds", "test_example_client"),
)
"""Files that take long begin first, so that at the end not all jobs wait for one; those with a RocketMQ of their own do
not begin together."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    places = {here / f"{name}.py": place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


_processes_before = pytest.StashKey[int]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    item.stash[_processes_before] = len(processes.spawned)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when != "teardown":
        shared = getattr(item.config, "workerinput", {}).get("rocketmq")
        logs = Path(shared) / "logs" if shared else None
        report.sections += failure_report.sections(item.stash.get(_processes_before, 0), logs)
    return report


@pytest.fixture(scope="session")
def shared_rocketmq(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedRocketMQ]:
    """Shared by all tests; those that kill a part of theirs bring their own (`own_rocketmq`)."""
    if folder := getattr(request.config, "workerinput", {}).get("rocketmq"):
        yield of_all_jobs(Path(folder))
    else:
        with running(tmp_path_factory.mktemp("rocketmq")) as shared:
            yield shared


@pytest.fixture(scope="session")
def rocketmq(shared_rocketmq: SharedRocketMQ) -> SharedRocketMQ:
    """The one that a test uses: a module may bring its own."""
    return shared_rocketmq


@pytest.fixture(scope="module")
def own_rocketmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRocketMQ]:
    """For one file of tests that stop, kill or freeze its parts, and leave them running again."""
    cluster = LocalRocketMQ(tmp_path_factory.mktemp("rocketmq"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
async def admin(rocketmq: AnyRocketMQ) -> AsyncIterator[Admin]:
    admin = Admin(rocketmq.name_server)
    yield admin
    await admin.close()


@pytest.fixture
async def names(admin: Admin) -> AsyncIterator[Names]:
    """Fresh topics and groups with two partitions, removed afterwards."""
    base = f"t{secrets.token_hex(4)}"
    names = Names(f"{base}-requests", f"{base}-replies", 2)
    await admin.ensure_names(names, expiration_minutes=EXPIRATION_MINUTES)
    yield names
    await admin.delete_names(names)


class BrokerKit:
    """Makes clients for a test and closes them after it."""

    def __init__(self, rocketmq: AnyRocketMQ, names: Names) -> None:
        self.names = names
        self.endpoints = rocketmq.endpoints
        self.name_server = rocketmq.name_server
        self.admin = Admin(rocketmq.name_server)
        self._open: list[Producer | LiteChannel | PartitionConsumer | Fence] = []

    def config(self, pod: str = "pod", **changes: Any) -> BrokerConfig:
        return BrokerConfig(
            **{"endpoints": self.endpoints, "client_id": ClientId.new(pod, "127.0.0.1", "test"), **changes}
        )

    async def producer(self, **options: Any) -> Producer:
        config = options.pop("config", None) or self.config("producer")
        topics = [*self.names.partition_topics, self.names.reply_topic]
        producer = self.closed_later(Producer(config, topics, **options))
        await producer.start()
        await producer.wait_ready(60)
        return producer

    async def channel(
        self,
        on_delivery: Callable[[Delivery], None],
        on_evicted: Callable[[str], None] = lambda name: None,
        **options: Any,
    ) -> LiteChannel:
        config = options.pop("config", None) or self.config("owner")
        channel = LiteChannel(
            config,
            self.names.reply_topic,
            options.pop("group", self.names.gateway_group),
            on_delivery=on_delivery,
            on_evicted=on_evicted,
            **{"admin": self.admin, **options},
        )
        self.closed_later(channel)
        await channel.start()
        await channel.wait_ready(60)
        return channel

    async def consumer(
        self, partition: int, handler: Callable[[Sequence[PartitionMessage]], Awaitable[None]]
    ) -> PartitionConsumer:
        topic = self.names.partition_topic(partition)
        group, config = self.names.worker_group, self.config("worker")
        consumer = PartitionConsumer(config, topic, group, handler=handler, admin=self.admin)
        self.closed_later(consumer)
        await consumer.start()
        await consumer.wait_ready(60)
        return consumer

    def closed_later(self, client: _Client) -> _Client:
        self._open.append(client)
        return client

    async def close(self) -> None:
        await asyncio.gather(
            *(cut_off(client) if isinstance(client, PartitionConsumer) else client.close() for client in self._open)
        )
        await self.admin.close()


@pytest.fixture
async def kit(rocketmq: AnyRocketMQ, names: Names) -> AsyncIterator[BrokerKit]:
    kit = BrokerKit(rocketmq, names)
    yield kit
    await kit.close()


@pytest.fixture
async def stack(rocketmq: SharedRocketMQ, names: Names, tmp_path: Path) -> AsyncIterator[LocalStack]:
    """Two gateways and two workers, ready, at the run's RocketMQ, whose topics no other test's workers share."""
    made = LocalStack(tmp_path / "stack", rocketmq.endpoints, rocketmq.name_server, names)
    try:
        await made.start(gateways=2)
        yield made
    finally:
        made.kill()
