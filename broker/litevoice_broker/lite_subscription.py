"""The subscription calls of a lite channel, and the order they must keep among one another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice

from litevoice_broker import stubs
from litevoice_broker.connection import Connection
from litevoice_broker.lite_order import other_position
from litevoice_broker.lite_owned import Owned

BULK_NAMES = 2000
"""Names in one request; 2,000 take the broker 34 to 155 ms."""
_BULK_TIMEOUT_SECONDS = 10.0


class LiteSubscription:
    """A full sync replaces everything that this client is subscribed to, so none may run beside a single change."""

    def __init__(self, connection: Connection, parent_topic: str, group: str) -> None:
        self._connection = connection
        self._parent_topic = parent_topic
        self._group = group
        self._changes = 0
        self._no_changes = asyncio.Event()
        self._no_changes.set()
        self._no_sync = asyncio.Event()
        self._no_sync.set()

    async def claim(self, name: str, owned: Owned, *, wanted: Callable[[bool], bool]) -> None:
        """The takeover: afterwards this client is the only subscriber and delivery begins at the next position.

        Two resets, the first to another offset: the broker ignores a reset to the committed offset and leaves the
        LiteTopic blocked behind the last owner's un-acknowledged message. Before each of them this client is not
        subscribed, because the broker tells *every* subscriber of the group to leave, the caller included, and such a
        notice could not be told from a real eviction. `wanted`
        is asked before each subscription, with whether it is the last one.
        """
        async with self._change():
            position = owned.order.next_position
            if owned.subscribed:
                await self._send(stubs.PARTIAL_REMOVE, [name])
            owned.subscribed, owned.synced = True, False
            for offset in (other_position(position), position):
                if not wanted(offset == position):
                    return
                await self._send(stubs.PARTIAL_ADD, [name], offset)
                if offset != position:
                    await self._send(stubs.PARTIAL_REMOVE, [name])

    async def begin(self, new: Mapping[str, Owned]) -> None:
        """Bulk, for new LiteTopics: this client is the only subscriber, from position 0."""
        async with self._change():
            for some in _chunks(new):
                await self._send(stubs.PARTIAL_REMOVE, some)
                await self._send(stubs.PARTIAL_ADD, some, 0)
                for name in some:
                    new[name].subscribed = True

    async def remove(self, names: Collection[str]) -> None:
        async with self._change():
            for some in _chunks(names):
                await self._send(stubs.PARTIAL_REMOVE, some)

    @contextlib.asynccontextmanager
    async def full_sync(self) -> AsyncIterator[FullSync]:
        """Waits until no change is under way and holds up new ones."""
        while not self._no_sync.is_set():
            await self._no_sync.wait()
        self._no_sync.clear()
        try:
            while self._changes:
                self._no_changes.clear()
                await self._no_changes.wait()
            yield FullSync(self)
        finally:
            self._no_sync.set()

    @contextlib.asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        while not self._no_sync.is_set():
            await self._no_sync.wait()
        self._changes += 1
        try:
            yield
        finally:
            self._changes -= 1
            if not self._changes:
                self._no_changes.set()

    async def _send(self, action: int, names: Iterable[str], position: int | None = None) -> None:
        request = stubs.service.SyncLiteSubscriptionRequest(
            action=action,
            topic=stubs.resource(self._parent_topic),
            group=stubs.resource(self._group),
            lite_topic_set=names,
        )
        if position is not None:
            request.offset_option.offset = position
        await self._connection.call("SyncLiteSubscription", request, _BULK_TIMEOUT_SECONDS)


class FullSync:
    """What may be sent during a full sync."""

    def __init__(self, subscription: LiteSubscription) -> None:
        self._subscription = subscription

    async def replace(self, names: Collection[str]) -> None:
        """Exactly `names` from now on; evicts nobody, renews the lease, brings back what expiry or a restart took."""
        await self._subscription._send(stubs.COMPLETE_ADD, names)

    async def remove(self, names: Collection[str]) -> None:
        await self._subscription._send(stubs.PARTIAL_REMOVE, names)


def _chunks(names: Collection[str]) -> Iterator[list[str]]:
    iterator = iter(names)
    while some := list(islice(iterator, BULK_NAMES)):
        yield some
