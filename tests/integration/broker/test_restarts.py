"""Broker, proxy and whole links die and come back: nothing confirmed is lost, sessions go on without a new process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.fence import Fence
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.partition_consumer import PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_broker.remoting import RemotingClient
from litevoice_contracts.conversation import SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageId, UpEnvelope
from litevoice_contracts.events import AudioDelta
from litevoice_contracts.names import Names
from litevoice_contracts.packets import Audio
from litevoice_dev import class_archive
from litevoice_dev.processes import last_lines
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_gateway.session_state import SessionState
from litevoice_worker.order import PacketOrder
from tests.conformance.client import PartitionClient, Sender, positions
from tests.integration.sending import send_fifo, send_lite
from tests.waiting import until

GOES_ON_SECONDS = 20.0
"""Less than the 30 s for which a restarted broker locks a partition; on a quiet machine it takes 2 to 3 s."""
SPINS_SECONDS = 10.0
"""For so long a thread of a broker that has just started spins, if RocketMQ's default were not changed."""


class Traffic:
    """Sends to three sessions and one partition all the time, and keeps what counts for their readers.

    What is sent again after an unclear answer may be stored twice; a gateway and a worker take it once.
    """

    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.sessions = [f"s-{secrets.token_hex(4)}" for _ in range(3)]
        self.replies: dict[str, list[bytes]] = defaultdict(list)
        self.positions: dict[str, list[int]] = defaultdict(list)
        self._states = {name: SessionState(0, SessionConfig()) for name in self.sessions}
        self.requests: list[bytes] = []
        self._order = PacketOrder(epoch_wait_seconds=0.5)
        self.sent: dict[str, int] = dict.fromkeys([*self.sessions, "partition"], 0)
        self.last_reply = 0.0
        self.silence = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._going = True

    async def start(self) -> None:
        self.channel: LiteChannel = await self.kit.channel(self._reply)
        await self.channel.subscribe(self.sessions)
        await self.kit.consumer(0, self._request)
        # on a busy machine a broker takes longer to start than callers usually wait
        self.producer: Producer = await self.kit.producer(give_up_seconds=300.0)
        topic = self.kit.names.partition_topic(0)
        reply_topic = self.kit.names.reply_topic
        for name in self.sessions:
            self._talk(name, _reply, lambda body, name=name: send_lite(self.producer, reply_topic, name, body))  # type: ignore[misc]
        self._talk("partition", _request, lambda body: send_fifo(self.producer, topic, "g", {}, body))
        await until(lambda: all(len(self.replies[name]) > 5 for name in self.sessions))
        await until(lambda: len(self.requests) > 5)

    def _talk(self, key: str, make: Callable[[int], bytes], send: Callable[[bytes], Awaitable[None]]) -> None:
        async def talk() -> None:
            while self._going:
                await send(make(self.sent[key]))
                self.sent[key] += 1
                await asyncio.sleep(0.02)

        self._tasks.append(asyncio.create_task(talk()))

    def _reply(self, delivery: Delivery) -> None:
        now = time.monotonic()
        if self.last_reply:
            self.silence = max(self.silence, now - self.last_reply)
        self.last_reply = now
        counted = self._states[delivery.name].apply(delivery.position, DownEnvelope.decode(delivery.body))
        if not isinstance(counted, str):
            self.replies[delivery.name] += [
                entry.event.audio for entry in counted if isinstance(entry.event, AudioDelta)
            ]
        self.positions[delivery.name].append(delivery.position)

    async def _request(self, messages: Sequence[PartitionMessage]) -> None:
        for message in messages:
            arrival = self._order.receive(UpEnvelope.decode(message.body), time.monotonic())
            assert not arrival.gap
            self.requests += [numbered.audio for numbered in arrival.packets]

    def _confirmed(self) -> dict[str, int]:
        """Raises what a send has raised."""
        for task in self._tasks:
            if task.done():
                task.result()
        return self.sent

    async def goes_on(self) -> None:
        """Everything moves again: confirmations, replies of each session, requests."""
        before = dict(self.sent)
        await until(lambda: all(self._confirmed()[key] > before[key] + 3 for key in before), timeout_seconds=120)
        counts = {name: len(self.replies[name]) for name in self.sessions}
        requests = len(self.requests)
        await until(
            lambda: all(len(self.replies[name]) > counts[name] + 3 for name in self.sessions), timeout_seconds=60
        )
        await until(lambda: len(self.requests) > requests + 3, timeout_seconds=60)

    async def end(self) -> None:
        """Stops sending and checks that everything confirmed came, in order, each position once."""
        self._going = False
        await asyncio.gather(*self._tasks)
        for name in self.sessions:
            expected = [b"%06d" % number for number in range(self.sent[name])]
            await until(lambda name=name, last=expected[-1]: last in self.replies[name], timeout_seconds=60)
            assert self.positions[name] == list(range(len(self.positions[name]))), "positions: each once, in order"
            assert self.replies[name] == expected
        expected = [b"%06d" % number for number in range(self.sent["partition"])]
        await until(lambda: expected[-1] in self.requests, timeout_seconds=60)
        assert self.requests == expected


def _reply(number: int) -> bytes:
    return DownEnvelope(1, 1, [AudioDelta("r1", "i1", b"%06d" % number)], id=MessageId(1, number + 1)).encode()


def _request(number: int) -> bytes:
    audio = [Audio(b"%06d" % number)]
    return UpEnvelope("s_1", 1, number, 0, [*audio], snapshot=None if number else Snapshot()).encode()


@pytest.fixture(scope="module")
def rocketmq(own_rocketmq: LocalRocketMQ) -> LocalRocketMQ:
    return own_rocketmq


@pytest.fixture
async def traffic(kit: Any, rocketmq: LocalRocketMQ) -> AsyncIterator[Traffic]:
    traffic = Traffic(kit)
    await traffic.start()
    yield traffic
    await asyncio.to_thread(rocketmq.start)  # whatever a failed test left stopped
    for task in traffic._tasks:
        task.cancel()


@pytest.mark.timeout(420)
async def test_broker_kill_9_and_restart(traffic: Traffic, rocketmq: LocalRocketMQ) -> None:
    await asyncio.to_thread(rocketmq.broker.kill)
    await until(lambda: not traffic.producer.ready)
    assert traffic.producer.unready_reason
    started = time.monotonic()
    await asyncio.to_thread(rocketmq.broker.start)
    back = time.monotonic()
    await traffic.goes_on()
    seconds = time.monotonic() - back
    print(f"\nbroker restart: all goes on {seconds:.1f} s after it registered")
    assert seconds < GOES_ON_SECONDS
    await until(lambda: traffic.producer.ready and traffic.channel.ready)
    await traffic.end()
    await until(lambda: time.monotonic() - started > SPINS_SECONDS / 2)
    assert _thread_cpu_seconds(rocketmq.broker.pid, "TransactionFlushService") < 1.0, "transactionMetricFlushInterval"


def _thread_cpu_seconds(pid: int, name: str) -> float:
    """proc_pid_task(5): names of threads are cut to 15 characters."""
    ticks = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        before, _, after = (thread / "stat").read_text().rpartition(")")
        if before.partition("(")[2] == name[:15]:
            ticks += sum(map(int, after.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def test_trap_a_broker_that_missed_its_registration_can_be_told_to_register(
    admin: Admin, names: Names, rocketmq: LocalRocketMQ
) -> None:
    """By itself it would do so 10 s after its start, and every 30 s."""
    fields = {"brokerName": "broker-a", "clusterName": "DefaultCluster", "brokerId": 0}
    unregister = 104
    client = admin.cluster.client(rocketmq.name_server)
    registered = True
    while registered:  # again, should it have registered by itself just then
        await client.call(unregister, {**fields, "brokerAddr": rocketmq.broker.address})
        for _ in range(200):  # the name server collects such requests
            registered = bool(await asyncio.to_thread(rocketmq.registered_brokers))
            if not registered:
                break
            await asyncio.sleep(0.02)
    assert await admin.offsets(names.partition_topic(0), names.worker_group) == (0, 0), "asked where it was last"
    await rocketmq.broker.register()
    assert await asyncio.to_thread(rocketmq.registered_brokers) == ["broker-a"]


@pytest.mark.timeout(420)
async def test_proxy_kill_9_and_restart(traffic: Traffic, rocketmq: LocalRocketMQ) -> None:
    await asyncio.to_thread(rocketmq.proxy.kill)
    await until(lambda: not traffic.producer.ready and not traffic.channel.ready)
    assert rocketmq.proxy.address in traffic.channel.unready_reason
    with pytest.raises(BrokerUnavailable):
        await traffic.channel.take_over("s-unreachable", 0)
    await asyncio.to_thread(rocketmq.proxy.start)
    back = time.monotonic()
    await traffic.goes_on()
    print(f"\nproxy restart: all goes on {time.monotonic() - back:.1f} s after it listens")
    assert traffic.channel.position("s-unreachable") is None
    await traffic.end()


@pytest.mark.timeout(420)
async def test_a_client_whose_proxy_died_asks_once_for_all_it_owns(
    kit: Any, rocketmq: LocalRocketMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each LiteTopic: before the first full sync over the new link one question, after it each once."""
    questions: Counter[int] = Counter()
    call = RemotingClient.call

    async def counted(self: RemotingClient, code: int, *arguments: Any) -> Any:
        questions[code] += 1
        return await call(self, code, *arguments)

    channel = await kit.channel(lambda delivery: None)
    producer = await kit.producer()
    names = [f"s-{secrets.token_hex(4)}" for _ in range(250)]
    await channel.subscribe(names)
    monkeypatch.setattr(RemotingClient, "call", counted)
    await asyncio.to_thread(rocketmq.proxy.kill)
    await until(lambda: not channel.ready)
    await asyncio.to_thread(rocketmq.proxy.start)
    await until(lambda: channel.ready)
    assert questions[200077] >= 1
    await until(lambda: questions[200076] >= len(names))
    await until(lambda: channel._ownership.idle)
    # On a busy machine the link may break again, and the question before the next full sync is one more.
    assert len(names) <= questions[200076] < (questions[200077] + 1) * len(names), questions
    assert channel.owned == len(names)
    await send_lite(producer, kit.names.reply_topic, names[0], b"0")
    await until(lambda: channel.position(names[0]) == 1)


@pytest.mark.timeout(420)
async def test_frozen_proxy_is_left_and_nothing_is_lost(traffic: Traffic, rocketmq: LocalRocketMQ) -> None:
    rocketmq.proxy.freeze()
    try:
        await until(lambda: not traffic.channel.ready, timeout_seconds=60)
    finally:
        rocketmq.proxy.thaw()
    await traffic.goes_on()
    await traffic.end()


@pytest.mark.timeout(420)
async def test_absent_proxy_at_start_is_waited_for(kit: Any, rocketmq: LocalRocketMQ) -> None:
    await asyncio.to_thread(rocketmq.proxy.kill)
    try:
        seen: list[Delivery] = []
        changes: list[bool] = []
        channel = LiteChannel(
            kit.config("early"),
            kit.names.reply_topic,
            kit.names.gateway_group,
            on_delivery=seen.append,
            on_evicted=lambda name: None,
            admin=kit.admin,
        )
        kit.closed_later(channel)
        channel.on_health(lambda: changes.append(channel.ready))
        await channel.start()
        await until(lambda: "endpoints: cannot reach proxy" in channel.unready_reason)
        with pytest.raises(BrokerUnavailable, match="not ready after"):
            await channel.wait_ready(0.2)
    finally:
        await asyncio.to_thread(rocketmq.proxy.start)
    await channel.wait_ready(60)
    assert channel.unready_reason == ""
    assert changes[-1] is True
    await channel.subscribe(["s-early"])
    producer = await kit.producer()
    await send_lite(producer, kit.names.reply_topic, "s-early", b"x")
    await until(lambda: len(seen) == 1)


@pytest.mark.timeout(420)
async def test_a_proxy_that_ends_at_its_start_is_started_again(rocketmq: LocalRocketMQ, kit: Any) -> None:
    """It asks the name server about its own topic and ends when there is no answer in 3 s."""
    proxy = rocketmq.add_proxy()
    rocketmq.name_server_part.freeze()
    try:
        start = asyncio.create_task(asyncio.to_thread(proxy.start))
        try:
            await until(lambda: start.done() or "failed on cluster" in last_lines(proxy.log), timeout_seconds=120)
        finally:
            rocketmq.name_server_part.thaw()
        await start
        assert proxy.running
    finally:
        rocketmq.proxy_parts.remove(proxy)
        proxy.kill()


async def test_missing_topic_at_start_is_waited_for(kit: Any, admin: Admin) -> None:
    topic = f"{kit.names.request_topic}-later"
    producer = Producer(kit.config("early"), [topic])
    kit.closed_later(producer)
    await producer.start()
    await until(lambda: topic in producer.unready_reason)
    await admin.ensure_fifo_topic(topic)
    await producer.wait_ready(60)
    await send_fifo(producer, topic, "g", {}, b"x")


@pytest.mark.timeout(420)
async def test_eviction_during_a_lost_link_is_found_out_after_it(
    kit: Any, admin: Admin, rocketmq: LocalRocketMQ
) -> None:
    """Two proxies; the first owner's one is frozen while another owner takes over through the second."""
    lost: list[int] = []
    evicted: list[str] = []
    replies: list[Delivery] = []
    reply_topic = kit.names.reply_topic
    first = Fence(kit.config("first"), kit.names, on_lost=lost.append, admin=admin)
    sessions = await kit.channel(replies.append, evicted.append, config=kit.config("first"))
    other_proxy = rocketmq.add_proxy()
    try:
        await first.start()
        await first.wait_ready(60)
        await first.acquire(0)
        await first.acquire(1)
        await sessions.subscribe(["s-kept", "s-taken"])
        await asyncio.to_thread(other_proxy.start)
        config = kit.config("second", endpoints=other_proxy.address)
        second = Fence(config, kit.names, on_lost=lambda partition: None, admin=admin)
        await second.start()
        await second.wait_ready(60)
        taken: list[Delivery] = []
        taker = kit.config("second", endpoints=other_proxy.address)
        other = await kit.channel(taken.append, config=taker)
        producer = await kit.producer(config=kit.config("producer", endpoints=other_proxy.address))
        rocketmq.proxy.freeze()
        try:
            await until(lambda: not first.ready and not sessions.ready, timeout_seconds=60)
            await second.acquire(1)
            await other.take_over("s-taken", 0)
        finally:
            rocketmq.proxy.thaw()
        await until(lambda: lost == [1] and evicted == ["s-taken"], timeout_seconds=60)
        await sessions.wait_ready(60)
        for name in ("s-kept", "s-taken"):
            await send_lite(producer, reply_topic, name, b"after it")
        await until(lambda: replies and taken)
        assert [delivery.name for delivery in replies] == ["s-kept"]
        assert [delivery.name for delivery in taken] == ["s-taken"]
        assert sessions.position("s-taken") is None
        await first.wait_ready(60)
        assert first.owns(0)
        assert not first.owns(1)
        assert second.owns(1)
        info = await admin.lite_topic(kit.names.control_topic, kit.names.fence(1), kit.names.fence_group)
        assert info is not None
        assert [client.split("@")[0] for client in info.subscribers] == ["second"]

        async def is_the_takers() -> bool:  # who claims it again is not listed for a moment
            info = await admin.lite_topic(reply_topic, "s-taken", kit.names.gateway_group)
            return info is not None and info.subscribers == [str(taker.client_id)]

        await until(is_the_takers, timeout_seconds=10)
        await first.close()
        await second.close()
    finally:
        rocketmq.proxy_parts.remove(other_proxy)
        other_proxy.kill()


async def test_parts_start_from_the_classes_of_an_earlier_start(rocketmq: LocalRocketMQ, tmp_path: Path) -> None:
    """`rocketmq` has started before, and has left an archive."""
    own = LocalRocketMQ(tmp_path / "rocketmq")
    part = own.name_server_part
    archive = class_archive.path(own.lib, part._main)
    if archive is None:
        pytest.skip("no jcmd beside java")
    try:
        await asyncio.to_thread(part.start)
        assert part._process is not None
        assert str(archive) in Path(f"/proc/{part._process.pid}/maps").read_text()
    finally:
        own.kill()


async def test_what_is_sent_and_read_while_the_proxy_knows_neither_topic_nor_group(
    kit: Any, rocketmq: LocalRocketMQ
) -> None:
    """After a restart of the name server a proxy knows the partition sooner than group and type. It read without
    the order lock then: what its reader did not acknowledge in time went to a retry topic that nobody reads. And it
    refused what was sent, as of the wrong type."""
    producer = await kit.producer()
    await send_fifo(producer, kit.names.partition_topic(0), "g", {}, b"locked")
    first, second = (PartitionClient(kit.config(pod), kit.names) for pod in ("first", "second"))
    sender = Sender(kit.config("sender"), kit.names.partition_topic(1))
    refusals: set[str] = set()

    async def sent() -> bool:
        try:
            await sender.send("")
        except BrokerError as error:
            refusals.add(str(error))
            return False
        return True

    async def sends() -> None:
        while True:
            await sent()
            await asyncio.sleep(0.02)

    async def answer() -> list[int] | str:
        try:
            return positions(await second.poll())
        except BrokerError as error:
            return str(error)

    async def knows_nothing() -> bool:
        return "No topic route" in str(await answer())

    sending = asyncio.create_task(sends())
    try:
        await asyncio.gather(first.start(), second.start(), sender.start())
        assert positions(await first.poll(invisible=300.0)) == [0]
        for _ in range(10):  # the broker registers every 10 s, on a busy machine before the proxy has asked
            await asyncio.to_thread(rocketmq.name_server_part.kill)
            await asyncio.to_thread(rocketmq.name_server_part.start)
            with contextlib.suppress(AssertionError):
                await until(knows_nothing, timeout_seconds=12)
                break
        else:
            pytest.fail("the proxy never believed that there is no topic")
        await asyncio.sleep(1.5)  # nor a group: it remembers that for a second
        await rocketmq.broker.register()
        found: list[list[int]] = []

        async def polled() -> bool:
            polled = await answer()
            if isinstance(polled, list):
                found.append(polled)
            return bool(found)

        await until(polled, "the proxy knows the topic again", 60)
        assert found == [[]], "the first still has the lock"
        await until(sent, lambda: f"a message is taken again, not {refusals}", 60)
        assert refusals, "or nothing was tried"
        assert not [refusal for refusal in refusals if "CONFLICT_WITH_TYPE" in refusal]
    finally:
        sending.cancel()
        await asyncio.gather(sending, first.close(), second.close(), sender.close(), return_exceptions=True)


@pytest.mark.timeout(420)
async def test_a_name_server_that_waits_for_brokers_is_not_missed(traffic: Traffic, rocketmq: LocalRocketMQ) -> None:
    """The last test here: no new topic is found for 15 s, and no proxy starts."""
    await asyncio.to_thread(rocketmq.name_server_part.kill)
    with (rocketmq.folder / "conf" / "namesrv.conf").open("a") as settings:
        settings.write("needWaitForService=true\nwaitSecondsForService=15\n")
    await asyncio.to_thread(rocketmq.name_server_part.start)
    began, unknown, slowest = time.monotonic(), 0, 0.0
    while time.monotonic() - began < 4.0:  # proxies ask it every second
        unknown += not await asyncio.to_thread(rocketmq.registered_brokers)
        sent = time.monotonic()
        await traffic.goes_on()
        slowest = max(slowest, time.monotonic() - sent)
    assert unknown, "the broker had registered again before anybody asked"
    assert slowest < 8.0, "it takes the broker 10 s to register"
    await traffic.end()
