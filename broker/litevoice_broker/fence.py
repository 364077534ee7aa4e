"""Who owns a partition: the exclusive subscriber of its LiteTopic in the control topic. Newest wins, the loser is told.
And which workers live: each is subscribed to a LiteTopic of its own there, its presence.

The same primitive as a session's takeover; no message ever goes through these LiteTopics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.observing import Observer
from litevoice_contracts.names import ClientId, Names

HOLDERS_SECONDS = 2.0
"""How long an answer is waited for; a later one would say little about the moment."""


class Fence:
    """The partitions that this worker owns. `on_lost` is called in the event loop when another worker acquired one.

    `admin`: tells who holds what, and finds out after a reconnect what was lost while the proxy could not be reached
    (see LiteChannel).

    Attributes:
        me: as whom the broker lists this worker.
    """

    def __init__(
        self,
        config: BrokerConfig,
        names: Names,
        *,
        on_lost: Callable[[int], None],
        admin: Admin,
        observer: Observer | None = None,
    ) -> None:
        self.me = config.client_id
        self._presence = names.presence(self.me.pod)
        self._admin = admin
        self._partitions = {names.fence(partition): partition for partition in range(names.partitions)}
        self._names = names
        self._on_lost = on_lost
        self._channel = LiteChannel(
            config,
            names.control_topic,
            names.fence_group,
            on_delivery=_ignore,
            on_evicted=self._evicted,
            admin=admin,
            observer=observer,
        )

    @property
    def ready(self) -> bool:
        return self._channel.ready

    @property
    def unready_reason(self) -> str:
        """ "" when ready."""
        return self._channel.unready_reason

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Raises BrokerUnavailable with the reason when it is not ready in time."""
        await self._channel.wait_ready(timeout_seconds)

    def on_health(self, callback: Callable[[], None]) -> None:
        self._channel.on_health(callback)

    async def start(self) -> None:
        """Returns at once; connects, and keeps trying, in the background."""
        await self._channel.start()

    async def close(self) -> None:
        """Releases every partition. Idempotent."""
        await self._channel.close()

    @property
    def announced(self) -> bool:
        """Whether this worker is present, as far as it has been told."""
        return self._channel.position(self._presence) is not None

    async def announce(self) -> None:
        """Makes this worker present: another process of its name is not any more. Raises BrokerError when the broker
        could not be told."""
        await self._channel.subscribe([self._presence])

    async def retract(self) -> None:
        """This worker is about to go: others need not wait for it. Idempotent; never raises for the broker."""
        await self._channel.release(self._presence)

    async def holders(self, names: Collection[str]) -> dict[str, frozenset[ClientId]]:
        """Who is subscribed to each of these fences and presences, at one moment. Raises BrokerError."""
        try:
            async with asyncio.timeout(HOLDERS_SECONDS):
                found = await self._admin.lite_topics(self._names.control_topic, names, self._names.fence_group)
        except TimeoutError:
            raise BrokerUnavailable(f"no answer about the fences in {HOLDERS_SECONDS:g} s") from None
        ids = ([ClientId.parse(subscriber) for subscriber in (info.subscribers if info else ())] for info in found)
        return {name: frozenset(who for who in some if who) for name, some in zip(names, ids, strict=True)}

    async def acquire(self, partition: int) -> None:
        """Makes this worker the owner, whoever was.

        Raises BrokerError when the broker could not be told, ValueError for a partition that does not exist.
        """
        if partition not in self._partitions.values():
            raise ValueError(f"partition: expected 0 to {self._names.partitions - 1}, got {partition}")
        await self._channel.subscribe([self._names.fence(partition)])

    async def release(self, partition: int) -> None:
        """Idempotent."""
        await self._channel.release(self._names.fence(partition))

    def owns(self, partition: int) -> bool:
        """Whether this worker acquired the partition and has not been told otherwise."""
        return self._channel.position(self._names.fence(partition)) is not None

    def _evicted(self, name: str) -> None:
        if name in self._partitions:
            self._on_lost(self._partitions[name])


def _ignore(delivery: Delivery) -> None:
    """Nobody sends through a fence."""
