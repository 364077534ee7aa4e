"""Takes LiteTopics over again whose next message should have come: the broker loses wake-ups, links lose messages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from litevoice_broker.errors import BrokerError
from litevoice_broker.lite_order import VERIFY_SECONDS
from litevoice_broker.lite_owned import Owned

logger = logging.getLogger(__name__)

HEALS_AT_ONCE = 32
RECENT_SECONDS = 5.0


class Healer:
    """`owned`: the channel's, by name; `claim` takes one over at its next position, `leave_if_taken` forgets it when a
    newer owner has it, `remove` unsubscribes what is not owned any more, `spawn` runs work in the channel's
    background."""

    def __init__(
        self,
        owned: Mapping[str, Owned],
        *,
        claim: Callable[[str, Owned], Awaitable[None]],
        leave_if_taken: Callable[[str, Owned], Awaitable[None]],
        remove: Callable[[str], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        on_heal: Callable[[], None],
    ) -> None:
        self._owned = owned
        self._claim = claim
        self._leave_if_taken = leave_if_taken
        self._remove = remove
        self._spawn = spawn
        self._on_heal = on_heal
        self._running = asyncio.Semaphore(HEALS_AT_ONCE)

    def after_takeover(self, name: str, owned: Owned, number: int = 0) -> None:
        """The wake-up for what waits in the log can get lost while the last owner still acknowledges."""

        def verify() -> None:
            if not owned.order.delivered:
                self._spawn(self._heal(name, owned, then=lambda: self.after_takeover(name, owned, number + 1)))

        if number < len(VERIFY_SECONDS) and self._owned.get(name) is owned and not owned.paused:
            owned.arm_verify(VERIFY_SECONDS[number], verify)

    def after_gap(self, name: str, owned: Owned) -> None:
        """A later position has come: the missing one gets a moment."""

        def check() -> None:
            if owned.order.gap:
                self._on_heal()
                self._spawn(self._heal(name, owned))

        owned.arm_gap(check)

    def heal(self, names: Collection[str], *, ask: bool = True) -> None:
        """Something may have been lost: an acknowledgement, or the subscription."""
        for name in names:
            owned = self._owned.get(name)
            if owned is not None:
                self._spawn(self._heal(name, owned, ask=ask))

    @property
    def recent(self) -> set[str]:
        """What the old proxy may have taken from the broker for us, and lost, when the link broke a moment ago."""
        now = time.monotonic()
        return {
            name
            for name, owned in self._owned.items()
            if not owned.paused and not owned.deaf and now - owned.last_message < RECENT_SECONDS
        }

    async def _heal(self, name: str, owned: Owned, then: Callable[[], None] | None = None, *, ask: bool = True) -> None:
        """Takes the LiteTopic over again at the next position, unless it went away meanwhile.

        Not from a newer owner: to the broker a heal looks like any takeover, and the newest wins.
        """
        async with self._running, owned.lock:
            while self._owned.get(name) is owned and not owned.paused:
                if ask:
                    await self._leave_if_taken(name, owned)
                    if self._owned.get(name) is not owned:
                        break
                ask = True  # another try may come over another link, after an eviction that nobody told us of
                owned.order.heals += 1
                owned.order.restart()
                try:
                    await self._claim(name, owned)
                    break
                except BrokerError as error:
                    logger.info("heal failed", extra={"lite_topic": name, "reason": str(error)})
                    await asyncio.sleep(owned.order.gap_wait_seconds())
        if self._owned.get(name) is not owned:
            await self._remove(name)
        elif then is not None:
            then()
