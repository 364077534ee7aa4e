"""(in progress)"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from litevoice_broker.connection import BrokerConfig, ConnectedClient
from litevoice_broker.observing import Observer


@dataclass(frozen=True, slots=True)
class PartitionMessage:
    """One message. `offset`: in the partition's queue; `born_at`: Unix seconds, by the sender's clock."""

    offset: int
    message_group: str
    properties: Mapping[str, str]
    body: bytes
    delivery_attempt: int
    born_at: float


class PartitionConsumer(ConnectedClient):
    """One FIFO partition topic: batch → handler → ack → next poll, in order."""

    def __init__(
        self,
        config: BrokerConfig,
        topic: str,
        group: str,
        *,
        handler: Callable[[Sequence[PartitionMessage]], Awaitable[None]],
        long_poll_seconds: float = 5.0,
        observer: Observer | None = None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Returns at once; connects, and keeps trying, in the background."""

    async def leave(self) -> None:
        """Stops polling, lets the open poll end, acks, then tells the broker. Idempotent."""
