"""Keeps this worker the owner of its own partitions and of no others: follows the ready workers, takes over, leaves.

Each partition belongs to the first ready worker in its ranking. In a planned change the old owner stops polling, waits
for its acknowledgements and releases the fence; then the new one takes it. When a worker dies, its fences lose their
subscriber, which the next in line sees within a second or so, with or without the API server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from litevoice_broker.admin import Admin
from litevoice_broker.errors import BrokerError
from litevoice_broker.fence import Fence
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_contracts.names import ClientId, Names
from litevoice_worker.members import Members
from litevoice_worker.partitions import owned_by, watched_by

logger = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
DEAD_SECONDS = 0.9
"""How long a held fence must stay free before its owner is presumed dead."""
NEVER_SEEN_SECONDS = 10.0
"""The same for a fence that was never seen held: its owner may be starting, as this worker is."""
HANDOVER_SECONDS = 8.0
"""How long a live owner may take to leave before its partition is taken anyway. Longer than its long poll."""
UNCERTAIN_MESSAGES = 32
"""How many messages a former owner may have handled without the broker knowing: one batch."""

Handler = Callable[[int, Sequence[PartitionMessage], int], Awaitable[None]]
"""Partition, messages, and the offset below which a former owner may have handled them."""


class PartitionSessions(Protocol):
    """What a change of ownership does to the sessions of a partition; see sessions.Sessions."""

    def forget_partition(self, partition: int) -> None: ...

    async def hand_over(self, partition: int) -> None: ...


class Ownership:
    """`make_consumer` builds the consumer of a partition topic around a handler."""

    def __init__(
        self,
        worker: str,
        names: Names,
        members: Members,
        fence: Fence,
        fence_id: ClientId,
        admin: Admin,
        make_consumer: Callable[[str, Callable[[Sequence[PartitionMessage]], Awaitable[None]]], PartitionConsumer],
        handler: Handler,
        sessions: PartitionSessions,
        on_owned: Callable[[int], None],
    ) -> None:
        self._worker = worker
        self._names = names
        self._members = members
        self._fence = fence
        self._fence_id = fence_id
        self._admin = admin
        self._make_consumer = make_consumer
        self._handler = handler
        self._sessions = sessions
        self._on_owned = on_owned
        self._consumers: dict[int, PartitionConsumer] = {}
        self._changing: dict[int, asyncio.Task[None]] = {}
        self._dead: set[str] = set()
        self._seen: set[int] = set()
        self._free_since: dict[int, float] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def owned(self) -> Collection[int]:
        """The partitions that this worker reads."""
        return self._consumers.keys()

    async def start(self) -> None:
        """Returns at once."""
        self._members.on_change(self._members_changed)
        self._task = asyncio.create_task(self._run(), name="ownership")

    async def leave(self) -> None:
        """Hands over every partition. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for task in self._changing.values():
            task.cancel()
        await asyncio.gather(*self._changing.values(), return_exceptions=True)
        await asyncio.gather(*(self._release(partition) for partition in list(self._consumers)))

    def lost(self, partition: int) -> None:
        """The fence reports that another worker took the partition. Called in the event loop."""
        consumer = self._consumers.pop(partition, None)
        logger.warning("partition taken over by another worker", extra={"partition": partition})
        self._sessions.forget_partition(partition)
        self._on_owned(len(self._consumers))
        if consumer is not None:
            self._begin(partition, self._after_loss(partition, consumer))

    # The loop

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._check_fences()
                self._rebalance()
            except BrokerError as error:
                logger.warning("cannot read the fences", extra={"reason": str(error)})
            except Exception:
                logger.exception("ownership check failed")
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _members_changed(self) -> None:
        self._dead.clear()
        self._wake.set()

    @property
    def _alive(self) -> set[str]:
        return set(self._members.ready or ()) - self._dead

    def _rebalance(self) -> None:
        """Begins to acquire and release until this worker owns what is due to it."""
        due = owned_by(self._worker, self._alive, self._names.partitions)
        for partition in range(self._names.partitions):
            if partition in self._changing:
                continue
            if partition in due and partition not in self._consumers:
                self._begin(partition, self._acquire(partition))
            elif partition not in due and partition in self._consumers:
                self._begin(partition, self._release(partition))

    async def _check_fences(self) -> None:
        """Checks whether the workers ahead of this one are alive, by one partition's fence each."""
        watched = watched_by(self._worker, self._alive, self._names.partitions)
        self._seen &= watched.keys()
        self._free_since = {p: since for p, since in self._free_since.items() if p in watched}
        now = asyncio.get_running_loop().time()
        for partition, owner in watched.items():
            if await self._holders(partition):
                self._seen.add(partition)
                self._free_since.pop(partition, None)
                continue
            patience = DEAD_SECONDS if partition in self._seen else NEVER_SEEN_SECONDS
            if now - self._free_since.setdefault(partition, now) >= patience and owner not in self._dead:
                logger.warning("a worker is gone", extra={"worker": owner, "partition": partition})
                self._dead.add(owner)

    async def _holders(self, partition: int) -> set[str]:
        """Names of the other workers that hold the partition's fence."""
        info = await self._admin.lite_topic(self._names.control_topic, self._names.fence(partition))
        ids = (ClientId.parse(subscriber) for subscriber in (info.subscribers if info else ()))
        return {client.pod for client in ids if client is not None and client != self._fence_id}

    def _begin(self, partition: int, work: Awaitable[None]) -> None:
        async def change() -> None:
            try:
                await work
            except BrokerError as error:
                logger.warning(
                    "cannot acquire or release a partition", extra={"partition": partition, "reason": str(error)}
                )
            except Exception:
                logger.exception("acquiring or releasing a partition failed", extra={"partition": partition})
            finally:
                self._changing.pop(partition, None)

        self._changing[partition] = asyncio.create_task(change(), name=f"partition {partition}")

    # Changes of one partition

    async def _acquire(self, partition: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HANDOVER_SECONDS
        while await self._holders(partition):
            if partition not in owned_by(self._worker, self._alive, self._names.partitions):
                return
            if loop.time() >= deadline:
                logger.warning(
                    "owner did not release its partition in time, taking it over", extra={"partition": partition}
                )
                break
            await asyncio.sleep(CHECK_SECONDS / 2)
        await self._fence.acquire(partition)
        topic = self._names.partition_topic(partition)
        certain_from = await self._reset_order_lock(topic)

        async def handle(messages: Sequence[PartitionMessage]) -> None:
            nonlocal certain_from
            if self._consumers.get(partition) is not consumer:
                raise RuntimeError("the partition is no longer owned")
            if certain_from is None:
                certain_from = messages[0].offset + UNCERTAIN_MESSAGES
            await self._handler(partition, messages, certain_from)

        if not self._fence.owns(partition):
            return  # taken from us in the meantime
        consumer = self._make_consumer(topic, handle)
        self._consumers[partition] = consumer
        await consumer.start()
        self._on_owned(len(self._consumers))
        logger.info("partition acquired", extra={"partition": partition})

    async def _reset_order_lock(self, topic: str) -> int | None:
        """Frees what a dead owner took and never acknowledged: the topic would stand still for half a minute otherwise.

        Returns the offset from which no former owner can have handled a message; None when that is unknown.
        """
        try:
            newest, committed = await self._admin.offsets(topic, self._names.worker_group)
            await self._admin.reset_offset_to_committed(topic, self._names.worker_group)
        except BrokerError as error:
            logger.warning("order lock not reset", extra={"topic": topic, "reason": str(error)})
            return None
        return min(newest, committed + UNCERTAIN_MESSAGES)

    async def _release(self, partition: int) -> None:
        consumer = self._consumers[partition]
        await consumer.leave()
        self._consumers.pop(partition, None)
        await self._fence.release(partition)
        await self._sessions.hand_over(partition)
        self._on_owned(len(self._consumers))
        logger.info("partition released", extra={"partition": partition})

    async def _after_loss(self, partition: int, consumer: PartitionConsumer) -> None:
        """Whoever took it is alive, whatever was believed of it."""
        await consumer.abandon()
        self._dead -= await self._holders(partition)
