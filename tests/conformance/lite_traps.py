"""LiteTopics in an Exclusive group: positions, blocks, and who is told what."""

from __future__ import annotations

import asyncio

import pytest

from litevoice_broker import stubs
from litevoice_broker.errors import BrokerError
from tests.conformance.client import LiteClient, Party, positions, refused, woken
from tests.waiting import until

N, M = "session-n", "session-m"


# --- positions and batches


async def positions_are_the_lite_topics_own_and_receipts_tell_others(party: Party) -> None:
    """A receipt's offset is that of the parent's queue, of which there are fewer than LiteTopics."""
    a, sender = await party.lite("a"), await party.sender()
    names = [f"session-{number}" for number in range(6)]
    receipts = [await sender.send(name, 2) for name in names]
    assert receipts != [[0, 1]] * len(names)
    for name in names:
        await a.take_over(name)
        assert positions(await a.read(name)) == [0, 1]


async def several_lite_messages_in_one_request_are_answered_ok_and_lost(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await a.subscribe(N)
    await sender.send_together(N, 3)
    assert await a.comes_first(sender) == []
    await sender.send(N)
    assert positions(await a.read(N)) == [0]


async def a_subscription_may_come_before_the_first_message(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await a.subscribe(N)
    info = await party.admin.lite_topic(party.names.reply_topic, N, party.names.gateway_group)
    assert info is not None
    assert (info.max_offset, info.subscribers) == (0, [a.id])
    await sender.send(N)
    assert positions(await a.read(N)) == [0]


async def two_steps_before_the_first_message_end_at_its_position(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await a.take_over(N)
    await sender.send(N)
    assert positions(await a.read(N)) == [0]


async def the_next_batch_comes_only_when_the_last_one_is_acknowledged(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N, 3)
    await a.take_over(N)
    batch = await a.read(N)
    assert positions(batch) == [0, 1, 2]
    await sender.send(N)
    assert await a.comes_first(sender) == []
    assert await a.acknowledge(batch[:2]) == {True}
    assert await a.comes_first(sender) == []
    poll = asyncio.create_task(a.poll())
    assert await a.acknowledge(batch[2:]) == {True}
    assert positions(await poll or await a.read(N)) == [3]  # the wake-up may have come before the poll: issue 11191


async def a_batch_has_32_messages_at_most(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N, 40)
    await a.take_over(N)
    batch = await a.read(N)
    assert positions(batch) == list(range(32))
    await a.acknowledge(batch)
    assert positions(await a.read(N)) == list(range(32, 40))


async def a_block_lasts_until_the_last_of_its_messages_is_visible(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N, 3)
    await a.take_over(N)
    batch = await a.read(N)
    await a.hide(batch[:2], 0.05)
    assert await a.comes_first(sender) == []
    await a.hide(batch[2:], 0.05)
    again = await a.read(N)
    assert positions(again) == [0, 1, 2]
    assert await a.acknowledge(again) == {True}


async def receipts_of_an_earlier_batch_do_nothing(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N, 2)
    await a.take_over(N)
    old = await a.read(N)
    await a.hide(old, 0.05)
    new = await a.read(N)
    assert positions(new) == [0, 1]
    assert await a.acknowledge(old) == {True}
    await sender.send(N)
    assert await a.comes_first(sender) == []
    assert await a.acknowledge(new) == {True}
    assert positions(await a.read(N)) == [2]


async def an_attempt_that_is_repeated_brings_its_batch_again_when_something_came(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N, 2)
    await a.take_over(N)
    assert positions(await a.poll("attempt-1")) == [0, 1]
    await sender.send(N)
    again = await a.poll("attempt-1")
    assert positions(again) == [0, 1, 2]
    assert await a.acknowledge(again) == {True}
    assert await a.comes_first(sender) == []


async def what_is_sent_twice_is_there_twice_with_the_senders_id(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    message_id = f"01{'AB' * 14}"
    await sender.send(N, 2, message_id=message_id)
    await a.take_over(N)
    messages = await a.read(N, 2)
    assert positions(messages) == [0, 1]
    assert {one.system_properties.message_id for one in messages} == {message_id}


async def what_is_too_large_too_long_or_for_nobody_is_refused(party: Party) -> None:
    a, sender, astray = await party.lite("a"), await party.sender(), await party.sender("no-such-topic")
    too_large = b" " * (4 * 1024 * 1024 + 1)
    assert await refused(sender.send(N, body=too_large)) == stubs.definition.MESSAGE_BODY_TOO_LARGE
    assert await refused(sender.send("n" * 65)) == stubs.definition.ILLEGAL_LITE_TOPIC
    assert await refused(a.subscribe("n" * 65)) == stubs.definition.ILLEGAL_LITE_TOPIC
    assert await refused(astray.send(N)) == stubs.definition.TOPIC_NOT_FOUND
    assert await refused(a.poll(invisible=9.9)) == stubs.definition.ILLEGAL_INVISIBLE_TIME
    await sender.send("n" * 64)
    await a.subscribe("n" * 64, N)
    assert positions(await a.read("n" * 64)) == [0]
    assert await a.comes_first(sender) == []


# --- offsets


async def one_call_at_the_committed_position_stays_blocked_and_two_free_it(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await sender.send(N, 3)
    await a.take_over(N)
    await a.acknowledge((await a.read(N))[:1])
    await b.subscribe(N, offset=1)
    assert await b.comes_first(sender) == []
    await b.subscribe(N, offset=0)
    await b.subscribe(N, offset=1)
    assert positions(await b.read(N)) == [1, 2]


async def a_reset_to_another_position_frees_at_once_and_what_is_acknowledged_late_does_nothing(party: Party) -> None:
    """The acknowledgement is answered OK."""
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await sender.send(N, 3)
    await a.take_over(N)
    old = await a.read(N)
    await b.subscribe(N, offset=1)
    new = await b.read(N)
    assert positions(new) == [1, 2]
    assert await a.acknowledge(old) == {True}
    await sender.send(N)
    assert await b.comes_first(sender) == []
    assert await b.acknowledge(new) == {True}
    assert positions(await b.read(N)) == [3]


async def a_position_beyond_the_end_is_corrected_when_somebody_polls(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await sender.send(N, 2)
    await a.subscribe(N, offset=7)
    assert await a.comes_first(sender) == []
    await sender.send(N)
    assert positions(await a.read(N)) == [2]
    await b.subscribe(N, offset=9)
    await sender.send(N)  # before anybody has polled: skipped
    assert await b.comes_first(sender) == []
    await sender.send(N)
    assert positions(await b.read(N)) == [4]


# --- who is told


async def every_subscriber_is_told_the_caller_included(party: Party) -> None:
    a, b, c = await party.lite("a"), await party.lite("b"), await party.lite("c")
    await a.subscribe(N)
    await a.subscribe(N)
    await until(lambda: a.notices == [N])
    assert await party.subscribers(N) == {"a"}
    await b.subscribe(N)
    await until(lambda: a.notices == [N, N])
    await c.subscribe(N)
    await until(lambda: b.notices == [N])
    assert (a.notices, c.notices) == ([N, N], [])


async def the_newest_subscriber_wins(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await a.subscribe(N)
    await b.subscribe(N)
    await until(lambda: a.notices == [N])
    assert await party.subscribers(N) == {"b"}
    await sender.send(N)
    assert await a.comes_first(sender) == []
    assert positions(await b.read(N)) == [0]


async def what_was_dispatched_before_an_eviction_still_comes(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await a.take_over(N)
    await sender.send(N)
    await b.take_over(N)
    assert positions(await a.poll()) == [0]
    assert await b.comes_first(sender) == []
    await b.take_over(N)
    assert positions(await b.read(N)) == [0]


async def what_was_dispatched_before_unsubscribing_still_comes(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await a.subscribe(N)
    await sender.send(N)
    await a.unsubscribe(N)
    assert positions(await a.poll()) == [0]


async def what_was_dispatched_to_who_takes_its_leave_goes_to_who_is_left(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await a.subscribe(N)
    await b.full_sync(N)
    await sender.send(N)
    poll = asyncio.create_task(b.poll())
    await a.close()
    assert await woken(poll) == [0]


async def one_of_several_that_are_listed_gets_a_message(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await a.subscribe(N)
    await b.full_sync(N)
    got: dict[str, list[int]] = {a.id: [], b.id: []}

    async def read(client: LiteClient) -> None:
        while sum(map(len, got.values())) < 20:
            messages = await client.poll()
            got[client.id] += positions(messages)
            if messages:
                await client.acknowledge(messages)

    readers = [asyncio.create_task(read(client)) for client in (a, b)]
    for number in range(20):
        await sender.send(N)
        await until(lambda number=number: sum(map(len, got.values())) == number + 1)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert sorted(got[a.id] + got[b.id]) == list(range(20))
    assert all(got.values())


async def who_subscribes_again_is_listed_by_lite_topic_only_and_stays_so_after_its_leave(party: Party) -> None:
    a, b = await party.lite("a"), await party.lite("b")
    await a.subscribe(N, M)
    await a.subscribe(N)
    assert await party.subscribers(N) == {"a"}
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == {M}
    await a.close()
    await party.listed(M)
    assert await party.subscribers(N) == {"a"}
    await b.subscribe(N)
    assert await party.subscribers(N) == {"b"}


async def a_full_sync_lists_again_who_has_subscribed_again(party: Party) -> None:
    a = await party.lite("a")
    await a.subscribe(N, M)
    await a.subscribe(N)
    await a.full_sync(N, M)
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == {N, M}
    await a.full_sync(M)
    assert await party.subscribers(N) == set()


async def who_unsubscribes_is_not_told_and_gets_nothing(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await a.subscribe(N)
    await a.unsubscribe(N)
    assert await party.subscribers(N) == set()
    await sender.send(N)
    assert await a.comes_first(sender) == []
    await b.subscribe(N)
    assert positions(await b.read(N)) == [0]
    assert a.notices == []


# --- full syncs


async def a_full_sync_drops_what_it_does_not_name(party: Party) -> None:
    a = await party.lite("a")
    await a.subscribe(N, M)
    await a.full_sync(M)
    assert (await party.subscribers(N), await party.subscribers(M)) == (set(), {"a"})
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == {M}


async def a_full_sync_evicts_nobody(party: Party) -> None:
    a, b = await party.lite("a"), await party.lite("b")
    await a.subscribe(N)
    await b.full_sync(N)
    assert await party.subscribers(N) == {"a", "b"}
    c = await party.lite("c")
    await c.subscribe(N)
    await until(lambda: a.notices == b.notices == [N], lambda: (a.notices, b.notices))
    assert await party.subscribers(N) == {"c"}


async def a_full_sync_puts_an_evicted_client_back(party: Party) -> None:
    a, b = await party.lite("a"), await party.lite("b")
    await a.subscribe(N)
    await b.subscribe(N)
    await until(lambda: a.notices == [N])
    await a.full_sync(N)
    assert await party.subscribers(N) == {"a", "b"}


async def a_full_sync_wakes_an_open_poll(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await sender.send(N)
    poll = asyncio.create_task(a.poll())
    await b.comes_first(sender)  # by now the poll has come to the broker
    await a.full_sync(N)
    assert await woken(poll) == [0]


async def neither_full_sync_nor_dispatch_free_a_block(party: Party) -> None:
    """Admin code 200079."""
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N)
    await a.take_over(N)
    await a.read(N)
    await a.full_sync(N)
    await party.admin.dispatch_lite_topics(party.names.reply_topic, a.group, a.id)
    assert await a.comes_first(sender) == []


async def a_full_sync_shows_in_the_next_poll(party: Party) -> None:
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N)
    await a.full_sync(N)
    assert positions(await a.poll()) == [0]


# --- clients that go


async def who_takes_its_leave_has_no_subscriptions(party: Party) -> None:
    a = await party.lite("a")
    await a.subscribe(N, M)
    await a.close()
    await party.listed(N)
    await party.listed(M)
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == set()


async def whose_link_is_cut_has_no_subscriptions_and_still_blocks(party: Party) -> None:
    a, b, sender = await party.lite("a"), await party.lite("b"), await party.sender()
    await sender.send(N, 2)
    await a.take_over(N)
    await a.read(N)
    await a.vanish()
    await party.listed(N)
    await b.subscribe(N)
    assert await b.comes_first(sender) == []
    await b.take_over(N)
    assert positions(await b.read(N)) == [0, 1]


async def whose_former_link_is_cut_has_no_subscriptions(party: Party) -> None:
    """Also those that came over its next link. It is not told."""
    a = await party.lite("a")
    await a.subscribe(N)
    again = await party.lite_again(a)
    await again.full_sync(N, M)
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == {N, M}
    await a.vanish()
    await party.listed(N)
    await party.listed(M)
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == set()
    assert again.notices == []


async def a_poll_of_a_link_that_was_cut_takes_a_message_that_then_blocks(party: Party) -> None:
    """Its proxy hands it back, but does not name the LiteTopic."""
    a, sender = await party.lite("a"), await party.sender()
    poll = asyncio.create_task(a.poll())
    await asyncio.sleep(0.2)  # by now it has come to the broker
    await a.vanish()
    await asyncio.gather(poll, return_exceptions=True)
    again = await party.lite_again(a)
    await again.subscribe(N)
    await sender.send(N)
    await asyncio.sleep(1.5)
    assert await again.comes_first(sender) == []
    await again.take_over(N)
    assert positions(await again.read(N)) == [0]


# --- what the admin protocol tells


async def one_lite_topic(party: Party) -> None:
    """Admin code 200076: it knows what nobody ever consumed, and answers for what never was."""
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N, 2)
    await a.subscribe(M)
    n, m, nothing = await party.admin.lite_topics(a.topic, [N, M, "never"], a.group)
    assert n is not None
    assert m is not None
    assert (n.max_offset, n.subscribers) == (2, [])
    assert (m.max_offset, m.subscribers) == (0, [a.id])
    assert nothing is None


async def what_never_was(party: Party) -> None:
    a = await party.lite("a")
    for ask in (a.connection.check_topic, a.connection.assignments):
        assert await refused(ask("no-such-topic")) == stubs.definition.TOPIC_NOT_FOUND
    with pytest.raises(BrokerError, match="topic no-such-topic does not exist"):
        await party.admin.offsets("no-such-topic", party.names.worker_group)


async def one_client(party: Party) -> None:
    """Admin code 200077."""
    a, b = await party.lite("a"), await party.lite("b")
    await a.subscribe(N, M)
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == {N, M}
    await b.subscribe(N)
    assert await party.admin.lite_topics_of(a.topic, a.group, a.id) == {M}
    assert await party.admin.lite_topics_of(a.topic, a.group, b.id) == {N}


async def lag_counts_nothing_where_nobody_ever_consumed(party: Party) -> None:
    """Admin code 200078."""
    a, sender = await party.lite("a"), await party.sender()
    await sender.send(N, 3)
    assert (await party.admin.lite_lag(a.group, 10)).total == 0
    await a.take_over(N)
    assert (await party.admin.lite_lag(a.group, 10)).total == 3
    batch = await a.read(N)
    await a.acknowledge(batch[:1])
    seen = await party.admin.lite_lag(a.group, 10)
    assert (seen.total, [(entry.name, entry.count) for entry in seen.by_count]) == (2, [(N, 2)])
    await a.acknowledge(batch[1:])
    assert (await party.admin.lite_lag(a.group, 10)).total == 0
