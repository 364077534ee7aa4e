"""Keeps this worker the owner of its own partitions and of no others: the shell around `claims`. It looks at the
fences, takes over and leaves.

In a planned change the old owner stops polling, waits for its acknowledgements, hands over its sessions and releases
the fence; then the new one takes it. When a worker dies, its presence ends, which the next in line sees within a
second, with or without the API server.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from litevoice_broker.admin import Admin
from litevoice_broker.errors import BrokerError
from litevoice_broker.fence import Fence
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import SENT_AGAIN
from litevoice_broker.waiting import set_within
from litevoice_contracts.names import Names
from litevoice_worker.claims import LOOK_SECONDS, Action, Claims, Drop, Leave, Listed, Take
from litevoice_worker.members import Members

logger = logging.getLogger(__name__)

UNCERTAIN_MESSAGES = 32
"""How many messages a former owner may have handled unknown to the broker, when that cannot be asked: one batch."""
READ_AGAIN_MESSAGES = 32
"""How many of the last messages that a former owner has handled are read again, to learn which gateways there are."""

WATCH_SECONDS, WATCH_STEP_SECONDS = 7.0, 0.5
"""How long, and how often, a partition that was taken is watched: a poll that its dead owner had open, of 5 s at most,
may still swallow a batch."""

FAREWELL_SECONDS = 1.0
"""How long the next owner waits for what a session's last owner says: one whose broker is away holds up no others."""


@dataclass(frozen=True, slots=True)
class Certain:
    """The messages of a partition that no former owner can have handled: stored from `offset` on, sent once, and made
    since `born_at` (Unix seconds), when the partition was taken. Of what is sent again, as there was no answer, a
    former owner may have handled the first; or the second, when the first was held up on its way: that is older.
    """

    offset: int
    born_at: float

    def __contains__(self, message: PartitionMessage) -> bool:
        late = message.born_at < self.born_at or SENT_AGAIN in message.properties
        return message.offset >= self.offset and not late


Handler = Callable[[int, Sequence[PartitionMessage], Certain], Awaitable[None]]
"""Partition, messages, and which of them no former owner can have handled."""
Peek = Callable[[int, Sequence[PartitionMessage]], None]
"""Partition, and messages that a former owner has handled."""


class PartitionSessions(Protocol):
    """What a change of ownership does to the sessions of a partition; see sessions.Sessions."""

    def forget_partition(self, partition: int) -> None: ...

    async def hand_over(self, partition: int) -> None: ...


class Ownership:
    """`make_consumer` builds the consumer of a partition topic around a handler. `peek` gets the last messages before a
    partition became ours: their senders may wait for answers that its former owner owes them."""

    def __init__(
        self,
        names: Names,
        members: Members,
        fence: Fence,
        admin: Admin,
        make_consumer: Callable[[str, Callable[[Sequence[PartitionMessage]], Awaitable[None]]], PartitionConsumer],
        handler: Handler,
        peek: Peek,
        sessions: PartitionSessions,
        on_owned: Callable[[int], None],
        on_lost: Callable[[int], None],
    ) -> None:
        self._names = names
        self._members = members
        self._fence = fence
        self._admin = admin
        self._make_consumer = make_consumer
        self._handler = handler
        self._peek = peek
        self._sessions = sessions
        self._on_owned = on_owned
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._claims = Claims(fence.me, names.partitions, self._loop.time())
        self._consumers: dict[int, PartitionConsumer] = {}
        self._parting: dict[int, PartitionConsumer] = {}  # of what is being handed over
        self._changing: set[asyncio.Task[None]] = set()
        self._giving_up: set[asyncio.Task[None]] = set()
        self._announced = self._leaving = False
        self._gone: set[str] = set()
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._pulse: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def owned(self) -> Collection[int]:
        """The partitions that this worker reads, or is handing over."""
        return self._consumers.keys() | self._parting.keys()

    @property
    def announced(self) -> bool:
        """Whether the other workers have been able to see this one."""
        return self._announced

    @property
    def doubtful(self) -> bool:
        """Whether this process stood still and does not know yet whose its partitions are: nothing may be published."""
        return self._claims.doubtful(self._loop.time())

    async def certain(self) -> bool:
        """Returns when there is no doubt (any more); False when nobody looks any more."""
        while self.doubtful and not self._leaving:
            self._looked.clear()
            await self._looked.wait()
        return not self.doubtful

    async def start(self) -> None:
        """Returns at once."""
        self._members.on_change(self._wake.set)
        self._beat()
        self._task = asyncio.create_task(self._run(), name="ownership")

    async def leave(self) -> None:
        """Hands over every partition; what is being given up is given up as it would be anyway. Idempotent."""
        tasks = [*self._changing, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._leaving = True
        self._looked.set()
        await self._fence.retract()
        for partition in self._consumers:
            self._spawn(self._carry_out(Leave(partition)), self._giving_up)
        while self._giving_up:  # more may be lost meanwhile
            await asyncio.wait(self._giving_up)
        if self._pulse is not None:
            self._pulse.cancel()  # not before: without it this process seems to stand still

    def lost(self, partition: int) -> None:
        """The fence reports that another worker took the partition. Called in the event loop."""
        logger.warning("partition taken over by another worker", extra={"partition": partition})
        self._claims.lost(partition, self._loop.time())
        self._abandon(partition)

    # The loop

    def _beat(self) -> None:
        self._claims.pulse(self._loop.time())
        self._pulse = self._loop.call_later(LOOK_SECONDS, self._beat)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._look()
            except Exception:
                logger.exception("ownership check failed")
            await set_within(self._wake, LOOK_SECONDS)

    async def _look(self) -> None:
        asked_at = self._loop.time()
        questions = self._claims.questions(self._members.ready, asked_at)
        listed: Listed | None = None
        try:
            if not self._fence.announced and (not self._announced or self._claims.absent):
                await self._fence.announce()
                self._announced = True
            asked_at = self._loop.time()
            listed = await self._fence.holders(questions)
        except BrokerError as error:
            logger.warning("cannot read the fences", extra={"reason": str(error)})
        for action in self._claims.decide(listed, asked_at, self._loop.time()):
            self._spawn(self._carry_out(action), self._changing if isinstance(action, Take) else self._giving_up)
        self._looked.set()
        gone = set(self._claims.gone)
        for worker in gone - self._gone:
            logger.warning("a worker is gone", extra={"worker": worker})
        self._gone = gone

    def _spawn(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        """Those `among` _changing end when this worker leaves."""
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)

    async def _carry_out(self, action: Action) -> None:
        partition = action.partition
        taken = False
        try:
            match action:
                case Take():
                    taken = await self._take(partition)
                case Leave():
                    await self._leave(partition)
                case Drop():
                    logger.warning("partition is another worker's", extra={"partition": partition})
                    self._abandon(partition)
                    await self._fence.release(partition)
        except BrokerError as error:
            logger.warning(
                "cannot acquire or release a partition", extra={"partition": partition, "reason": str(error)}
            )
        except asyncio.CancelledError:
            if partition not in self._consumers:  # nobody else would take it as long as the fence is held
                self._spawn(self._fence.release(partition), self._giving_up)
            raise
        except Exception:
            logger.exception("acquiring or releasing a partition failed", extra={"partition": partition})
        if taken:
            self._claims.taken(partition, self._loop.time())
        else:
            self._claims.ended(partition, self._loop.time())
        self._wake.set()

    # Changes of one partition

    async def _take(self, partition: int) -> bool:
        """Whether it is ours now."""
        await self._fence.acquire(partition)
        if not self._fence.owns(partition):
            return False  # its owner's order is not ours to free
        topic = self._names.partition_topic(partition)
        new_from, certain_from = await self._reset_order_lock(topic)
        taken_at = time.time()

        progress = _Progress()

        async def handle(messages: Sequence[PartitionMessage]) -> None:
            with progress:
                await apply(messages)

        async def apply(messages: Sequence[PartitionMessage]) -> None:
            nonlocal certain_from
            if not await self.certain():
                raise RuntimeError("nobody looks any more whose the partition is")
            if self._consumers.get(partition) is not consumer:
                raise RuntimeError("the partition is no longer owned")
            if certain_from is None:
                certain_from = messages[0].offset + UNCERTAIN_MESSAGES
            handled = [message for message in messages if message.offset < new_from]
            if handled:
                self._peek(partition, handled)
            await self._handler(partition, messages[len(handled) :], Certain(certain_from, taken_at))

        if not self._fence.owns(partition):
            return False  # taken from us in the meantime
        consumer = self._make_consumer(topic, handle)
        self._consumers[partition] = consumer
        self._on_owned(len(self._consumers))
        await consumer.start()
        self._spawn(self._watch(partition, consumer, progress), self._changing)
        logger.info("partition acquired", extra={"partition": partition})
        return self._consumers.get(partition) is consumer

    async def _reset_order_lock(self, topic: str) -> tuple[int, int | None]:
        """Frees what a dead owner took and never acknowledged: the topic would stand still for half a minute otherwise.

        Returns the offset below which the former owner has handled every message, and the one from which it has handled
        none of what was sent once: a broker that was killed does not know any more what else it had acknowledged. None
        when that is unknown.
        """
        group = self._names.worker_group
        try:
            newest, committed = await self._admin.offsets(topic, group)
            await self._admin.reset_offset_to_committed(topic, group, before=READ_AGAIN_MESSAGES)
        except BrokerError as error:
            logger.warning("order lock not reset", extra={"topic": topic, "reason": str(error)})
            return 0, None
        return committed, newest

    async def _watch(self, partition: int, consumer: PartitionConsumer, progress: _Progress) -> None:
        """Frees the order again that a poll of the dead owner took after the first reset."""
        topic, group = self._names.partition_topic(partition), self._names.worker_group
        stuck_at: tuple[int, int] | None = None  # batches taken, offset
        until = self._loop.time() + WATCH_SECONDS
        while self._loop.time() < until:
            await asyncio.sleep(WATCH_STEP_SECONDS)
            try:
                newest, committed = await self._admin.offsets(topic, group)
                if self._consumers.get(partition) is not consumer:
                    return
                state = (progress.batches, committed)
                waits = newest > committed and not progress.at_work and consumer.ready
                if waits and state == stuck_at:
                    logger.warning("the order is still locked, freeing it again", extra={"partition": partition})
                    await self._admin.reset_offset_to_committed(topic, group)
                    state = (-1, committed)
                stuck_at = state if waits else None
            except BrokerError as error:
                logger.warning("cannot watch a partition", extra={"partition": partition, "reason": str(error)})

    async def _leave(self, partition: int) -> None:
        consumer = self._consumers.get(partition)
        if consumer is None:
            return
        await consumer.leave()
        if self._consumers.get(partition) is not consumer:
            return  # lost in the meantime: there is nothing to hand over
        self._parting[partition] = self._consumers.pop(partition)
        # What is said while the fence is being released may come after the next owner's question; and only a fence that
        # is held tells that another has taken it.
        handing = asyncio.create_task(self._sessions.hand_over(partition))
        await asyncio.wait([handing], timeout=FAREWELL_SECONDS)
        if self.doubtful:
            self._abandon(partition)  # it may have been taken, and nobody would say so any more
        self._parting.pop(partition, None)
        await self._fence.release(partition)
        await handing
        self._on_owned(len(self._consumers))
        logger.info("partition released", extra={"partition": partition})

    def _abandon(self, partition: int) -> None:
        """Nothing more is read or published for it, from this moment."""
        consumer = self._consumers.pop(partition, None) or self._parting.pop(partition, None)
        self._sessions.forget_partition(partition)
        self._on_owned(len(self._consumers))
        if consumer is not None:
            self._spawn(consumer.abandon(), self._giving_up)
            self._on_lost(partition)


class _Progress:
    """Of a partition's batches: how many were begun, and whether one is being worked on."""

    def __init__(self) -> None:
        self.batches = 0
        self.at_work = False

    def __enter__(self) -> None:
        self.batches += 1
        self.at_work = True

    def __exit__(self, *_: object) -> None:
        self.at_work = False
