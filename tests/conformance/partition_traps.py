"""A FIFO topic with one queue and an orderly group: the order lock, attempts, resets."""

from __future__ import annotations

import asyncio

from tests.conformance.client import PartitionClient, Party, Sender, positions, woken


async def _three(party: Party) -> tuple[PartitionClient, PartitionClient, Sender]:
    """Two consumers of a partition in which three messages wait."""
    sender = await party.partition_sender()
    await sender.send_together("", 3)
    return await party.partition("a"), await party.partition("b"), sender


async def one_batch_until_it_is_acknowledged(party: Party) -> None:
    a, b, sender = await _three(party)
    batch = await a.poll()
    assert positions(batch) == [0, 1, 2]
    poll = asyncio.create_task(b.poll())
    await sender.send_together("", 1)  # wakes the poll, which finds the lock
    assert await a.acknowledge(batch[:2]) == {True}
    assert not poll.done()
    assert await a.acknowledge(batch[2:]) == {True}
    assert positions(await poll or await b.poll()) == [3]


async def many_messages_of_one_request_come_in_order_32_at_a_time(party: Party) -> None:
    sender = await party.partition_sender()
    await sender.send_together("", 40)
    a = await party.partition("a")
    batch = await a.poll()
    assert positions(batch) == list(range(32))
    await a.acknowledge(batch)
    assert positions(await a.poll()) == list(range(32, 40))


async def the_attempt_that_has_the_lock_gets_its_batch_again(party: Party) -> None:
    a, _, _ = await _three(party)
    lost = await a.poll("attempt-1")
    again = await a.poll("attempt-1")
    assert positions(lost) == positions(again) == [0, 1, 2]
    assert await a.acknowledge(again) == {True}
    assert await party.offsets() == (3, 3)


async def only_the_last_poll_of_an_attempt_can_be_acknowledged(party: Party) -> None:
    a, _, _ = await _three(party)
    first = await a.poll("attempt-1")
    await asyncio.sleep(0.01)  # the lock is known by the millisecond of its poll
    again = await a.poll("attempt-1")
    assert await a.acknowledge(first) == {True}
    assert await party.offsets() == (3, 0)
    assert await a.acknowledge(again) == {True}
    assert await party.offsets() == (3, 3)


async def an_attempt_that_is_repeated_brings_what_came_meanwhile(party: Party) -> None:
    a, _, sender = await _three(party)
    await a.poll("attempt-1")
    await sender.send_together("", 1)
    assert positions(await a.poll("attempt-1")) == [0, 1, 2, 3]


async def what_is_acknowledged_from_the_beginning_is_committed(party: Party) -> None:
    a, b, _ = await _three(party)
    assert await party.offsets() == (3, 0)
    batch = await a.poll()
    await a.acknowledge(batch[1:2])
    assert await party.offsets() == (3, 0)
    await a.acknowledge(batch[:1])
    assert await party.offsets() == (3, 2)
    await a.hide(batch[2:], 0.05)
    assert positions(await b.poll()) == [2]


async def what_comes_again_comes_from_the_committed_position(party: Party) -> None:
    a, b, _ = await _three(party)
    batch = await a.poll()
    await a.acknowledge(batch[1:2])
    await a.hide([batch[0], batch[2]], 0.05)
    assert positions(await b.poll()) == [0, 1, 2]


async def a_reset_to_the_committed_position_frees_at_once_and_what_is_acknowledged_late_does_nothing(
    party: Party,
) -> None:
    a, b, _ = await _three(party)
    old = await a.poll()
    await a.acknowledge(old[:1])
    assert await party.reset() == 1
    assert await a.acknowledge(old[1:]) == {True}
    assert await party.offsets() == (3, 1)
    new = await b.poll()
    assert positions(new) == [1, 2]
    assert await a.acknowledge(old[1:]) == {True}
    assert await party.offsets() == (3, 1)
    assert await b.acknowledge(new) == {True}
    assert await party.offsets() == (3, 3)


async def a_consumer_that_is_gone_still_holds_the_lock(party: Party) -> None:
    a, b, _ = await _three(party)
    batch = await a.poll()
    await a.vanish()
    await b.hide(batch[:2], 0.05)
    poll = asyncio.create_task(b.poll())
    await asyncio.sleep(0.2)  # by now it has come to the broker, and has seen the lock
    await b.hide(batch[2:], 0.05)
    assert await woken(poll) == [0, 1, 2]


async def what_is_acknowledged_twice_is_taken_twice(party: Party) -> None:
    a, _, sender = await _three(party)
    batch = await a.poll()
    assert await a.acknowledge(batch) == {True}
    await sender.send("", 2)
    again = await a.poll()
    assert await a.acknowledge(batch) == {True}
    assert await party.offsets() == (5, 3)
    assert positions(again)[0] == 3


async def what_is_sent_twice_is_there_twice_with_the_senders_id(party: Party) -> None:
    a, sender = await party.partition("a"), await party.partition_sender()
    message_id = f"01{'AB' * 14}"
    assert await sender.send("", 2, message_id=message_id) == [0, 1]
    messages = await a.read(2)
    assert [one.system_properties.message_id for one in messages] == [message_id] * 2
    assert positions(messages) == [0, 1]


async def a_poll_of_a_link_that_was_cut_gets_a_message_that_comes_again_after_a_second(party: Party) -> None:
    a, b, sender = await party.partition("a"), await party.partition("b"), await party.partition_sender()
    poll = asyncio.create_task(a.poll())
    await asyncio.sleep(0.2)  # by now it has come to the broker
    await a.vanish()
    await asyncio.gather(poll, return_exceptions=True)
    await sender.send("")
    sent = asyncio.get_running_loop().time()
    assert positions(await b.poll()) == [0]
    assert asyncio.get_running_loop().time() - sent > 0.7
