"""How an eviction is told from a late notice: the newest subscriber owns a LiteTopic, and the broker says who that is.

Notices and answers come on different streams, so a notice may be older than the receiver's own last takeover. And a
full sync that was on its way may have put an evicted owner back beside the new one, so the broker may list both.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import islice

from litevoice_broker.admin import Admin
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite_owned import Owned

logger = logging.getLogger(__name__)

ASKED_AT_ONCE = 100
"""LiteTopics whose subscribers are asked for at a time; 5,000 take 1.5 to 2 s."""
ASKED_SECONDS = 2.0
"""How long an answer is waited for."""
DOUBT_SECONDS = (0.2, 0.4)
"""Longer than a takeover takes (p99 101 ms); not the same for two that are in doubt about one another."""


class Evictions:
    """`owned`: the channel's, by name; `me`: its client id; `evict` forgets one and tells the channel's user;
    `step_out` unsubscribes one; `claim_again` takes one over that nobody has."""

    def __init__(
        self,
        owned: Mapping[str, Owned],
        *,
        me: str,
        admin: Admin,
        parent_topic: str,
        evict: Callable[[str], None],
        step_out: Callable[[str], Awaitable[None]],
        claim_again: Callable[[str], None],
    ) -> None:
        self._owned = owned
        self._me = me
        self._admin = admin
        self._parent_topic = parent_topic
        self._evict = evict
        self._step_out = step_out
        self._claim_again = claim_again

    async def noticed(self, name: str, owned: Owned) -> None:
        """The broker said that somebody else has taken `name` over: now, or before our last takeover."""
        number = owned.number
        owned.doubts += 1
        try:
            async with owned.lock:  # in the middle of a takeover of our own nobody would be listed
                if not self._is(name, owned, number):
                    return
                ours = await self._look(name, owned, noticed=True)
                if self._is(name, owned, number) and not ours:
                    self._evict(name)
        finally:
            owned.doubts -= 1
        if self._is(name, owned, number) and not owned.subscribed and not owned.doubts:
            self._claim_again(name)  # once, after the last notice of several

    async def _look(self, name: str, owned: Owned, *, noticed: bool) -> bool | None:
        """Whether `name` is still ours, None when nobody answers; the caller holds `owned.lock`.

        Who is listed decides. Nobody: after a notice somebody is in the middle of a takeover, unless we have stepped
        out before and not claimed it again yet. Somebody beside us: they have nothing when only a full sync of theirs
        can have put them there. When a full sync of ours can have put us there, beside somebody or after a notice
        (RocketMQ 5.5.1 lists an evicted client that its full sync has put back, gives it nothing, and repeats the
        notice with each full sync), and when nobody is listed without a notice, it is decided by who is there when we
        have stepped out and whoever was taking over is done; if nobody is, it is ours to claim again
        (`owned.subscribed` is False).
        """
        subscribers = (await self._ask([name])).get(name)
        if subscribers is None:
            return None
        others = subscribers - {self._me}
        if self._me not in subscribers and (others or (noticed and owned.subscribed)):
            return False
        if subscribers and not (owned.synced and (others or noticed)):
            return True
        owned.subscribed = False  # else the next full sync puts us back
        owned.withheld = owned.paused
        try:
            await self._step_out(name)
        except BrokerError:
            return None
        await asyncio.sleep(random.uniform(*DOUBT_SECONDS))
        subscribers = (await self._ask([name])).get(name)
        return None if subscribers is None else not subscribers

    async def leave_if_taken(self, name: str, owned: Owned) -> None:
        """Forgets `name` if it is somebody else's; the caller holds `owned.lock`."""
        number = owned.number
        if await self._look(name, owned, noticed=False) is False and self._is(name, owned, number):
            self._evict(name)

    async def evict_taken(self, names: Collection[str]) -> set[str]:
        """Notices that came while the proxy was away are lost; the broker still knows who subscribed. Returns what it
        lists somebody for beside ourselves: an evicted owner that a full sync has put back, them or us."""
        asked = {name: (owned, owned.number) for name in names if (owned := self._owned.get(name)) is not None}
        known = await self._ask(asked)
        beside = set()
        for name, (owned, number) in asked.items():
            subscribers = known.get(name, set())
            if subscribers - {self._me} and self._is(name, owned, number):
                if self._me in subscribers:
                    beside.add(name)
                else:
                    self._evict(name)
        return beside

    def _is(self, name: str, owned: Owned, number: int) -> bool:
        """Whether it is still owned by the same takeover: one since then, or under way, has made it ours again."""
        return self._owned.get(name) is owned and owned.number == number and not owned.deaf

    async def _ask(self, names: Collection[str]) -> dict[str, set[str]]:
        """Client ids of the subscribers by name. Sessions do not wait for the admin protocol: what it does not answer
        for is left out."""
        known: dict[str, set[str]] = {}
        left = iter(names)
        while some := list(islice(left, ASKED_AT_ONCE)):
            try:
                async with asyncio.timeout(ASKED_SECONDS):
                    found = await self._admin.lite_topics(self._parent_topic, some)
            except (BrokerError, TimeoutError) as error:
                logger.warning("owners not known", extra={"reason": str(error) or f"no answer in {ASKED_SECONDS} s"})
                break
            known |= {name: set(info.subscribers if info else ()) for name, info in zip(some, found, strict=True)}
        return known
