"""What a kill -9 leaves. Each trap yields until the broker has written what it writes every five or ten seconds, until
the broker was killed and is back, and maybe until the proxy was killed.

Not here: that an order lock that was written is kept. As a rule it is, and in the model always; on a busy machine
RocketMQ has handed the messages out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from litevoice_broker import stubs
from tests.conformance.client import Party, positions, refused

N = "session-n"


async def messages_are_kept_and_subscriptions_forgotten(party: Party) -> AsyncIterator[None]:
    a, sender = await party.lite("a"), await party.sender()
    yield
    await a.subscribe(N)
    await sender.send(N, 2)
    yield
    assert await party.subscribers(N) == set()
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == set()
    await a.full_sync(N)
    assert positions(await a.read(N, 2)) == [0, 1]
    assert a.notices == []


async def blocks_of_lite_topics_are_gone(party: Party) -> AsyncIterator[None]:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    yield
    await sender.send(N, 3)
    await a.take_over(N)
    assert positions(await a.read(N, 3)) == [0, 1, 2]
    yield
    await b.full_sync(N)
    assert positions(await b.read(N, 3)) == [0, 1, 2]


async def receipts_of_before_commit_all_before_them(party: Party) -> AsyncIterator[None]:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    yield
    await sender.send(N, 3)
    await a.take_over(N)
    batch = await a.poll(invisible=300.0)
    assert positions(batch) == [0, 1, 2]
    yield
    assert await a.acknowledge(batch[2:]) == {True}
    await sender.send(N)
    await b.full_sync(N)
    assert positions(await b.read(N)) == [3]


async def acknowledgements_of_the_last_seconds_are_forgotten_those_before_are_not(party: Party) -> AsyncIterator[None]:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await sender.send(N, 2)
    await a.take_over(N)
    await a.acknowledge(await a.read(N, 2))
    yield
    await sender.send(N, 2)
    await a.acknowledge(await a.read(N, 2))
    yield
    await b.full_sync(N)
    assert positions(await b.read(N, 2)) == [2, 3]


async def offsets_of_the_last_seconds_are_forgotten_those_before_are_not(party: Party) -> AsyncIterator[None]:
    a, sender = await party.partition("a"), await party.partition_sender()
    await sender.send_together("", 2)
    await a.read(2)
    yield
    await sender.send_together("", 2)
    await a.read(2)
    assert await party.offsets() == (4, 4)
    yield
    assert await party.offsets() == (4, 2)
    assert positions(await a.read(2)) == [2, 3]


async def an_order_lock_that_was_not_written_is_gone_and_its_receipts_commit(party: Party) -> AsyncIterator[None]:
    a, b, sender = await party.partition("a"), await party.partition("b"), await party.partition_sender()
    yield
    await sender.send_together("", 3)
    old = await a.poll(invisible=300.0)
    assert positions(old) == [0, 1, 2]
    yield
    assert await a.acknowledge(old[1:2]) == {True}
    assert await party.offsets() == (3, 2)
    assert positions(await b.poll()) == [2]


async def open_polls_fail_at_once(party: Party) -> AsyncIterator[None]:
    a, b = await party.lite("a"), await party.partition("b")
    yield
    polls = [asyncio.create_task(client.poll()) for client in (a, b)]
    await asyncio.sleep(0.2)  # by now they have come to the broker
    yield
    assert all(poll.done() for poll in polls)
    assert [await refused(poll) for poll in polls] == [stubs.definition.INTERNAL_SERVER_ERROR] * 2


async def subscriptions_outlive_their_proxy(party: Party) -> AsyncIterator[None]:
    a = await party.lite("a")
    yield
    yield
    await a.subscribe(N)
    yield
    await asyncio.sleep(1.0)
    assert await party.subscribers(N) == {"a"}
