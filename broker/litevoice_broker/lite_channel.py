"""(in progress)"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from litevoice_broker.connection import BrokerConfig, ConnectedClient
from litevoice_broker.observing import Observer


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message. `position`: its offset in the LiteTopic; `born_at`: Unix seconds, by the sender's clock."""

    name: str
    position: int
    body: bytes
    properties: Mapping[str, str]
    born_at: float


class LiteChannel(ConnectedClient):
    """All LiteTopics that this process owns under one parent topic, in one Exclusive group."""

    def __init__(
        self,
        config: BrokerConfig,
        parent_topic: str,
        group: str,
        *,
        on_delivery: Callable[[Delivery], None],
        on_evicted: Callable[[str], None],
        sync_seconds: float = 3.0,
        long_poll_seconds: float = 5.0,
        observer: Observer | None = None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Returns at once; connects, and keeps trying, in the background."""

    async def close(self) -> None:
        """Releases everything. Idempotent."""

    async def subscribe(self, names: Collection[str]) -> None:
        """Bulk; for LiteTopics that are new: delivery from position 0."""

    async def take_over(self, name: str, position: int) -> None:
        """Makes this process the owner; delivery from `position`."""

    async def release(self, name: str) -> None:
        """Gives the LiteTopic up. Idempotent."""

    def pause(self, name: str) -> None:
        """Stops delivering; what comes stays un-acknowledged at the broker."""

    async def resume(self, name: str) -> None:
        """Delivers again, from the next position."""

    def position(self, name: str) -> int | None:
        """Next expected position; None when not owned."""

    @property
    def owned(self) -> int:
        """Number of LiteTopics that this process owns."""
        raise NotImplementedError
