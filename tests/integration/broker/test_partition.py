"""What producer and partition consumer promise: order under coalescing, nothing lost by leaving, quick hand-over."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from litevoice_broker.admin import HEARTBEAT_SYNC_GROUP, Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.errors import BrokerError, BrokerUnavailable, Overloaded
from litevoice_broker.partition_consumer import INVISIBLE_SECONDS, PartitionMessage
from litevoice_contracts.names import ClientId, Names
from tests.conformance.client import PartitionClient
from tests.integration.sending import send_fifo
from tests.waiting import until

PROCESSES = Path(__file__).with_name("processes")


class Worker:
    """Keeps what its handler took."""

    def __init__(self) -> None:
        self.messages: list[PartitionMessage] = []

    async def handle(self, messages: Sequence[PartitionMessage]) -> None:
        self.messages += messages

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]


class Requests:
    """Counts send requests."""

    def __init__(self) -> None:
        self.requests = self.messages = 0

    def on_send(self, kind: str, seconds: float, messages: int) -> None:
        self.requests += 1
        self.messages += messages

    def on_send_error(self, kind: str) -> None: ...

    def on_reconnect(self) -> None: ...

    def on_heal(self) -> None: ...


async def test_order_of_every_session_under_coalescing(kit: Any) -> None:
    count, sessions = 3000, 20
    worker, requests = Worker(), Requests()
    await kit.consumer(0, worker.handle)
    producer = await kit.producer(observer=requests)
    topic = kit.names.partition_topic(0)
    outcomes: list[BaseException | None] = []
    for number in range(count):
        producer.enqueue_fifo(topic, f"s{number % sessions}", {"n": str(number)}, b"%d" % number, outcomes.append)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(outcomes) == count, timeout_seconds=60)
    assert outcomes == [None] * count
    await until(lambda: len(worker.messages) >= count, timeout_seconds=60)
    assert worker.bodies == [b"%d" % number for number in range(count)]
    assert [message.offset for message in worker.messages] == list(range(count))
    assert worker.messages[7].properties["n"] == "7"
    assert requests.messages == count
    assert requests.requests <= count / 16, "messages that wait for one partition share a request"


async def test_send_confirms_and_partitions_are_independent(kit: Any) -> None:
    workers = [Worker(), Worker()]
    for partition, worker in enumerate(workers):
        await kit.consumer(partition, worker.handle)
    producer = await kit.producer()
    for number in range(5):
        for topic in kit.names.partition_topics:
            await send_fifo(producer, topic, "group", {}, b"%d" % number)
    for worker in workers:
        await until(lambda worker=worker: len(worker.messages) == 5)
        assert worker.bodies == [b"%d" % number for number in range(5)]


async def test_bound_of_pending_messages(kit: Any) -> None:
    producer = await kit.producer(max_pending_messages=10)
    topic = kit.names.partition_topic(0)
    outcomes: list[BaseException | None] = []
    for ten in range(0, 40, 10):
        for number in range(ten, ten + 10):
            producer.enqueue_fifo(topic, "g", {}, b"%d" % number, outcomes.append)
        with pytest.raises(Overloaded):
            producer.enqueue_fifo(topic, "g", {}, b"one too many", outcomes.append)
        await until(lambda ten=ten: len(outcomes) == ten + 10)
    assert outcomes == [None] * 40
    worker = Worker()
    await kit.consumer(0, worker.handle)
    await until(lambda: len(worker.messages) == 40)
    assert worker.bodies == [b"%d" % number for number in range(40)]


async def test_bad_messages_are_refused_and_hold_up_nobody(kit: Any) -> None:
    producer = await kit.producer(max_pending_messages=3)
    topic = kit.names.partition_topic(0)
    for body in (b"", bytes(4 * 1024 * 1024 + 1)):
        with pytest.raises(BrokerError, match="body: expected 1 to 4194304 bytes"):
            await send_fifo(producer, topic, "g", {}, body)
    results = await asyncio.gather(
        send_fifo(producer, topic, "g", {}, b"before"),
        send_fifo(producer, topic, "g", {"big": "x" * 20_000}, b"properties too large"),
        send_fifo(producer, topic, "g", {}, b"after"),
        return_exceptions=True,
    )
    assert results[0] is results[2] is None
    assert isinstance(results[1], BrokerError)
    assert not isinstance(results[1], BrokerUnavailable)
    await asyncio.gather(*(send_fifo(producer, topic, "g", {}, b"takes the room of the three") for _ in range(3)))


async def test_unknown_topic_is_given_up_with_its_name(kit: Any) -> None:
    producer = await kit.producer(give_up_seconds=0.5)
    with pytest.raises(BrokerUnavailable, match=r"not confirmed within 0\.5 s"):
        await send_fifo(producer, "no-such-topic", "g", {}, b"x")


async def test_close_fails_what_was_not_sent(kit: Any) -> None:
    producer = await kit.producer()
    sending = asyncio.create_task(send_fifo(producer, kit.names.partition_topic(0), "g", {}, b"last words"))
    await asyncio.sleep(0)
    await producer.close()
    await sending  # close waits for what is pending
    with pytest.raises(BrokerUnavailable, match="closed"):
        await send_fifo(producer, kit.names.partition_topic(0), "g", {}, b"too late")


async def test_trap_leaving_with_an_open_poll_swallows_nothing(kit: Any) -> None:
    producer = await kit.producer()
    topic = kit.names.partition_topic(0)
    sending = True
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sending:
            await send_fifo(producer, topic, f"s{sent % 5}", {}, b"%d" % sent)
            sent += 1
            await asyncio.sleep(0.01)

    task = asyncio.create_task(send())
    workers = []
    for _ in range(4):
        worker = Worker()
        workers.append(worker)
        consumer = await kit.consumer(0, worker.handle)
        await until(lambda worker=worker: len(worker.messages) > 10)
        await consumer.leave()
    sending = False
    await task
    last = Worker()
    await kit.consumer(0, last.handle)
    started = time.monotonic()
    await until(lambda: sum(len(w.messages) for w in [*workers, last]) >= sent)
    assert time.monotonic() - started < 8, "a message was swallowed and came only after its invisible time"
    bodies = [body for worker in [*workers, last] for body in worker.bodies]
    assert bodies == [b"%d" % number for number in range(sent)]


async def test_trap_order_lock_of_a_killed_worker_is_freed_at_once(kit: Any, admin: Admin) -> None:
    producer = await kit.producer()
    topic, group = kit.names.partition_topic(0), kit.names.worker_group
    victim = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROCESSES / "partition_worker.py"),
        kit.endpoints,
        topic,
        group,
        stdout=asyncio.subprocess.PIPE,
    )
    assert victim.stdout is not None
    assert await asyncio.wait_for(victim.stdout.readline(), 60) == b"ready\n"
    for number in range(8):
        await send_fifo(producer, topic, f"s{number % 3}", {}, b"%d" % number)
    assert (await asyncio.wait_for(victim.stdout.readline(), 60)).startswith(b"holds 0")
    victim.kill()
    await victim.wait()
    assert (await admin.partition_lag(kit.names))[0].lag == 8
    started = time.monotonic()
    assert await admin.reset_offset_to_committed(topic, group) == 0
    worker = Worker()
    await kit.consumer(0, worker.handle)
    await until(lambda: len(worker.messages) >= 8)
    seconds = time.monotonic() - started
    assert worker.bodies == [b"%d" % number for number in range(8)]
    assert seconds < 8, f"{seconds:.1f} s: the dead worker's lock was not freed"
    await send_fifo(producer, topic, "s0", {}, b"8")
    await until(lambda: len(worker.messages) >= 9)


async def test_trap_a_lock_that_a_forgotten_poll_took_is_freed_when_nothing_comes(kit: Any, admin: Admin) -> None:
    """As when a poll is given up and repeated by another proxy, and the broker hands the messages to the first."""
    producer, worker = await kit.producer(), Worker()
    topic, group = kit.names.partition_topic(0), kit.names.worker_group
    await kit.consumer(0, worker.handle)

    sent = 0

    async def committed() -> bool:
        return await admin.offsets(topic, group) == (sent, sent)

    forgotten = PartitionClient(BrokerConfig(kit.endpoints, ClientId.new("forgotten", "127.0.0.1", "test")), kit.names)
    await forgotten.start()
    try:
        lost: list[Any] = []
        poll: asyncio.Task[list[Any]] | None = None
        while not lost:  # both poll; one of them gets it
            if poll is None or poll.done():
                poll = asyncio.create_task(forgotten.poll())
                await asyncio.sleep(0.2)
            await send_fifo(producer, topic, "s", {}, b"%d" % sent)
            sent += 1
            await until(lambda now=sent, opened=poll: len(worker.messages) == now or opened.done())
            lost = poll.result() if poll.done() else []
        started = time.monotonic()
        await until(lambda: len(worker.messages) == sent)
        assert time.monotonic() - started < INVISIBLE_SECONDS / 2
        assert worker.bodies == [b"%d" % number for number in range(sent)]
        await until(committed)
    finally:
        await forgotten.close()


async def test_failing_handler_gets_the_batch_again_and_nothing_is_acknowledged(kit: Any, admin: Admin) -> None:
    seen: list[list[bytes]] = []

    async def handle(messages: Sequence[PartitionMessage]) -> None:
        seen.append([message.body for message in messages])
        if len(seen) < 4:
            assert await admin.offsets(topic, kit.names.worker_group) == (1, 0)
            raise RuntimeError("from the test")

    producer = await kit.producer()
    topic = kit.names.partition_topic(0)
    await send_fifo(producer, topic, "g", {}, b"a")
    await kit.consumer(0, handle)
    await until(lambda: len(seen) == 4)
    assert seen == [[b"a"]] * 4
    await send_fifo(producer, topic, "g", {}, b"b")
    await until(lambda: len(seen) == 5)
    assert seen[4] == [b"b"]


# --- admin


async def test_partition_lag_counts_and_ages(kit: Any, admin: Admin) -> None:
    producer = await kit.producer()
    for number in range(6):
        await send_fifo(producer, kit.names.partition_topic(1), "g", {}, b"%d" % number)
    sent = time.monotonic()
    await asyncio.sleep(0.5)
    empty, waiting = await admin.partition_lag(kit.names)
    assert (empty.lag, empty.oldest_seconds) == (0, None)
    assert (waiting.topic, waiting.lag) == (kit.names.partition_topic(1), 6)
    assert waiting.oldest_seconds is not None
    assert 0.4 <= waiting.oldest_seconds <= time.monotonic() - sent + 5
    worker = Worker()
    await kit.consumer(1, worker.handle)
    await until(lambda: len(worker.messages) == 6)
    async with asyncio.timeout(10):
        while (await admin.partition_lag(kit.names))[1].lag:
            await asyncio.sleep(0.05)


async def test_a_partition_that_is_removed_and_made_again_is_noticed(admin: Admin, names: Names) -> None:
    """Where it is was asked for once."""
    other = Names(f"{names.request_topic}-y", f"{names.reply_topic}-y", 1)
    await admin.ensure_names(other, expiration_minutes=30)
    for _ in range(2):
        assert [lag.lag for lag in await admin.partition_lag(other)] == [0]
        await admin.delete_names(other)
        for _ in range(2):
            with pytest.raises(BrokerError, match=other.partition_topic(0)):
                await admin.partition_lag(other)
        await admin.ensure_names(other, expiration_minutes=30)
    await admin.delete_names(other)


async def test_names_are_made_once_and_removed(admin: Admin, names: Names) -> None:
    other = Names(f"{names.request_topic}-x", f"{names.reply_topic}-x", 3)
    missing = await admin.names_exist(other)
    assert f"topic {other.partition_topic(2)}" in missing
    assert any(other.fence_group in entry for entry in missing)
    await admin.ensure_names(other, expiration_minutes=30)
    await admin.ensure_names(other, expiration_minutes=45)
    assert await admin.names_exist(other) == []
    await admin.delete_names(other)
    await admin.delete_names(other)
    missing = await admin.names_exist(other)
    assert len(missing) == 3 + 2 + 3
    assert not any(HEARTBEAT_SYNC_GROUP in entry for entry in missing)
    assert await admin.names_exist(names) == []


async def test_topic_of_another_form_is_refused_by_name(admin: Admin, names: Names) -> None:
    with pytest.raises(BrokerError, match=r"expected LITE; delete it first"):
        await admin.ensure_lite_topic(names.partition_topic(0), expiration_minutes=30)
    with pytest.raises(BrokerError, match=r"expected 1 queue and FIFO; delete it first"):
        await admin.ensure_fifo_topic(names.reply_topic)


async def test_unreachable_name_server_says_so() -> None:
    admin = Admin("127.0.0.1:1", timeout_seconds=2)
    with pytest.raises(BrokerUnavailable, match=r"nameServer: cannot reach 127\.0\.0\.1:1"):
        await admin.cluster.masters()
    await admin.close()
