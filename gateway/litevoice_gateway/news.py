"""The gateway's own LiteTopic at a broker, where workers tell what belongs to no turn: how far they are, and that they
live."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Protocol

from litevoice_broker.errors import BrokerError
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import ClientId
from litevoice_contracts.news import WorkerNews

logger = logging.getLogger(__name__)

RENEW_SECONDS = 300.0
"""After this long without news the LiteTopic is exchanged for a fresh one: it may have expired at the broker, and an
expired one that is used again counts its positions from 0. The broker's shortest expiration is 15 minutes."""
RECENT_SECONDS = 10.0
"""What a worker said of a partition longer ago says nothing any more."""
BEHIND_SECONDS = 1.0
"""A worker that is this far behind with a partition is busy, not gone."""


class Channel(Protocol):
    """What is needed of `LiteChannel`."""

    async def subscribe(self, names: Collection[str]) -> None: ...

    async def release(self, name: str) -> None: ...


class NewsTopic:
    """Attributes:
    name: LiteTopic that workers shall write to; what they write before it is subscribed waits at the broker.
    """

    def __init__(self, channel: Channel, new_name: Callable[[], str], now: float) -> None:
        self.name = new_name()
        self._new_name = new_name
        self._channel = channel
        self._heard = now
        self._subscribed = ""

    def heard(self, now: float) -> None:
        """A message of the LiteTopic has come."""
        self._heard = now

    async def keep(self, now: float) -> None:
        """To be called every second or so: subscribes, and exchanges what has long been quiet."""
        if now - self._heard >= RENEW_SECONDS:
            self.name, self._heard = self._new_name(), now
        name, old = self.name, self._subscribed
        if name == old:
            return
        try:
            await self._channel.subscribe([name])
            self._subscribed = name
            if old:
                await self._channel.release(old)
        except BrokerError as error:
            logger.warning("cannot subscribe to workers' news", extra={"reason": str(error)})


class Workers:
    """What they have told."""

    def __init__(self) -> None:
        self._readers: dict[int, str] = {}
        self._behind: dict[int, tuple[float, float]] = {}
        self._full: dict[str, tuple[bool, float]] = {}
        self._busy: dict[str, tuple[float, float]] = {}

    def new_readers(self, news: WorkerNews) -> set[int]:
        """The partitions that another worker reads now. Whoever is heard of first may not be the first that reads: what
        was sent before may have ended with another one; so may what was sent since, until that one has lost it."""
        changed = {entry.partition for entry in news.partitions if self._readers.get(entry.partition) != news.worker}
        self._readers |= {entry.partition: news.worker for entry in news.partitions}
        return changed | set(news.lost)

    def reader(self, partition: int) -> tuple[str, float | None, float]:
        """The pod that reads the partition, when it last told of it (monotonic; None: never), and how far behind it was
        then, in seconds."""
        told, client = self._behind.get(partition), ClientId.parse(self._readers.get(partition, ""))
        return client.pod if client else "", told[1] if told else None, told[0] if told else 0.0

    def lag(self, now: float) -> float:
        """How far they are behind, in seconds; the largest of all partitions that were told of lately."""
        recent = (behind for behind, at in self._behind.values() if now - at < RECENT_SECONDS)
        return max(recent, default=0.0)

    def full(self, now: float) -> bool:
        """None of those that were heard of lately takes another session."""
        self._full = {worker: (full, at) for worker, (full, at) in self._full.items() if now - at < RECENT_SECONDS}
        return bool(self._full) and all(full for full, _ in self._full.values())

    def busy(self, now: float) -> float:
        """The share of its CPU that the busiest one uses, of those that were heard of lately."""
        self._busy = {worker: (busy, at) for worker, (busy, at) in self._busy.items() if now - at < RECENT_SECONDS}
        return max((busy for busy, _ in self._busy.values()), default=0.0)

    def take(self, body: bytes, now: float) -> WorkerNews | None:
        """A message of a `NewsTopic`; None for an unreadable one."""
        try:
            news = WorkerNews.decode(body)
        except InvalidField as error:
            logger.error("news skipped", extra={"reason": error.field})
            return None
        self._full[news.worker] = (news.full, now)
        self._busy[news.worker] = (news.busy, now)
        self._behind |= {entry.partition: (entry.behind_seconds, now) for entry in news.partitions}
        return news
