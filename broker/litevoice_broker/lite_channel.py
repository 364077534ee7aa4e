"""How a session is taken over: the exclusive owner's side of many LiteTopics under one parent topic.

A LiteTopic's newest subscriber owns it; the one before is told by the broker. Delivery is strictly by position: lower
is dropped, next is delivered, higher is waited for and then taken over again at next, which also heals wake-ups that
the broker lost. Messages are acknowledged as soon as they are delivered; what a client still needs is decided by
positions, never by acknowledgements.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from litevoice_broker import stubs
from litevoice_broker.admin import Admin
from litevoice_broker.connection import BrokerConfig, ConnectedClient, Connection, subscription_settings
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite_eviction import Evictions
from litevoice_broker.lite_healing import Healer
from litevoice_broker.lite_order import PositionOrder, Verdict
from litevoice_broker.lite_owned import Delivery, Owned
from litevoice_broker.lite_receiver import Fate, LiteReceiver
from litevoice_broker.lite_subscription import LiteSubscription
from litevoice_broker.observing import Observer
from litevoice_broker.receiving import born_at

__all__ = ["Delivery", "LiteChannel"]

logger = logging.getLogger(__name__)

CLAIM_ATTEMPTS = 4
CLAIM_RETRY_SECONDS = 0.1
_REFRESH_ASSIGNMENTS_SYNCS = 10


class LiteChannel(ConnectedClient):
    """All LiteTopics that this process owns under one parent topic, in one Exclusive group.

    Memory is bounded: nothing is queued here. A message is handed to `on_delivery` or left at the broker.

    `on_delivery` is called strictly by position, once for each, in the event loop; it must not block.
    `on_evicted` is called when somebody else took a LiteTopic over (newest wins); it is already forgotten here.
    `admin` tells a notice older than the last takeover from a real one, and finds out, after a reconnect and before a
    heal, evictions whose notice got lost. While it does not answer, a LiteTopic on a busy machine may have no owner or
    two, until somebody takes it over again.
    """

    def __init__(
        self,
        config: BrokerConfig,
        parent_topic: str,
        group: str,
        *,
        on_delivery: Callable[[Delivery], None],
        on_evicted: Callable[[str], None],
        admin: Admin,
        sync_seconds: float = 3.0,
        long_poll_seconds: float = 5.0,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(
            Connection(
                config,
                stubs.LITE_PUSH_CONSUMER,
                group=group,
                settings=subscription_settings(group, [parent_topic]),
                on_connected=self._connected,
                on_command=self._command,
                observer=observer,
            )
        )
        self._parent_topic = parent_topic
        self._group = group
        self._on_delivery = on_delivery
        self._on_evicted = on_evicted
        self._sync_seconds = sync_seconds
        self._owned: dict[str, Owned] = {}
        self._evictions = Evictions(
            self._owned,
            me=str(config.client_id),
            admin=admin,
            parent_topic=parent_topic,
            evict=self._evict,
            step_out=lambda name: self._subscription.remove([name]),
            claim_again=lambda name: self._healer.heal([name], ask=False),
        )
        self._healer = Healer(
            self._owned,
            claim=self._claim,
            leave_if_taken=self._evictions.leave_if_taken,
            remove=self._remove,
            spawn=self._spawn,
            on_heal=self._connection.observer.on_heal,
        )
        self._subscription = LiteSubscription(self._connection, parent_topic, group)
        self._receiver = LiteReceiver(
            self._connection,
            parent_topic,
            group,
            long_poll_seconds=long_poll_seconds,
            judge=self._judge,
            unanswered=self._healer.heal,
        )
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._left_during_sync: set[str] | None = None
        self._sync_task: asyncio.Task[None] | None = None
        self._numbers = count(1)
        self._generation = self._synced_link = 0

    # --- life

    async def start(self) -> None:
        """Returns at once; connects, and keeps trying, in the background."""
        self._connection.start()
        if self._sync_task is None:
            self._sync_task = asyncio.create_task(self._sync_forever(), name="lite channel sync")

    async def close(self) -> None:
        """Releases everything; nothing is delivered any more. Idempotent."""
        for owned in self._owned.values():
            owned.cancel_timers()
        self._owned.clear()
        tasks = [*self._tasks, *([self._sync_task] if self._sync_task else [])]
        self._sync_task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection.generation:
            # First nothing is owned any more, then the open polls end: they can no longer swallow a message.
            with contextlib.suppress(BrokerError, TimeoutError):
                async with asyncio.timeout(2.0), self._subscription.full_sync() as sync:
                    await sync.replace([])
        await self._receiver.close()
        await self._connection.close()

    # --- ownership

    @property
    def owned(self) -> int:
        """Number of LiteTopics that this process owns."""
        return len(self._owned)

    def position(self, name: str) -> int | None:
        """Next expected position; None when not owned."""
        owned = self._owned.get(name)
        return None if owned is None else owned.order.next_position

    async def subscribe(self, names: Collection[str]) -> None:
        """Bulk, for LiteTopics that are new: delivery from position 0. Names that are owned already stay as they are.

        Raises BrokerError when it failed; none of the new names is owned then.
        """
        number = next(self._numbers)
        new = {name: Owned(PositionOrder(0), self._lock(name), number) for name in names if name not in self._owned}
        self._owned |= new
        try:
            await self._retrying(lambda: self._subscription.begin(new))
        except BaseException:
            for name, owned in new.items():
                if self._owned.get(name) is owned:
                    self._forget(name)
            raise

    async def take_over(self, name: str, position: int) -> None:
        """Makes this process the owner, whoever was; delivery from `position`.

        Returns when the broker has agreed, or when the LiteTopic was released or lost again meanwhile (see `position`).
        Raises BrokerError when it failed; the LiteTopic is not owned then.
        """
        owned = self._owned.get(name)
        if owned is None:
            owned = self._owned[name] = Owned(PositionOrder(position), self._lock(name))
        owned.number = next(self._numbers)
        owned.cancel_timers()
        owned.deaf = True
        owned.paused = owned.withheld = False
        try:
            async with owned.lock:
                if self._owned.get(name) is not owned:
                    return
                owned.order.restart(position)
                await self._retrying(lambda: self._claim(name, owned, deaf=True))
        except BaseException:
            if self._owned.get(name) is owned:
                self._forget(name)
                self._spawn(self._remove(name))
            raise
        self._healer.after_takeover(name, owned)

    async def release(self, name: str) -> None:
        """Gives the LiteTopic up: nothing of it is delivered from this moment. Idempotent; never raises for the broker.

        When the broker cannot be told now, the next full sync tells it.
        """
        if name in self._owned:
            self._forget(name)
            await self._remove(name)

    def pause(self, name: str) -> None:
        """Stops delivering. What comes is left un-acknowledged: the broker holds it, and counts it as backlog."""
        owned = self._owned.get(name)
        if owned is not None and not owned.paused:
            owned.paused = True
            owned.cancel_timers()

    async def resume(self, name: str) -> None:
        """Delivers again, from the next position. Raises BrokerError when it failed; it is still paused then."""
        owned = self._owned.get(name)
        if owned is None or not owned.paused:
            return
        async with owned.lock:
            if self._owned.get(name) is not owned or not owned.paused:
                return
            owned.paused = False
            if not owned.withheld:
                return
            owned.withheld = False  # it may be paused again before the takeover ends
            owned.order.restart()
            try:
                await self._retrying(lambda: self._claim(name, owned))
            except BaseException:
                owned.paused = owned.withheld = True
                raise
        self._healer.after_takeover(name, owned)

    # --- takeover

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def _claim(self, name: str, owned: Owned, *, deaf: bool = False) -> None:
        def wanted(last: bool) -> bool:
            owned.deaf = deaf and not last
            return self._owned.get(name) is owned

        await self._subscription.claim(name, owned, wanted=wanted)

    async def _retrying(self, attempt: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for number in range(1, CLAIM_ATTEMPTS + 1):
            try:
                await attempt()
            except BrokerError as error:
                if not error.retryable or number == CLAIM_ATTEMPTS:
                    raise
                await asyncio.sleep(CLAIM_RETRY_SECONDS * 2 ** (number - 1))
            else:
                return

    async def _remove(self, name: str) -> None:
        lock = self._lock(name)
        async with lock:
            if name not in self._owned:
                with contextlib.suppress(BrokerError):
                    await self._subscription.remove([name])

    def _forget(self, name: str) -> None:
        owned = self._owned.pop(name, None)
        if owned is not None:
            owned.cancel_timers()
            if self._left_during_sync is not None:
                self._left_during_sync.add(name)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- eviction

    def _command(self, command: Any) -> None:
        if command.HasField("notify_unsubscribe_lite_command"):
            name = command.notify_unsubscribe_lite_command.lite_topic
            owned = self._owned.get(name)
            if owned is not None and not owned.deaf:
                self._spawn(self._evictions.noticed(name, owned))

    def _evict(self, name: str) -> None:
        self._forget(name)
        try:
            self._on_evicted(name)
        except Exception:
            logger.exception("eviction callback failed")

    # --- full sync

    async def _connected(self) -> None:
        link = self._connection.generation
        reconnected = self._generation not in (0, link)
        if reconnected:
            await self._evictions.evict_taken(list(self._owned))
        self._synced_link = link
        await self._sync()
        await self._receiver.assign()
        if reconnected:
            # The full sync may have put us beside an owner that has come since the question before it.
            recent = self._healer.recent
            beside = await self._evictions.evict_taken(recent)
            self._healer.heal(beside)
            self._healer.heal(recent - beside, ask=False)
        self._generation = link

    async def _sync_forever(self) -> None:
        syncs = 0
        while True:
            await asyncio.sleep(self._sync_seconds)
            if not self._generation:
                continue
            syncs += 1
            try:
                await self._sync()
                if syncs % _REFRESH_ASSIGNMENTS_SYNCS == 0:
                    await self._receiver.assign()
            except BrokerError as error:
                self._connection.report(error)
            except Exception:
                logger.exception("full sync failed")
            else:
                self._connection.report(None)

    async def _sync(self) -> None:
        """Tells the broker everything that is owned; what was lost meanwhile is taken out again at once.

        RocketMQ 5.5.0 lets a full sync put an evicted client back beside the new owner. What is about to be taken over
        for the first time is not told yet: that would make the takeover's own notice look like an eviction. Nothing is
        told over a new link before `_connected` has asked who was evicted while there was none.
        """
        async with self._subscription.full_sync() as sync:
            if self._synced_link != self._connection.generation:
                return
            left: set[str] = set()
            self._left_during_sync = left
            try:
                names = [name for name, owned in self._owned.items() if owned.subscribed]
                for name in names:
                    self._owned[name].synced = True
                await sync.replace(names)
            finally:
                self._left_during_sync = None
                gone = left - self._owned.keys()
                if gone:
                    await sync.remove(gone)

    # --- delivery

    def _judge(self, name: str, message: Any) -> Fate:
        owned = self._owned.get(name)
        if owned is None or owned.doubts:
            return Fate.HAND_BACK
        if owned.paused:
            owned.withheld = True
            return Fate.KEEP
        owned.last_message = time.monotonic()
        verdict = owned.order.offer(message.system_properties.queue_offset)
        if verdict is Verdict.WAIT:
            self._healer.after_gap(name, owned)
            return Fate.WAIT
        if verdict is Verdict.DELIVER:
            self._deliver(name, message)
        return Fate.DONE

    def _deliver(self, name: str, message: Any) -> None:
        system = message.system_properties
        delivery = Delivery(name, system.queue_offset, message.body, dict(message.user_properties), born_at(system))
        try:
            self._on_delivery(delivery)
        except Exception:
            logger.exception("delivery callback failed")
