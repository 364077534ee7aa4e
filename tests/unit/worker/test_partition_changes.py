"""The shell around the claims: what becomes of a partition's consumer and sessions when changes overlap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, cast

import pytest

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.partition_consumer import PartitionMessage
from litevoice_broker.producer import SENT_AGAIN
from litevoice_contracts.names import ClientId, Names
from litevoice_worker import ownership as ownership_module
from litevoice_worker.members import StaticMembers
from litevoice_worker.ownership import READ_AGAIN_MESSAGES, Certain, Ownership
from litevoice_worker.partitions import ranking
from tests.waiting import until

NAMES = Names("req", "rep", 1)
ME = ClientId("worker-0", "10.0.0.1", "worker-fence", "1")
FENCE = NAMES.fence(0)


class Broker:
    """The fence, the admin protocol and the consumers of one worker. `held_up`: what waits for `go_on`."""

    def __init__(self) -> None:
        self.me, self.announced = ME, False
        self.listed: dict[str, set[ClientId]] = {}
        self.mine: set[int] = set()
        self.held_up = ""
        self.go_on = asyncio.Event()
        self.consumers: list[Consumer] = []
        self.leaving = False
        self.down = False
        self.newest = 100
        self.resets: list[int] = []

    async def pass_by(self, what: str) -> None:
        if what == self.held_up:
            await self.go_on.wait()
        if self.down:
            raise BrokerUnavailable("down")

    async def announce(self) -> None:
        self.announced = True
        self.listed[NAMES.presence(ME.pod)] = {ME}

    async def retract(self) -> None:
        self.listed.pop(NAMES.presence(ME.pod), None)

    async def holders(self, names: Collection[str]) -> dict[str, frozenset[ClientId]]:
        await self.pass_by("look")
        return {name: frozenset(self.listed.get(name, ())) for name in names}

    async def acquire(self, partition: int) -> None:
        self.mine.add(partition)
        self.listed[FENCE] = {ME}
        await self.pass_by("acquire")

    async def release(self, partition: int) -> None:
        self.mine.discard(partition)
        self.listed.get(FENCE, set()).discard(ME)

    def owns(self, partition: int) -> bool:
        return partition in self.mine

    async def offsets(self, topic: str, group: str) -> tuple[int, int]:
        await self.pass_by("offsets")
        return self.newest, 60

    async def reset_offset_to_committed(self, topic: str, group: str, *, before: int = 0) -> int:
        self.resets.append(before)
        return 60 - before


class Consumer:
    def __init__(self, broker: Broker, handler: Callable[[Sequence[PartitionMessage]], Awaitable[None]]) -> None:
        self.broker, self.handler = broker, handler
        self.ended = ""

    ready = True

    async def start(self) -> None: ...

    async def leave(self) -> None:
        self.broker.leaving = True
        try:
            await self.broker.pass_by("leave")
        except asyncio.CancelledError:
            self.ended = "cut off"
            raise
        self.ended = self.ended or "left"

    async def abandon(self) -> None:
        self.ended = "abandoned"
        try:
            await self.broker.pass_by("abandon")
        except asyncio.CancelledError:
            self.ended = "cut off"
            raise


class Sessions:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.forgotten: list[int] = []
        self.handed_over: list[int] = []

    def forget_partition(self, partition: int) -> None:
        self.forgotten.append(partition)

    async def hand_over(self, partition: int) -> None:
        self.handed_over.append(partition)
        await self.broker.pass_by("farewell")


class World:
    def __init__(self) -> None:
        self.broker = Broker()
        self.sessions = Sessions(self.broker)
        self.handled: list[tuple[list[int], list[int]]] = []
        """Offsets of a batch, and which of them no former owner can have handled."""
        self.peeked: list[int] = []
        self.owned: list[int] = []
        self.lost: list[int] = []
        self.slow = False
        self.members = StaticMembers(frozenset({ME.pod}))
        self.ownership = Ownership(
            NAMES,
            self.members,
            cast(Any, self.broker),
            cast(Any, self.broker),
            self.make_consumer,
            self.handle,
            self.peek,
            self.sessions,
            self.owned.append,
            self.lost.append,
        )

    async def start(self) -> None:
        await self.ownership.start()
        await until(lambda: list(self.ownership.owned) == [0])

    def make_consumer(self, topic: str, handler: Callable[[Sequence[PartitionMessage]], Awaitable[None]]) -> Any:
        self.broker.consumers.append(Consumer(self.broker, handler))
        return self.broker.consumers[-1]

    async def handle(self, partition: int, messages: Sequence[PartitionMessage], certain: Certain) -> None:
        if self.slow:
            await asyncio.sleep(3600)
        surely = [message.offset for message in messages if message in certain]
        self.handled.append(([message.offset for message in messages], surely))

    def peek(self, partition: int, messages: Sequence[PartitionMessage]) -> None:
        self.peeked += [message.offset for message in messages]

    def join_heir(self) -> ClientId:
        """A member to whom this one has to hand over; as whom the broker lists it."""
        name = next(f"worker-{n}" for n in range(9) if ranking(0, (ME.pod, f"worker-{n}"))[0] != ME.pod)
        heir = ClientId(name, "10.0.0.9", "worker-fence", "1")
        self.broker.listed[NAMES.presence(name)] = {heir}
        self.members.ready = frozenset({ME.pod, name})
        return heir

    def taken_by_another(self) -> None:
        self.broker.mine.discard(0)
        self.broker.listed[FENCE] = {ClientId("worker-9", "10.0.0.9", "worker-fence", "1")}
        self.ownership.lost(0)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(ownership_module, "LOOK_SECONDS", 0.01)
    made = World()
    yield made
    made.broker.go_on.set()
    await made.ownership.leave()


def messages(*offsets: int, seconds_ago: float = 0.0) -> list[PartitionMessage]:
    return [PartitionMessage(offset, {}, b"", time.time() - seconds_ago) for offset in offsets]


async def test_a_partition_that_is_lost_while_it_is_left_is_not_handed_over(world: World) -> None:
    """Its new owner has its sessions: they are forgotten at once, and nothing is published for them."""
    await world.start()
    world.broker.held_up = "leave"
    leaving = asyncio.create_task(world.ownership.leave())
    await asyncio.sleep(0.05)
    world.taken_by_another()
    assert world.sessions.forgotten == [0]
    assert not world.ownership.owned
    world.broker.go_on.set()
    await leaving
    assert world.sessions.handed_over == []
    assert world.broker.consumers[0].ended == "abandoned"
    assert world.lost == [0], "what it has read since the other one took it ends here"


async def test_a_partition_that_is_handed_over_is_not_lost(world: World) -> None:
    await world.start()
    await world.ownership.leave()
    assert (world.sessions.handed_over, world.lost) == ([0], [])


async def test_a_partition_that_is_lost_during_its_farewell_is_lost(world: World) -> None:
    await world.start()
    world.broker.held_up = "farewell"
    world.join_heir()
    await until(lambda: world.sessions.handed_over == [0])
    world.taken_by_another()
    assert world.sessions.forgotten == [0]
    assert world.lost == [0], "its sessions say no more that they are to be asked about"
    assert not world.ownership.owned


async def test_who_stood_still_over_a_farewell_says_no_more_when_it_has_released(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next owner may have come and gone: no look would tell, nor would a notice, of a fence that it has not."""
    await world.start()
    world.broker.held_up = "farewell"
    monkeypatch.setattr(ownership_module, "FAREWELL_SECONDS", 0.05)
    world.join_heir()
    await until(lambda: world.sessions.handed_over == [0])
    monkeypatch.setattr("litevoice_worker.claims.STILL_SECONDS", -1.0)
    await until(lambda: not world.broker.mine)
    assert world.sessions.forgotten == [0]


@pytest.mark.parametrize("held_up", ["leave", "farewell"])
async def test_who_is_told_to_end_goes_on_with_what_it_hands_over(world: World, held_up: str) -> None:
    await world.start()
    world.broker.held_up = held_up
    world.join_heir()
    await until(lambda: world.broker.leaving if held_up == "leave" else world.sessions.handed_over)
    leaving = asyncio.create_task(world.ownership.leave())
    await asyncio.sleep(0.05)
    assert world.broker.mine
    world.broker.go_on.set()
    await leaving
    assert world.broker.consumers[0].ended == "left", "a poll that is cut off would swallow a batch"
    assert world.sessions.handed_over == [0]
    assert not world.broker.mine, "the next owner would wait for it"


async def test_who_is_told_to_end_drops_what_it_has_just_seen_to_be_anothers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litevoice_worker.claims.SURVEY_SECONDS", 0.0)
    await world.start()
    world.broker.listed[FENCE] = {ClientId("worker-9", "10.0.0.9", "worker-fence", "1")}
    await world.ownership._look()
    await world.ownership.leave()
    assert world.sessions.forgotten == [0]
    assert world.sessions.handed_over == []


async def test_who_is_told_to_end_hands_back_what_is_anothers(world: World) -> None:
    """Its open poll may still bring something, and is not cut off."""
    await world.start()
    world.broker.held_up = "abandon"
    world.taken_by_another()
    leaving = asyncio.create_task(world.ownership.leave())
    await asyncio.sleep(0.05)
    assert not leaving.done()
    world.broker.go_on.set()
    await leaving
    assert world.broker.consumers[0].ended == "abandoned"


async def test_who_is_told_to_end_hands_back_what_becomes_anothers_then(world: World) -> None:
    await world.start()
    world.broker.held_up = "leave"
    leaving = asyncio.create_task(world.ownership.leave())
    await until(lambda: world.broker.leaving)
    left, world.broker.go_on, world.broker.held_up = world.broker.go_on, asyncio.Event(), "abandon"
    world.taken_by_another()
    left.set()
    await asyncio.sleep(0.05)
    assert not leaving.done()
    world.broker.go_on.set()
    await leaving
    assert world.broker.consumers[0].ended == "abandoned"


async def test_who_is_told_to_end_holds_no_fence_of_what_it_has_not_read_yet(world: World) -> None:
    world.broker.held_up = "offsets"
    await world.ownership.start()
    await until(lambda: world.broker.mine)
    await world.ownership.leave()
    assert not world.broker.mine
    assert world.broker.consumers == []


async def test_a_partition_that_is_lost_while_it_is_taken_is_not_read(world: World) -> None:
    world.broker.held_up = "acquire"
    await world.ownership.start()
    await until(lambda: world.broker.mine)
    world.taken_by_another()
    world.broker.go_on.set()
    await asyncio.sleep(0.1)
    assert not world.ownership.owned
    assert world.broker.consumers == []
    assert world.broker.resets == [], "what its owner has taken stays its own"
    assert world.lost == [], "nothing was read of it"


async def test_nor_one_that_another_has_taken_while_this_one_stood_still_over_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.broker.held_up = "acquire"
    await world.ownership.start()
    await until(lambda: world.broker.mine)
    world.broker.listed[FENCE] = {ClientId("worker-9", "10.0.0.9", "worker-fence", "1")}
    monkeypatch.setattr("litevoice_worker.claims.STILL_SECONDS", -1.0)
    await asyncio.sleep(0.05)
    monkeypatch.undo()
    monkeypatch.setattr(ownership_module, "LOOK_SECONDS", 0.01)
    await until(lambda: not world.broker.mine)
    world.broker.go_on.set()
    await asyncio.sleep(0.1)
    assert not world.ownership.owned
    assert world.broker.consumers == []
    assert world.broker.resets == []


async def test_a_lost_partition_is_taken_again_when_its_owner_is_gone(world: World) -> None:
    await world.start()
    world.taken_by_another()
    first = world.broker.consumers[0]
    await until(lambda: first.ended == "abandoned")
    with pytest.raises(RuntimeError, match="no longer owned"):
        await first.handler(messages(60))
    assert world.handled == []
    world.broker.listed[FENCE] = set()
    await until(lambda: list(world.ownership.owned) == [0])
    assert len(world.broker.consumers) == 2
    assert world.owned == [1, 0, 1]


async def test_what_a_former_owner_has_handled_is_only_looked_at(world: World) -> None:
    await world.start()
    consumer = world.broker.consumers[0]
    await consumer.handler(messages(58, 59, 60, 61))
    assert world.peeked == [58, 59]
    assert world.handled == [([60, 61], [])]
    await consumer.handler(messages(62))
    assert world.peeked == [58, 59]


async def test_a_former_owner_may_have_handled_what_was_stored_before_and_what_is_older_or_sent_again(
    world: World,
) -> None:
    await world.start()
    consumer = world.broker.consumers[0]
    await consumer.handler(messages(99, 100))
    assert world.handled == [([99, 100], [100])], "a killed broker forgets seconds of what it had acknowledged"
    again = PartitionMessage(103, {SENT_AGAIN: "1"}, b"", time.time())
    await consumer.handler([*messages(101), *messages(102, seconds_ago=5.0), again, *messages(104)])
    assert world.handled[1] == ([101, 102, 103, 104], [101, 104]), "the others may have been stored before, too"


async def test_after_a_standstill_a_batch_waits_until_the_fences_were_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.start()
    assert not world.ownership.doubtful
    world.broker.held_up = "look"
    monkeypatch.setattr("litevoice_worker.claims.STILL_SECONDS", -1.0)
    await asyncio.sleep(0.05)
    monkeypatch.undo()
    monkeypatch.setattr(ownership_module, "LOOK_SECONDS", 0.01)
    batch = asyncio.ensure_future(world.broker.consumers[0].handler(messages(60)))
    await asyncio.sleep(0.05)
    assert not batch.done()
    world.broker.listed[FENCE] = {ClientId("worker-9", "10.0.0.9", "worker-fence", "1")}
    world.broker.go_on.set()
    with pytest.raises(RuntimeError, match="no longer owned"):
        await batch
    assert world.handled == []
    assert world.sessions.forgotten == [0]


async def test_who_is_told_to_leave_before_it_has_looked_is_never_certain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.start()
    world.broker.held_up = "look"
    monkeypatch.setattr("litevoice_worker.claims.STILL_SECONDS", -1.0)
    await asyncio.sleep(0.05)
    monkeypatch.undo()
    batch = asyncio.ensure_future(world.broker.consumers[0].handler(messages(60)))
    waits = asyncio.ensure_future(world.ownership.certain())
    await asyncio.sleep(0.02)
    assert not waits.done()
    await world.ownership.leave()
    assert await waits is False
    with pytest.raises(RuntimeError, match="nobody looks"):
        await batch


async def test_what_is_taken_while_its_owner_stands_still_over_a_handover_is_not_handed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No notice has told it: its link had ended meanwhile."""
    await world.start()
    world.broker.held_up = "leave"
    heir = world.join_heir()
    await until(lambda: world.broker.leaving)
    world.broker.listed[FENCE] = {heir}
    monkeypatch.setattr("litevoice_worker.claims.STILL_SECONDS", -1.0)
    await asyncio.sleep(0.05)
    monkeypatch.undo()
    monkeypatch.setattr(ownership_module, "LOOK_SECONDS", 0.01)
    await until(lambda: world.sessions.forgotten == [0])
    world.broker.go_on.set()
    await until(lambda: not world.ownership._giving_up)
    assert world.sessions.handed_over == []
    assert world.broker.consumers[0].ended == "abandoned"
    assert not world.broker.mine


async def test_a_broker_that_is_away_changes_nothing(world: World) -> None:
    await world.start()
    world.broker.down = True
    world.broker.listed.clear()
    await asyncio.sleep(0.1)
    world.broker.down = False
    await asyncio.sleep(0.1)
    assert list(world.ownership.owned) == [0]
    assert world.sessions.forgotten == []
    assert len(world.broker.consumers) == 1


async def test_an_order_that_is_locked_after_the_takeover_is_freed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll of the dead owner that was still open has swallowed a batch."""
    monkeypatch.setattr(ownership_module, "WATCH_STEP_SECONDS", 0.02)
    await world.start()
    assert world.broker.resets == [READ_AGAIN_MESSAGES]
    await until(lambda: world.broker.resets == [READ_AGAIN_MESSAGES, 0], "a second reset, to the committed offset")


@pytest.mark.parametrize("reason", ["nothing waits", "a batch is at work"])
async def test_an_order_that_moves_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    monkeypatch.setattr(ownership_module, "WATCH_STEP_SECONDS", 0.02)
    if reason == "nothing waits":
        world.broker.newest = 60
    await world.start()
    world.slow = reason == "a batch is at work"
    batch = asyncio.ensure_future(world.broker.consumers[0].handler(messages(60) if world.slow else []))
    await asyncio.sleep(0.3)
    assert world.broker.resets == [READ_AGAIN_MESSAGES]
    batch.cancel()
