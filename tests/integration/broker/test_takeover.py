"""The takeover of a session, in a loop: between live owners under traffic, and after kill -9 of the owner."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from pathlib import Path

import pytest

from litevoice_broker import stubs
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.lite.order import PositionOrder
from litevoice_broker.lite.topic import Topic
from tests.integration.broker.lite_owners import new_name, owner, send
from tests.integration.sending import send_lite
from tests.waiting import until

PROCESSES = Path(__file__).with_name("processes")
STUCK_SECONDS = 10.0


class Client:
    """What a client of one session saw: it listens to one owner at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner = -1
        self.positions: list[int] = []
        self.bodies: list[bytes] = []
        self.arrived = asyncio.Event()

    def take(self, owner: int, delivery: Delivery) -> None:
        if owner == self.owner:
            self.positions.append(delivery.position)
            self.bodies.append(delivery.body)
            self.arrived.set()

    async def move(self, owner: int, channel: LiteChannel) -> float:
        """Seconds until the first new message came through the new owner."""
        self.owner = owner
        self.arrived.clear()
        started = time.perf_counter()
        await channel.take_over(self.name, len(self.positions))
        async with asyncio.timeout(STUCK_SECONDS):
            await self.arrived.wait()
        return time.perf_counter() - started


def report(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    print(f"\n{what}: {len(ordered)}, p50 {ordered[len(ordered) // 2] * 1000:.0f} ms, max {ordered[-1] * 1000:.0f} ms")


@pytest.mark.timeout(240)
async def test_hundred_takeovers_between_live_owners_under_traffic(kit) -> None:  # type: ignore[no-untyped-def]
    sessions, rounds, pause = 4, 25, 0.02
    clients = [Client(f"live-{secrets.token_hex(4)}") for _ in range(sessions)]
    by_name = {client.name: client for client in clients}
    evictions: list[tuple[int, str]] = []
    owners = [
        await kit.channel(
            lambda delivery, index=index: by_name[delivery.name].take(index, delivery),
            lambda name, index=index: evictions.append((index, name)),
        )
        for index in range(2)
    ]
    producer = await kit.producer()
    moving = True

    async def talk(client: Client) -> int:
        sent = 0
        while moving:
            await send_lite(producer, kit.names.reply_topic, client.name, b"%d" % sent)
            sent += 1
            await asyncio.sleep(pause)
        return sent

    async def move(client: Client, offset: int) -> list[float]:
        seconds = []
        for number in range(rounds):
            owner = (number + offset) % 2
            seconds.append(await client.move(owner, owners[owner]))
            await asyncio.sleep(pause * (number % 4))
        return seconds

    talking = [asyncio.create_task(talk(client)) for client in clients]
    seconds = [s for some in await asyncio.gather(*(move(c, i) for i, c in enumerate(clients))) for s in some]
    moving = False
    sent = await asyncio.gather(*talking)

    for client, count in zip(clients, sent, strict=True):
        await until(lambda client=client, count=count: len(client.positions) >= count)
        assert client.positions == list(range(count)), "a position is missing, came twice or in another order"
        assert client.bodies == [b"%d" % number for number in range(count)]
    assert len(seconds) == sessions * rounds
    await until(lambda: sum(owner.owned for owner in owners) == sessions)
    # a notice that comes after its receiver has begun to take over again is no eviction any more
    assert sessions * rounds / 2 < len(evictions) <= sessions * (rounds - 1)
    report("takeovers between live owners", seconds)


@pytest.mark.timeout(240)
async def test_a_session_that_nobody_speaks_in_moves_and_goes_on_at_once(kit) -> None:  # type: ignore[no-untyped-def]
    """Nothing comes that would free it, if a poll that ends after the last step blocked it. Of 200 such takeovers that
    do not wait for what the first step hands out, one to four stood still for 10 s."""
    sessions, rounds = 8, 25
    clients = {client.name: client for client in (Client(f"idle-{secrets.token_hex(4)}") for _ in range(sessions))}
    owners = [
        await kit.channel(lambda delivery, index=index: clients[delivery.name].take(index, delivery))
        for index in range(2)
    ]
    producer = await kit.producer()
    seconds: list[float] = []

    async def move(client: Client, offset: int) -> None:
        for number in range(rounds):
            client.owner = (number + offset) % 2
            await owners[client.owner].take_over(client.name, len(client.positions))
            await asyncio.sleep(0.1)
            client.arrived.clear()
            started = time.perf_counter()
            await send_lite(producer, kit.names.reply_topic, client.name, b"%d" % number)
            async with asyncio.timeout(STUCK_SECONDS / 2):
                await client.arrived.wait()
            seconds.append(time.perf_counter() - started)

    await asyncio.gather(*(move(client, offset) for offset, client in enumerate(clients.values())))
    assert all(client.positions == list(range(rounds)) for client in clients.values())
    report("messages after a takeover", seconds)


@pytest.mark.timeout(240)
async def test_twenty_takeovers_after_kill_9_of_the_owner_with_unacknowledged_messages(kit) -> None:  # type: ignore[no-untyped-def]
    kills, messages = 4, 6
    taken_by_victim = (0, 1, 2, 3, 5)
    seconds: list[float] = []
    producer = await kit.producer()
    clients: dict[str, Client] = {}
    successor = await kit.channel(lambda delivery: clients[delivery.name].take(1, delivery))
    for _ in range(kills):
        names = {f"killed-{secrets.token_hex(4)}": count for count in taken_by_victim}
        for number in range(messages):
            for name in names:
                await send_lite(producer, kit.names.reply_topic, name, b"%d" % number)
        victim = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROCESSES / "reply_owner.py"),
            kit.endpoints,
            kit.name_server,
            kit.names.reply_topic,
            kit.names.gateway_group,
            *(f"{name}={count}" for name, count in names.items()),
            stdout=asyncio.subprocess.PIPE,
        )
        assert victim.stdout is not None
        seen: dict[str, int] = dict.fromkeys(names, 0)
        owns = False
        while not owns or seen != names:
            line = (await asyncio.wait_for(victim.stdout.readline(), 60)).split()
            if line == [b"owned"]:
                owns = True
            else:
                seen[line[0].decode()] = int(line[1]) + 1
        victim.kill()
        await victim.wait()
        for name, count in names.items():
            client = clients[name] = Client(name)
            client.owner = 1
            client.positions = list(range(count))  # what the client had received before
            client.bodies = [b"%d" % number for number in range(count)]

        async def take(client: Client) -> float:
            first_missing = len(client.positions)
            client.arrived.clear()
            started = time.perf_counter()
            await successor.take_over(client.name, first_missing)
            async with asyncio.timeout(STUCK_SECONDS):
                await client.arrived.wait()
            return time.perf_counter() - started

        seconds += await asyncio.gather(*(take(clients[name]) for name in names))
        for name in names:
            await send_lite(producer, kit.names.reply_topic, name, b"%d" % messages)
            client = clients[name]
            await until(lambda client=client: len(client.positions) > messages)
            assert client.positions == list(range(messages + 1))
            assert client.bodies == [b"%d" % number for number in range(messages + 1)]
    assert len(seconds) == kills * len(taken_by_victim) == 20
    report("takeovers after kill -9", seconds)


async def test_takeovers_at_once_of_blocked_and_of_finished_litetopics(kit) -> None:  # type: ignore[no-untyped-def]
    """Those at the same position share their calls, whether something of theirs is blocked or not."""
    first, first_log = await owner(kit, "first")
    second, second_log = await owner(kit, "second")
    producer = await kit.producer()
    blocked, finished, empty = ([new_name() for _ in range(20)] for _ in range(3))
    names = [*blocked, *finished, *empty]
    await asyncio.gather(*(first.take_over(name, 0) for name in names))
    await asyncio.gather(*(send(producer, kit, name, 0, 2) for name in (*blocked, *finished)))
    await until(lambda: all(first_log.positions[name] == [0, 1] for name in (*blocked, *finished)))
    for name in blocked:
        first.pause(name)
    await asyncio.gather(*(send(producer, kit, name, 2, 3) for name in blocked))
    await until(lambda: all(first._ownership.get(name).withheld for name in blocked))

    await asyncio.gather(*(second.take_over(name, 0 if name in empty else 2) for name in names))
    await until(lambda: all(second_log.positions[name] == [2] for name in blocked), timeout_seconds=STUCK_SECONDS)
    await until(lambda: len(first_log.evicted) == len(names))
    ends = {name: 3 if name in blocked else 2 if name in finished else 0 for name in names}
    await asyncio.gather(*(send(producer, kit, name, end, end + 1) for name, end in ends.items()))
    await until(
        lambda: all(second_log.positions[name][-1:] == [end] for name, end in ends.items()),
        timeout_seconds=STUCK_SECONDS,
    )
    assert all(second_log.positions[name] == [2, 3] for name in blocked)
    assert all(second_log.positions[name] == [ends[name]] for name in (*finished, *empty))


async def test_trap_one_call_at_the_committed_position_stays_blocked(kit) -> None:  # type: ignore[no-untyped-def]
    first, first_log = await owner(kit, "first", sync_seconds=3600)
    second, second_log = await owner(kit, "second", sync_seconds=3600)
    producer = await kit.producer()
    name, other = new_name(), new_name()
    await first.take_over(name, 0)
    await send(producer, kit, name, 0, 1)
    await until(lambda: first_log.positions[name] == [0])
    first.pause(name)
    await send(producer, kit, name, 1, 2)
    await until(
        lambda: first._ownership.get(name).withheld
    )  # the first owner holds message 1, and does not acknowledge it
    await second.take_over(other, 0)
    second._ownership._topics[name] = Topic(name, PositionOrder(1))
    await second._subscriptions.send(stubs.PARTIAL_ADD, [name], 1)
    await send(producer, kit, other, 0, 1)
    await until(lambda: second_log.positions[other] == [0])  # by then, message 1 would have come too
    assert second_log.positions[name] == [], "else RocketMQ has mended it: one call is enough"
    await second.take_over(name, 1)
    await until(lambda: second_log.positions[name] == [1])
