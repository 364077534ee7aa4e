"""Two brokers and two proxies: LiteTopics spread, partitions stand on one broker each, owners use different proxies."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_contracts.names import ClientId, Names
from litevoice_dev.rocketmq import LocalRocketMQ
from tests.integration.sending import send_fifo, send_lite
from tests.waiting import until

NAMES = Names("two-requests", "two-replies", 4)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRocketMQ]:
    cluster = LocalRocketMQ(tmp_path_factory.mktemp("two-brokers"), brokers=2)
    cluster.add_proxy()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


def config(address: str, pod: str) -> BrokerConfig:
    return BrokerConfig(address, ClientId.new(pod, "127.0.0.1", "test"))


@pytest.mark.timeout(300)
async def test_two_brokers_two_proxies(cluster: LocalRocketMQ, kit: Any) -> None:
    admin = Admin(cluster.name_server)
    masters = await admin.masters()
    assert list(masters) == ["broker-a", "broker-b"]
    await admin.ensure_names(NAMES, expiration_minutes=30)
    assert await admin.names_exist(NAMES) == []

    producer = Producer(config(cluster.endpoints, "producer"), [*NAMES.partition_topics, NAMES.reply_topic])
    kit.closed_later(producer)
    positions: dict[str, list[int]] = defaultdict(list)
    evicted: list[str] = []
    owners: list[LiteChannel] = []

    def take(delivery: Delivery) -> None:
        positions[delivery.name].append(delivery.position)

    for proxy in cluster.proxy_parts:
        channel = LiteChannel(
            config(proxy.address, f"owner-{len(owners)}"),
            NAMES.reply_topic,
            NAMES.gateway_group,
            on_delivery=take,
            on_evicted=evicted.append,
            admin=admin,
        )
        kit.closed_later(channel)
        owners.append(channel)
    clients: list[Producer | LiteChannel] = [producer, *owners]
    for client in clients:
        await client.start()
    for client in clients:
        await client.wait_ready(60)

    sessions = [f"s-{secrets.token_hex(6)}" for _ in range(12)]
    for session in sessions:
        for number in range(4):
            await owners[number % 2].take_over(session, number)
            await send_lite(producer, NAMES.reply_topic, session, b"%d" % number)
            await until(lambda session=session, n=number: positions[session] == list(range(n + 1)))
    # a notice that comes after its receiver has begun to take over again is no eviction any more
    await until(lambda: (owners[0].owned, owners[1].owned) == (0, len(sessions)))
    assert len(sessions) < len(evicted) <= len(sessions) * 3
    homes: dict[str, int] = defaultdict(int)
    for session in sessions:
        for name, address in masters.items():
            answer = await admin._client(address).call(200076, {"parentTopic": NAMES.reply_topic, "liteTopic": session})
            homes[name] += b'"maxOffset":4' in answer.body
    assert sum(homes.values()) == len(sessions)
    assert all(homes.values()), f"the LiteTopics stand on one broker only: {dict(homes)}"

    partition_homes = [await admin._route(topic) for topic in NAMES.partition_topics]
    assert partition_homes == [["broker-a"], ["broker-b"], ["broker-a"], ["broker-b"]]
    bodies: dict[str, list[bytes]] = defaultdict(list)
    for topic in NAMES.partition_topics:

        async def handle(messages: Sequence[PartitionMessage], topic: str = topic) -> None:
            bodies[topic] += [message.body for message in messages]

        consumer = PartitionConsumer(config(cluster.endpoints, "worker"), topic, NAMES.worker_group, handler=handle)
        kit.closed_later(consumer)
        await consumer.start()
        await consumer.wait_ready(60)
    for number in range(20):
        for topic in NAMES.partition_topics:
            await send_fifo(producer, topic, "g", {}, b"%d" % number)
    for topic in NAMES.partition_topics:
        await until(lambda topic=topic: len(bodies[topic]) == 20)
        assert bodies[topic] == [b"%d" % number for number in range(20)]

    for session in sessions:
        owners[1].pause(session)
        await send_lite(producer, NAMES.reply_topic, session, b"waits")
    lag = await admin.lite_lag(NAMES.gateway_group, 20)
    assert lag.total == len(sessions)
    assert sorted(entry.name for entry in lag.by_count) == sorted(sessions)
    await admin.delete_names(NAMES)
    assert len(await admin.names_exist(NAMES)) == 4 + 2 + 3 * 2
    await admin.close()
