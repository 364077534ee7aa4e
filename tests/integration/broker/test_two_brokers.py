"""Two brokers and two proxies: owners use different proxies, and each session lives on one broker entirely, whichever
brokers the name server lists."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_contracts.names import ClientId, Names
from litevoice_dev.audit import reading_replies
from litevoice_dev.chaos.watch import homes
from litevoice_dev.rocketmq import Broker, LocalRocketMQ
from litevoice_dev.stack import LocalStack
from litevoice_dev.tally import tally_events
from tests.integration.sending import send_fifo, send_lite
from tests.integration.typing_caller import TypingCaller, answered
from tests.waiting import until

NAMES = Names("two-requests", "two-replies", 4, 2)
MANY = 12
"""Questions, one in 0.25 s: longer than a proxy keeps a route."""


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
    masters = await admin.cluster.masters()
    assert list(masters) == ["broker-a", "broker-b"]
    await admin.ensure_names(NAMES, expiration_minutes=30)
    assert await admin.names_exist(NAMES) == []

    producer = Producer(config(cluster.endpoints, "producer"), [*NAMES.partition_topics, *NAMES.reply_topics])
    kit.closed_later(producer)
    positions: dict[str, list[int]] = defaultdict(list)
    evicted: list[str] = []
    owners: list[dict[str, LiteChannel]] = []

    def take(delivery: Delivery) -> None:
        positions[delivery.name].append(delivery.position)

    for proxy in cluster.proxy_parts:
        channels = {
            topic: LiteChannel(
                config(proxy.address, f"owner-{len(owners)}"),
                topic,
                group,
                on_delivery=take,
                on_evicted=evicted.append,
                admin=admin,
            )
            for topic, group in NAMES.reply_readers
        }
        for channel in channels.values():
            kit.closed_later(channel)
        owners.append(channels)
    clients: list[Producer | LiteChannel] = [producer, *(one for channels in owners for one in channels.values())]
    for client in clients:
        await client.start()
    for client in clients:
        await client.wait_ready(60)

    sessions = [f"s-{secrets.token_hex(6)}" for _ in range(12)]
    for session in sessions:
        for number in range(4):
            topic = NAMES.reply_topic_of(session)
            await owners[number % 2][topic].take_over(session, number)
            await send_lite(producer, topic, session, b"%d" % number)
            await until(lambda session=session, n=number: positions[session] == list(range(n + 1)))
    # a notice that comes after its receiver has begun to take over again is no eviction any more
    await until(lambda: [sum(one.owned for one in owner.values()) for owner in owners] == [0, len(sessions)])
    assert len(sessions) < len(evicted) <= len(sessions) * 3
    homes = [
        {home for topic in NAMES.topics_on(n) for home in await admin.cluster.route(topic)}
        for n in range(NAMES.brokers)
    ]
    assert homes in ([{"broker-a"}, {"broker-b"}], [{"broker-b"}, {"broker-a"}])
    assert {NAMES.broker_of(session) for session in sessions} == {0, 1}

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
        topic = NAMES.reply_topic_of(session)
        owners[1][topic].pause(session)
        await send_lite(producer, topic, session, b"waits")
    lags = [await admin.lite_lag(group, 20) for group in NAMES.gateway_groups]
    assert sum(lag.total for lag in lags) == len(sessions)
    assert sorted(entry.name for lag in lags for entry in lag.by_count) == sorted(sessions)
    await admin.delete_names(NAMES)
    assert len(await admin.names_exist(NAMES)) == 4 + 3 + 4 * 2
    await admin.close()


async def test_more_partitions_are_made_beside_those_of_their_broker(cluster: LocalRocketMQ) -> None:
    admin = Admin(cluster.name_server)
    names = Names("more-requests", "more-replies", 2, 2)
    await admin.ensure_names(names, expiration_minutes=30)
    more = replace(names, partitions=7)
    for _ in range(2):
        await admin.ensure_names(more, expiration_minutes=30, known_partitions=2)
    homes = [
        sorted({home for topic in more.topics_on(n) for home in await admin.cluster.route(topic)}) for n in range(2)
    ]
    assert sorted(homes) == [["broker-a"], ["broker-b"]]
    assert await admin.names_exist(more) == []
    await admin.delete_names(more)
    await admin.close()


async def registered(cluster: LocalRocketMQ, broker: Broker) -> bool:
    await broker.register()
    return broker.name in await asyncio.to_thread(cluster.registered_brokers)


@pytest.mark.timeout(300)
async def test_no_session_is_split_when_the_name_server_lists_one_broker_only(
    cluster: LocalRocketMQ, tmp_path: Path
) -> None:
    """First it has been restarted and one broker does not answer yet, then that broker dies and comes back."""
    names = Names("apart-requests", "apart-replies", 4, 2)
    stack = LocalStack(tmp_path, cluster.endpoints, cluster.name_server, names, worker_names=("worker-0",))
    stays, goes = cluster.broker_parts
    async with contextlib.AsyncExitStack() as exits:
        exits.callback(stack.kill)
        await stack.start(gateways=1)

        async def call() -> TypingCaller:
            return await exits.enter_async_context(TypingCaller(stack.gateways[0].url, stack.api_key))

        callers = [await call() for _ in range(8)]
        await answered(callers, 2)
        at = await homes(stack.broker_settings, [caller.session_id for caller in callers])
        unhurt = [caller for caller in callers if stays.name in at[caller.session_id]]
        assert 0 < len(unhurt) < len(callers), "a session in 256 runs has all of them on one broker"

        goes.freeze()
        cluster.name_server_part.kill()
        await asyncio.to_thread(cluster.name_server_part.start)
        await until(lambda: registered(cluster, stays))
        await answered(unhurt, MANY)
        assert await asyncio.to_thread(cluster.registered_brokers) == [stays.name]
        goes.thaw()
        await until(lambda: registered(cluster, goes))
        await answered(callers, 2)

        goes.kill()
        await answered(unhurt, MANY)
        new = [await call() for _ in range(3)]
        await answered(new, 2)
        assert {names.broker_of(caller.session_id) for caller in (*unhurt, *new)} == {
            names.broker_of(unhurt[0].session_id)
        }
        await asyncio.to_thread(goes.start)
        callers += new
        await answered(callers, 2)

        for caller in callers:
            await caller.finish()
            assert caller.answers == [f"You said: {question}." for question in caller.asked]
        at = await homes(stack.broker_settings, [caller.session_id for caller in callers])
        assert {session: brokers for session, brokers in at.items() if len(brokers) > 1} == {}
        async with reading_replies(stack.broker_settings) as read:
            for caller in callers:
                log = await read(caller.session_id)
                assert [line["position"] for line in log] == list(range(len(log)))
                assert tally_events(caller.event_ids, log).clean
