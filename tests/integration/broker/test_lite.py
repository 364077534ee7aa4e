"""What a lite channel promises, against the traps of RocketMQ 5.5.0 that it works around."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from litevoice_broker import stubs
from litevoice_broker.admin import Admin
from litevoice_broker.lite.channel import Delivery
from litevoice_broker.lite.commands import Fate
from tests.integration.broker.lite_owners import Log, new_name, owner, send, subscribers, synced
from tests.integration.sending import send_lite
from tests.waiting import until

# --- sending


async def test_trap_several_lite_messages_in_one_request_are_answered_ok_and_lost(kit: Any) -> None:
    channel, log = await owner(kit, "a")
    name = new_name()
    await channel.subscribe([name])
    producer = await kit.producer()
    request = stubs.service.SendMessageRequest()
    for number in range(3):
        request.messages.append(producer._lite(kit.names.reply_topic, name, b"lost %d" % number))
    await producer._connection.call("SendMessage", request)
    await asyncio.gather(*(send_lite(producer, kit.names.reply_topic, name, b"%d" % n) for n in range(100)))
    await until(lambda: len(log.bodies[name]) >= 100)
    assert log.bodies[name] == [b"%d" % n for n in range(100)], "one at a time per LiteTopic: complete and in order"


async def test_more_than_hundred_pending_lite_topics_do_not_stall(kit: Any) -> None:
    channel, log = await owner(kit, "a")
    names = [new_name() for _ in range(400)]
    await channel.subscribe(names)
    producer = await kit.producer()
    await asyncio.gather(*(send_lite(producer, kit.names.reply_topic, name, b"hello") for name in names))
    await until(lambda: all(log.positions[name] == [0] for name in names), timeout_seconds=8)


# --- release


async def test_release_gives_up_and_is_idempotent(kit: Any, admin: Admin) -> None:
    channel, log = await owner(kit, "a", sync_seconds=0.1)
    producer = await kit.producer()
    name = new_name()
    await channel.take_over(name, 0)
    assert (channel.owned, channel.position(name)) == (1, 0)
    await channel.release(name)
    await channel.release(name)
    assert (channel.owned, channel.position(name)) == (0, None)
    await send(producer, kit, name, 0, 2)
    await synced(channel)
    assert await subscribers(admin, kit, name) == []
    assert log.positions[name] == []
    assert log.evicted == []


async def test_release_during_a_takeover(kit: Any, admin: Admin) -> None:
    channel, log = await owner(kit, "a")
    producer = await kit.producer()
    for delay in range(10):
        name = new_name()
        await send(producer, kit, name, 0, 1)
        taking = asyncio.create_task(channel.take_over(name, 0))
        await asyncio.sleep(delay / 1000)
        await channel.release(name)
        before = list(log.positions[name])
        await asyncio.gather(taking, return_exceptions=True)
        assert channel.position(name) is None
        assert await subscribers(admin, kit, name) == []
        assert log.positions[name] == before


async def test_close_with_an_open_poll_loses_nothing(kit: Any) -> None:
    producer = await kit.producer()
    name = new_name()
    seen: list[int] = []
    sent = 0
    for round_number in range(4):
        channel, log = await owner(kit, f"owner-{round_number}")
        await channel.take_over(name, len(seen))
        closing = None
        for _ in range(10):
            await send(producer, kit, name, sent, sent + 1)
            sent += 1
            if len(log.positions[name]) > 4 and closing is None:
                closing = asyncio.create_task(channel.close())
        await (closing or channel.close())
        seen += log.positions[name]
    last, log = await owner(kit, "last")
    await last.take_over(name, len(seen))
    await until(lambda: len(seen) + len(log.positions[name]) >= sent)
    assert seen + log.positions[name] == list(range(sent))


# --- order


async def skip_at_broker(admin: Admin, kit: Any, name: str, offset: int) -> None:
    """Commits an offset behind the owner's back, as a lost acknowledgement of somebody else would."""
    for address in (await admin.cluster.masters()).values():
        await admin.cluster.client(address).call(
            15,
            {
                "consumerGroup": kit.names.gateway_group,
                "topic": f"%LMQ%${kit.names.reply_topic}${name}",
                "queueId": 0,
                "commitOffset": offset,
            },
        )


async def test_gap_is_healed_by_taking_over_again(kit: Any, admin: Admin) -> None:
    heals = 0

    class Observer:
        def on_send(self, kind: str, seconds: float, messages: int) -> None: ...
        def on_send_error(self, kind: str) -> None: ...
        def on_reconnect(self) -> None: ...
        def on_heal(self) -> None:
            nonlocal heals
            heals += 1

    channel, log = await owner(kit, "a", observer=Observer())
    producer = await kit.producer()
    name = new_name()
    await channel.take_over(name, 0)
    await send(producer, kit, name, 0, 2)
    await until(lambda: log.positions[name] == [0, 1])
    await asyncio.sleep(0.2)  # let the acknowledgement through
    await skip_at_broker(admin, kit, name, 4)
    await send(producer, kit, name, 2, 6)
    await until(lambda: log.positions[name] == list(range(6)), timeout_seconds=8)
    assert heals >= 1


async def test_wake_up_lost_at_takeover_is_healed(kit: Any) -> None:
    """What waits in the log comes even if the broker forgot to wake the new owner, and nothing newer is sent."""
    channel, log = await owner(kit, "a")
    producer = await kit.producer()
    name = new_name()
    await send(producer, kit, name, 0, 3)
    judge, lost = channel._receiver._judge, 0

    def lose_the_first_batch(name: str, message: Any) -> Fate:
        nonlocal lost
        if lost < 3:
            lost += 1
            return Fate.WAIT
        fate: Fate = judge(name, message)
        return fate

    channel._receiver._judge = lose_the_first_batch
    await channel.take_over(name, 0)
    # the broker itself would hand them out again after 10 s
    await until(lambda: log.positions[name] == [0, 1, 2], timeout_seconds=8)
    assert lost == 3


async def test_take_over_at_every_position_of_the_log(kit: Any) -> None:
    channel, log = await owner(kit, "a")
    producer = await kit.producer()
    name = new_name()
    await send(producer, kit, name, 0, 8)
    for position in (0, 7, 3, 3, 0, 0, 8, 5, 1):
        log.positions[name].clear()
        await channel.take_over(name, position)
        expected = list(range(position, 8))
        await until(lambda expected=expected: log.positions[name] == expected, timeout_seconds=8)
        assert channel.position(name) == 8


# --- slow readers


async def test_pause_leaves_messages_at_the_broker_and_resume_brings_them_all(
    kit: Any, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, log = await owner(kit, "a")
    producer = await kit.producer()
    slow, quick = new_name(), new_name()
    await channel.subscribe([slow, quick])
    await send(producer, kit, slow, 0, 3)
    await until(lambda: log.positions[slow] == [0, 1, 2])
    channel.pause(slow)
    await send(producer, kit, slow, 3, 60)
    await send(producer, kit, quick, 0, 20)
    await until(lambda: len(log.positions[quick]) == 20)
    assert log.positions[slow] == [0, 1, 2]
    async with asyncio.timeout(20):  # what was delivered is acknowledged a moment later
        while (lag := await admin.lite_lag(kit.names.gateway_group, 10)).total != 57:
            await asyncio.sleep(0.05)
    assert [(entry.name, entry.count) for entry in lag.by_count] == [(slow, 57)]
    monkeypatch.setattr("litevoice_broker.admin.time", SimpleNamespace(time=lambda: 0.0))  # our clock is far behind
    lag = await admin.lite_lag(kit.names.gateway_group, 10, parent=kit.names.reply_topic)
    assert [0 < (entry.oldest_seconds or 0) < 60 for entry in lag.by_count] == [True]
    one, other, none = await admin.lite_lag_of(kit.names.gateway_group, [slow, quick, "none"], kit.names.reply_topic)
    assert (one.name, one.count, 0 < (one.oldest_seconds or 0) < 60) == (slow, 57, True)
    assert [(entry.count, entry.oldest_seconds) for entry in (other, none)] == [(0, None), (0, None)]
    info = await admin.lite_topic(kit.names.reply_topic, slow, kit.names.gateway_group)
    assert info is not None
    assert info.max_offset == 60
    await channel.resume(slow)
    await until(lambda: len(log.positions[slow]) == 60)
    assert log.positions[slow] == list(range(60))
    await send(producer, kit, slow, 60, 62)
    await until(lambda: log.positions[slow] == list(range(62)))


async def test_pause_inside_the_delivery_callback(kit: Any) -> None:
    log = Log()

    def take_three(delivery: Delivery) -> None:
        log.take(delivery)
        if delivery.position % 3 == 2:
            channel.pause(delivery.name)

    channel = await kit.channel(take_three)
    producer = await kit.producer()
    name = new_name()
    await send(producer, kit, name, 0, 12)
    await channel.take_over(name, 0)
    for expected in (3, 6, 9, 12):
        await until(lambda expected=expected: len(log.positions[name]) == expected)
        await channel.resume(name)
    assert log.positions[name] == list(range(12))


async def test_resume_when_nothing_came(kit: Any) -> None:
    channel, log = await owner(kit, "a")
    producer = await kit.producer()
    name = new_name()
    await channel.subscribe([name])
    channel.pause(name)
    await channel.resume(name)
    await channel.resume(name)
    await send(producer, kit, name, 0, 1)
    await until(lambda: log.positions[name] == [0])


async def test_trap_hundred_unacknowledged_messages_must_not_block_the_client(kit: Any) -> None:
    """With auto renewal the proxy refuses every poll of a client that holds 100 un-acknowledged LITE messages."""
    channel, log = await owner(kit, "a")
    producer = await kit.producer()
    slow = [new_name() for _ in range(150)]
    quick = new_name()
    await channel.subscribe([*slow, quick])
    for name in slow:
        channel.pause(name)
    await asyncio.gather(*(send(producer, kit, name, 0, 2) for name in slow))
    await send(producer, kit, quick, 0, 20)
    await until(lambda: len(log.positions[quick]) == 20, timeout_seconds=8)
    await asyncio.gather(*(channel.resume(name) for name in slow))
    await until(lambda: all(log.positions[name] == [0, 1] for name in slow))


async def test_takeover_of_a_paused_session(kit: Any) -> None:
    first, first_log = await owner(kit, "first")
    second, second_log = await owner(kit, "second")
    producer = await kit.producer()
    name = new_name()
    await first.subscribe([name])
    await send(producer, kit, name, 0, 2)
    await until(lambda: first_log.positions[name] == [0, 1])
    first.pause(name)
    await send(producer, kit, name, 2, 40)
    await second.take_over(name, 2)
    await until(lambda: second_log.positions[name] == list(range(2, 40)))
    await until(lambda: first_log.evicted == [name])
    await first.resume(name)
    assert first_log.positions[name] == [0, 1]


async def test_callbacks_that_raise_break_nothing(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    log = Log()

    def fail(delivery: Delivery) -> None:
        log.take(delivery)
        raise ValueError("from the test")

    channel = await kit.channel(fail)
    producer = await kit.producer()
    name = new_name()
    await channel.subscribe([name])
    await send(producer, kit, name, 0, 5)
    await until(lambda: log.positions[name] == list(range(5)))
    assert "delivery callback failed" in caplog.text


async def test_what_waits_without_a_wake_up_comes_when_the_broker_is_told_to_look(kit) -> None:  # type: ignore[no-untyped-def]
    """A full sync brings a subscription back, and wakes no poll: as if the wake-up had got lost."""
    channel, log = await owner(kit, "owner", sync_seconds=3600, long_poll_seconds=20)
    producer = await kit.producer()
    name, other = new_name(), new_name()
    await channel.subscribe([name, other])
    await channel._subscriptions.send(stubs.PARTIAL_REMOVE, [name])
    await send(producer, kit, name, 0, 1)
    await send(producer, kit, other, 0, 1)
    await until(lambda: log.positions[other] == [0])  # the poll that follows is opened before the full sync
    await asyncio.sleep(0.5)
    await channel._subscriptions.send(stubs.COMPLETE_ADD, [name, other])
    await channel.wake()
    await until(lambda: log.positions[name] == [0], timeout_seconds=10)
