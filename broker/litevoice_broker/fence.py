"""Who owns a partition: the exclusive subscriber of its LiteTopic in the control topic. Newest wins, the loser is told.

The same primitive as a session's takeover; no message ever goes through these LiteTopics.
"""

from __future__ import annotations

from collections.abc import Callable

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.observing import Observer
from litevoice_contracts.names import Names


class Fence:
    """The partitions that this worker owns. `on_lost` is called in the event loop when another worker acquired one.

    `admin`: finds out after a reconnect what was lost while the proxy could not be reached (see LiteChannel).
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
        self._on_lost(self._partitions[name])


def _ignore(delivery: Delivery) -> None:
    """Nobody sends through a fence."""
