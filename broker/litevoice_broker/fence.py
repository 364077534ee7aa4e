"""(in progress)"""

from __future__ import annotations

from collections.abc import Callable

from litevoice_broker.connection import BrokerConfig, ConnectedClient
from litevoice_broker.observing import Observer
from litevoice_contracts.names import Names


class Fence(ConnectedClient):
    """Which partitions this worker owns: one exclusive LiteTopic per partition in the control topic."""

    def __init__(
        self,
        config: BrokerConfig,
        names: Names,
        *,
        on_lost: Callable[[int], None],
        observer: Observer | None = None,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def acquire(self, partition: int) -> None: ...

    async def release(self, partition: int) -> None: ...
