"""Who owns a LiteTopic when notices, full syncs, takeovers and heals race with one another."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection
from typing import Any

import pytest

from litevoice_broker.admin import Admin, LiteTopicInfo
from litevoice_broker.lite.commands import Listed
from litevoice_dev.ports import HOST, free_port
from litevoice_dev.rocketmq_jars import version
from tests.integration.broker.lite_owners import Log, new_name, owner, send, subscribers, synced
from tests.integration.gateway.process import Wire
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import until


def hold_notices(channel: Any) -> tuple[list[Any], Callable[[], None]]:
    """What is on its way from now on, and the function that lets it through."""
    held: list[Any] = []
    on_command = channel._connection._on_command
    channel._connection._on_command = held.append

    def let_through() -> None:
        channel._connection._on_command = on_command
        for command in held:
            on_command(command)

    return held, let_through


def noticed(held: list[Any]) -> list[str]:
    return [command.notify_unsubscribe_lite_command.lite_topic for command in held]


async def message(kit: Any) -> str:
    """Name of a new LiteTopic in which message 0 waits: a takeover that brings nothing is repeated after a second, and
    the broker lists nobody in the middle of it."""
    name = new_name()
    await send(await kit.producer(), kit, name, 0, 1)
    return name


async def take(kit: Any, channel: Any, log: Log, name: str) -> None:
    """Takes over, and message 0 has come."""
    log.positions[name].clear()
    await channel.take_over(name, 0)
    await until(lambda: log.positions[name] == [0])


async def test_trap_full_sync_never_brings_an_evicted_owner_back(kit: Any, admin: Admin) -> None:
    first, first_log = await owner(kit, "first", sync_seconds=0.1)
    second, second_log = await owner(kit, "second", sync_seconds=0.1)
    producer = await kit.producer()
    name = new_name()
    await first.take_over(name, 0)
    await send(producer, kit, name, 0, 3)
    await until(lambda: first_log.positions[name] == [0, 1, 2])
    await second.take_over(name, 3)
    await until(lambda: first_log.evicted == [name])
    assert first.position(name) is None
    await synced(first)  # after the one, if any, that was on its way and is taken back
    for number in range(3, 23):  # twenty messages, over at least ten full syncs of both
        await send(producer, kit, name, number, number + 1)
        await asyncio.sleep(0.05)
        assert await subscribers(admin, kit, name) == ["second"]
    await until(lambda: second_log.positions[name] == list(range(3, 23)))
    assert first_log.positions[name] == [0, 1, 2]
    assert second_log.evicted == []


async def test_a_reader_of_another_group_takes_nothing(kit: Any, admin: Admin) -> None:
    """The broker lists the subscribers of all groups. Who is in doubt after a full sync would go, for any of them."""
    others = f"{kit.names.reply_topic}-recorders"
    await admin.ensure_group(others, orderly=True, lite_bind_topic=kit.names.reply_topic, exclusive=True)
    channel, log = await owner(kit, "owner")
    reader, read = await owner(kit, "reader", group=others)
    producer = await kit.producer()
    name = new_name()
    try:
        for one in (channel, reader):
            await one.take_over(name, 0)
        for number in range(5):
            for one in (channel, reader):
                await synced(one)
                one._ownership.heal([name], time.monotonic())  # as after a lost acknowledgement
                one._carry_out()
            await send(producer, kit, name, number, number + 1)
            await until(lambda n=number: log.positions[name] == read.positions[name] == list(range(n + 1)))
        assert log.evicted == read.evicted == []
    finally:
        await reader.close()
        await admin.delete_group(others)


async def test_eviction_that_races_with_a_full_sync(kit: Any, admin: Admin) -> None:
    first, first_log = await owner(kit, "first")
    second, second_log = await owner(kit, "second")
    for round_number in range(15):
        name = await message(kit)
        await take(kit, first, first_log, name)
        await asyncio.gather(synced(first), take(kit, second, second_log, name), synced(first))
        await until(lambda name=name: name in first_log.evicted)
        await synced(first)
        assert await subscribers(admin, kit, name) == ["second"], f"round {round_number}"


async def test_a_takeover_that_waits_for_a_full_sync_does_not_evict_itself(kit: Any) -> None:
    """Subscribed by the sync, the takeover would bring its caller a notice, which on a busy machine comes late."""
    away = Admin("127.0.0.1:9")  # else it would ask about the notice, and find it out
    channel, log = await owner(kit, "a", admin=away)
    on_command, loop = channel._connection._on_command, asyncio.get_running_loop()
    channel._connection._on_command = lambda command: loop.call_later(0.3, on_command, command)
    producer = await kit.producer()
    names = [new_name() for _ in range(10)]
    for before, name in itertools.pairwise(names):  # the first one holds up the sync, the sync the second one
        await asyncio.gather(channel.take_over(before, 0), synced(channel), channel.take_over(name, 0))
    last = new_name()
    other, _ = await owner(kit, "b")
    await channel.take_over(last, 0)
    await other.take_over(last, 0)
    await until(lambda: last in log.evicted)  # notices do come, and in order
    assert log.evicted == [last]
    for name in names:
        await send(producer, kit, name, 0, 1)
    await until(lambda: all(log.positions[name] == [0] for name in names))
    await away.close()


async def test_a_notice_older_than_the_last_takeover_is_no_eviction(kit: Any, admin: Admin) -> None:
    first, first_log = await owner(kit, "first")
    second, second_log = await owner(kit, "second")
    producer = await kit.producer()
    notices, let_through = hold_notices(first)
    name = new_name()
    await first.take_over(name, 0)
    await second.take_over(name, 0)
    await until(lambda: notices)
    await first.take_over(name, 0)
    await until(lambda: second_log.evicted == [name])
    let_through()
    await send(producer, kit, name, 0, 5)
    await until(lambda: first_log.positions[name] == list(range(5)))
    assert first_log.evicted == []
    assert await subscribers(admin, kit, name) == ["first"]


async def test_taken_again_while_the_broker_is_asked_about_a_notice(kit: Any) -> None:
    first, first_log = await owner(kit, "first")
    second, second_log = await owner(kit, "second")
    ask = first._subscriptions.listed
    asked: list[dict[str, Listed]] = []
    taken = asyncio.Event()
    again: list[asyncio.Task[None]] = []

    async def ask_and_take_again(names: list[str]) -> dict[str, Listed]:
        await taken.wait()
        asked.append(await ask(names))
        if not again:
            again.append(asyncio.create_task(first.take_over(name, 0)))
            await asyncio.sleep(0)
        return asked[-1]

    first._subscriptions.listed = ask_and_take_again
    name = new_name()
    await first.take_over(name, 0)
    await second.take_over(name, 0)
    taken.set()
    await until(lambda: second_log.evicted == [name])
    assert asked[0][name].subscribers == {str(second._connection.config.client_id)}
    await send(await kit.producer(), kit, name, 0, 5)
    await until(lambda: first_log.positions[name] == list(range(5)))
    assert first_log.evicted == []
    assert await subscribers(kit.admin, kit, name) == ["first"]


async def test_a_loser_that_its_full_sync_has_put_back_leaves_at_once(kit: Any, admin: Admin) -> None:
    first, first_log = await owner(kit, "first", sync_seconds=3600)
    second, second_log = await owner(kit, "second", sync_seconds=3600)
    name = await message(kit)
    await take(kit, first, first_log, name)
    _, let_through = hold_notices(first)
    await take(kit, second, second_log, name)
    await synced(first)
    assert await subscribers(admin, kit, name) == ["first", "second"], "else RocketMQ has mended it: simplify"
    let_through()
    await until(lambda: first_log.evicted == [name])
    assert await subscribers(admin, kit, name) == ["second"]
    await send(await kit.producer(), kit, name, 1, 6)
    await until(lambda: second_log.positions[name] == list(range(6)))


async def test_the_newest_owner_keeps_what_a_loser_was_put_back_to(kit: Any, admin: Admin) -> None:
    first, first_log = await owner(kit, "first", sync_seconds=3600)
    second, second_log = await owner(kit, "second", sync_seconds=3600)
    name = await message(kit)
    await take(kit, second, second_log, name)
    (_, old_notice), (_, new_notice) = hold_notices(second), hold_notices(first)
    await take(kit, first, first_log, name)
    await take(kit, second, second_log, name)
    await synced(first)
    assert await subscribers(admin, kit, name) == ["first", "second"]
    old_notice()
    await until(lambda: second._ownership.idle)
    assert second_log.evicted == []
    new_notice()
    await until(lambda: first_log.evicted == [name])
    assert await subscribers(admin, kit, name) == ["second"]
    await send(await kit.producer(), kit, name, 1, 6)
    await until(lambda: second_log.positions[name] == list(range(6)))


async def test_a_loser_that_its_full_sync_has_put_back_alone_takes_over_again(kit: Any, admin: Admin) -> None:
    """To RocketMQ 5.5.1 it stays evicted until it subscribes by itself: listed or not, it gets nothing, and each full
    sync brings the notice again."""
    stays_evicted = version() != "5.5.0"
    first, first_log = await owner(kit, "first", sync_seconds=3600)
    second, second_log = await owner(kit, "second", sync_seconds=3600)
    producer = await kit.producer()
    name, last = await message(kit), await message(kit)
    await take(kit, first, first_log, name)
    await take(kit, first, first_log, last)
    notices, let_through = hold_notices(first)
    await take(kit, second, second_log, name)
    await synced(first)
    await second.release(name)
    assert await subscribers(admin, kit, name) == ["first"]
    await send(producer, kit, name, 1, 2)
    await send(producer, kit, last, 1, 2)
    await until(lambda: first_log.positions[last] == [0, 1])  # by then, what was sent before it has come too
    if stays_evicted:
        assert first_log.positions[name] == [0], "else RocketMQ has mended it: simplify"
    else:
        await until(lambda: first_log.positions[name] == [0, 1])
    await second.take_over(last, 2)
    await until(lambda: noticed(notices)[-1] == last)
    assert noticed(notices) == [name, *([name] if stays_evicted else []), last]
    let_through()
    await until(lambda: first_log.positions[name] == [0, 1])
    await until(lambda: first_log.evicted == [last])
    await until(lambda: first._ownership.idle)
    await send(producer, kit, name, 2, 5)
    await until(lambda: first_log.positions[name] == list(range(5)))
    assert await subscribers(admin, kit, name) == ["first"]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("together", [True, False])
async def test_two_that_cannot_know_who_is_newest_end_as_one(
    kit: Any, admin: Admin, together: bool, times: int
) -> None:
    owners = [await owner(kit, pod, sync_seconds=3600) for pod in ("first", "second")]
    (first, first_log), (second, second_log) = owners
    name = await message(kit)
    await take(kit, second, second_log, name)
    notices = [hold_notices(second), hold_notices(first)]
    await take(kit, first, first_log, name)
    await take(kit, second, second_log, name)
    await synced(first)
    await synced(second)
    assert await subscribers(admin, kit, name) == ["first", "second"]
    for _, let_through in notices:
        for _ in range(times):
            let_through()
        if not together:
            await until(lambda: first._ownership.idle and second._ownership.idle)
    await until(lambda: sum(channel.position(name) is not None for channel, _ in owners) == 1)
    await send(await kit.producer(), kit, name, 1, 6)
    (keeper,) = [log for channel, log in owners if channel.position(name) is not None]
    await until(lambda: keeper.positions[name] == list(range(6)))
    assert len(await subscribers(admin, kit, name)) == 1
    assert keeper.evicted == []


async def test_trap_repeated_subscription_is_no_eviction(kit: Any, admin: Admin) -> None:
    """The broker notifies every subscriber of the group when a LiteTopic is subscribed again, the caller included."""
    channel, log = await owner(kit, "a", sync_seconds=0.1)
    producer = await kit.producer()
    name = new_name()
    for number in range(10):
        await channel.take_over(name, number)
        await send(producer, kit, name, number, number + 1)
        await until(lambda number=number: log.positions[name] == list(range(number + 1)))
    assert log.evicted == []
    assert await subscribers(admin, kit, name) == ["a"]


async def test_evicted_and_taken_again(kit: Any, admin: Admin) -> None:
    first, first_log = await owner(kit, "first", sync_seconds=0.1)
    second, second_log = await owner(kit, "second", sync_seconds=0.1)
    producer = await kit.producer()
    name = new_name()
    sent = 0
    for _ in range(10):
        for channel, log in ((first, first_log), (second, second_log)):
            await channel.take_over(name, sent)
            await send(producer, kit, name, sent, sent + 1)
            sent += 1
            await until(lambda log=log, last=sent - 1: log.positions[name][-1:] == [last])
    assert sorted(first_log.positions[name] + second_log.positions[name]) == list(range(sent))
    await until(lambda: (first.owned, second.owned) == (0, 1))
    assert first_log.evicted
    assert second_log.evicted
    assert await subscribers(admin, kit, name) == ["second"]


async def test_two_takeovers_at_the_same_moment_end_with_one_owner_that_has_everything(kit: Any, admin: Admin) -> None:
    """The broker may let both in without a notice; the first one to miss a position takes over again."""
    owners = [await owner(kit, pod, sync_seconds=0.2) for pod in ("first", "second")]
    producer = await kit.producer()
    for _ in range(10):
        name = new_name()
        await asyncio.gather(*(channel.take_over(name, 0) for channel, _ in owners))
        sent = 0
        async with asyncio.timeout(20):
            while True:
                await send(producer, kit, name, sent, sent + 1)
                sent += 1
                left = [log for channel, log in owners if channel.position(name) is not None]
                if len(left) == 1 and sent > 3:
                    break
        await until(lambda log=left[0], name=name, sent=sent: log.positions[name] == list(range(sent)))
        async with asyncio.timeout(20):  # a full sync may have put the loser back: its next one takes it out again
            while len(await subscribers(admin, kit, name)) != 1:
                await asyncio.sleep(0.05)


async def test_a_heal_takes_nothing_from_a_newer_owner_whose_notice_is_late(kit: Any, admin: Admin) -> None:
    first, first_log = await owner(kit, "first")
    second, second_log = await owner(kit, "second")
    producer = await kit.producer()
    name = new_name()
    await send(producer, kit, name, 0, 3)
    await first.take_over(name, 0)
    await until(lambda: first_log.positions[name] == [0, 1, 2])
    first._connection._on_command = lambda command: None  # the notice is on its way
    await second.take_over(name, 3)
    first._unanswered([name])
    await until(lambda: first_log.evicted == [name])
    await send(producer, kit, name, 3, 6)
    await until(lambda: second_log.positions[name] == [3, 4, 5])
    assert second_log.evicted == []
    assert await subscribers(admin, kit, name) == ["second"]


# A lost link


async def test_what_was_taken_during_a_lost_link_is_not_taken_back(
    kit: Any, admin: Admin, rocketmq: SharedRocketMQ
) -> None:
    """A full sync over the new link, before the owners were asked for, would list the loser beside the new owner; its
    messages of a moment ago would then be fetched by a takeover."""

    class SlowAdmin(Admin):
        async def lite_topics(self, parent: str, names: Collection[str], group: str) -> list[LiteTopicInfo | None]:
            await asyncio.sleep(0.1)
            return await super().lite_topics(parent, names, group)

    port = free_port()
    async with Wire(rocketmq.endpoints, port) as wire:
        config = kit.config("first", endpoints=f"{HOST}:{port}")
        slow = SlowAdmin(rocketmq.name_server)
        first, first_log = await owner(kit, "first", config=config, sync_seconds=0.001, admin=slow)
        second, second_log = await owner(kit, "second")
        for number in range(1, 4):
            name = await message(kit)
            await take(kit, first, first_log, name)
            wire.cut()
            await until(lambda: not first.ready)
            await take(kit, second, second_log, name)
            wire.mend()
            await until(lambda number=number: len(first_log.evicted + second_log.evicted) == number)
            assert second_log.evicted == []
            assert first_log.evicted[-1] == name
            await first.wait_ready(60)
            assert await subscribers(admin, kit, name) == ["second"]
        await first.close()
        await slow.close()
