"""What takes RocketMQ seconds by itself. These run beside one another."""

from __future__ import annotations

import asyncio

from litevoice_broker.lite.receiver import INVISIBLE_SECONDS
from tests.conformance.client import LONG_POLL_SECONDS, Party, positions
from tests.waiting import until

N = "session-n"


def _now() -> float:
    return asyncio.get_running_loop().time()


async def what_is_not_acknowledged_comes_again_in_its_time_and_its_receipts_have_run_out(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await sender.send(N, 3)
    await a.take_over(N)
    taken = _now()
    old = await a.read(N)
    await a.acknowledge(old[:1])
    await b.subscribe(N)
    again = await b.read(N)
    assert INVISIBLE_SECONDS - 0.5 < _now() - taken < INVISIBLE_SECONDS + 3.0
    assert positions(again) == [1, 2]
    assert await a.acknowledge(old[1:]) == {False}
    assert await b.acknowledge(again) == {True}


async def an_order_lock_ends_in_its_time_and_its_receipts_have_run_out(party: Party) -> None:
    a, b, sender = await party.partition("a"), await party.partition("b"), await party.partition_sender()
    await sender.send_together("", 3)
    taken = _now()
    old = await a.poll()
    await a.acknowledge(old[:1])
    again = await b.poll() or await b.poll() or await b.poll()
    assert INVISIBLE_SECONDS - 0.5 < _now() - taken < INVISIBLE_SECONDS + 3.0
    assert positions(again) == [1, 2]
    assert await a.acknowledge(old[1:]) == {False}
    assert await party.offsets() == (3, 1)


async def a_reset_wakes_no_open_poll_but_its_end_looks_once_more(party: Party) -> None:
    a, b, sender = await party.partition("a"), await party.partition("b"), await party.partition_sender()
    await sender.send_together("", 3)
    await a.poll()
    began = _now()
    poll = asyncio.create_task(b.poll())
    await asyncio.sleep(0.5)
    await party.reset()
    assert positions(await poll) == [0, 1, 2]
    assert _now() - began > LONG_POLL_SECONDS - 0.5


async def a_poll_without_messages_ends_after_its_time_which_has_a_minimum(party: Party) -> None:
    a, b = await party.lite("a"), await party.partition("b")
    began = _now()
    assert tuple(await asyncio.gather(a.poll(seconds=1.0), b.poll(seconds=1.0))) == ([], [])
    assert LONG_POLL_SECONDS - 0.5 < _now() - began < LONG_POLL_SECONDS + 1.5


async def expiry_drops_messages_and_subscription_and_tells_nobody(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await a.take_over(N)
    await sender.send(N, 2)
    assert positions(await a.read(N, 2)) == [0, 1]
    await party.place.expire()

    async def expired() -> bool:
        return await party.admin.lite_topic(a.topic, N, a.group) is None

    await until(expired, "the LiteTopic has expired", 20)
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == set()
    await sender.send(N)
    assert await a.comes_first(sender) == []
    await a.full_sync(N)
    assert positions(await a.read(N)) == [0]
    assert a.notices == []
