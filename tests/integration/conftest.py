"""One real RocketMQ for all integration tests of a run, and names of their own for each test."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.connection import BrokerConfig
from litevoice_broker.fence import Fence
from litevoice_broker.lite_channel import Delivery, LiteChannel
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_contracts.names import ClientId, Names
from litevoice_dev.rocketmq import LocalRocketMQ
from tests.integration.apiserver import server  # noqa: F401 - fixture
from tests.integration.gateway_process import PATIENCE_SECONDS, gateways, played_worker  # noqa: F401 - fixtures
from tests.integration.operator_process import namespace, operator, operator_server  # noqa: F401 - fixtures

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["LITEVOICE_PORT_SHARE"] = os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")

EXPIRATION_MINUTES = 30
_Client = TypeVar("_Client", Producer, LiteChannel, PartitionConsumer, Fence)


@pytest.fixture(scope="session")
def test_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Key and self-signed certificate for 127.0.0.1, which is its own authority."""
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


@pytest.fixture(scope="session")
def shared_rocketmq(
    tmp_path_factory: pytest.TempPathFactory, test_certificate: tuple[Path, Path]
) -> Iterator[LocalRocketMQ]:
    """Shared by all tests: one that kills a part must leave it running again."""
    cluster = LocalRocketMQ(
        tmp_path_factory.mktemp("rocketmq"), tls_key=test_certificate[0], tls_certificate=test_certificate[1]
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()  # nobody needs the store any more


@pytest.fixture(scope="session")
def rocketmq(shared_rocketmq: LocalRocketMQ) -> LocalRocketMQ:
    """The one that a test uses: a module may bring its own."""
    return shared_rocketmq


@pytest.fixture
async def admin(rocketmq: LocalRocketMQ) -> AsyncIterator[Admin]:
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

    def __init__(self, rocketmq: LocalRocketMQ, names: Names) -> None:
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
            self.names.gateway_group,
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
        consumer = PartitionConsumer(self.config("worker"), topic, self.names.worker_group, handler=handler)
        self.closed_later(consumer)
        await consumer.start()
        await consumer.wait_ready(60)
        return consumer

    def closed_later(self, client: _Client) -> _Client:
        self._open.append(client)
        return client

    async def close(self) -> None:
        await asyncio.gather(
            *(client.abandon() if isinstance(client, PartitionConsumer) else client.close() for client in self._open)
        )
        await self.admin.close()

    async def until(self, condition: Callable[[], object], timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Waits for a condition, never for a time."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def kit(rocketmq: LocalRocketMQ, names: Names) -> AsyncIterator[BrokerKit]:
    kit = BrokerKit(rocketmq, names)
    yield kit
    await kit.close()
