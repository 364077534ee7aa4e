"""What a lite channel knows about one LiteTopic that it owns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from litevoice_broker.lite_order import PositionOrder


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message. `position`: its offset in the LiteTopic; `born_at`: Unix seconds, by the sender's clock."""

    name: str
    position: int
    body: bytes
    properties: Mapping[str, str]
    born_at: float


@dataclass(slots=True)
class Owned:
    """`lock`: held during each takeover of this LiteTopic."""

    order: PositionOrder
    lock: asyncio.Lock
    number: int = 0
    """Which takeover that our user asked for made it ours, counted over all LiteTopics of the channel."""
    subscribed: bool = False
    """The broker may know us as subscriber."""
    synced: bool = False
    """A full sync has named it since its last takeover, and may have put us back beside a newer owner."""
    doubts: int = 0
    """Notices that are being asked about: what comes meanwhile is handed back, it may be somebody else's."""
    deaf: bool = False
    """A takeover that our user asked for has not come to its last step: notices belong to what it overrides."""
    paused: bool = False
    withheld: bool = False
    """Something came while paused and waits at the broker."""
    last_message: float = 0.0
    gap_timer: asyncio.TimerHandle | None = None
    verify_timer: asyncio.TimerHandle | None = None

    def arm_gap(self, action: Callable[[], None]) -> None:
        """Calls `action` when the missing position had its time to come; does nothing when that is under way."""

        def fire() -> None:
            self.gap_timer = None
            action()

        if self.gap_timer is None:
            self.gap_timer = asyncio.get_running_loop().call_later(self.order.gap_wait_seconds(), fire)

    def arm_verify(self, seconds: float, action: Callable[[], None]) -> None:
        if self.verify_timer is not None:
            self.verify_timer.cancel()
        self.verify_timer = asyncio.get_running_loop().call_later(seconds, action)

    def cancel_timers(self) -> None:
        for timer in (self.gap_timer, self.verify_timer):
            if timer is not None:
                timer.cancel()
        self.gap_timer = self.verify_timer = None
