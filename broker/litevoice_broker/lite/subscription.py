"""The calls that ownership wants made: subscriptions through the proxy, questions through the admin protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

from litevoice_broker import stubs
from litevoice_broker.admin import Admin
from litevoice_broker.connection import Connection
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import Answer, Ask, AskOwn, Listed, Replace, Subscribe, Unsubscribe, What
from litevoice_broker.lite.full_sync import ASKED_AT_ONCE
from litevoice_broker.patience import Patience

logger = logging.getLogger(__name__)
T = TypeVar("T")

BULK_NAMES = 2000
"""Names in one request; 2,000 take the broker 34 to 155 ms."""
BULK_TIMEOUT_SECONDS = 10.0
ASKED_SECONDS = 2.0
"""How long an answer is waited for."""


class Subscriptions:
    def __init__(self, connection: Connection, parent_topic: str, group: str, admin: Admin) -> None:
        self._connection = connection
        self._parent_topic = parent_topic
        self._group = group
        self._admin = admin

    async def call(self, what: What) -> Answer:
        """See `Ownership.answered`. Never raises: a call without an answer would hold up what follows it for ever."""
        try:
            match what:
                case Subscribe(names, offset):
                    await self._send_some(stubs.PARTIAL_ADD, names, offset)
                case Unsubscribe(names):
                    await self._send_some(stubs.PARTIAL_REMOVE, names)
                case Replace(names, link) if link == self._connection.generation:
                    await self.send(stubs.COMPLETE_ADD, names)
                case Ask(names, pause):
                    await asyncio.sleep(pause)
                    return await self.listed(names)
                case AskOwn():
                    return await self.own()
        except BrokerError as error:
            return error
        except Exception as error:
            logger.exception("a call about LiteTopics failed")
            return BrokerUnavailable(f"{type(what).__name__}: {error!r}")
        return None

    async def _send_some(self, action: int, names: Sequence[str], offset: int | None = None) -> None:
        for first in range(0, len(names), BULK_NAMES):
            await self.send(action, names[first : first + BULK_NAMES], offset)

    async def send(self, action: int, names: Collection[str], offset: int | None = None) -> None:
        """One SyncLiteSubscription. Raises BrokerError."""
        request = stubs.service.SyncLiteSubscriptionRequest(
            action=action,
            topic=stubs.resource(self._parent_topic),
            group=stubs.resource(self._group),
            lite_topic_set=names,
        )
        if offset is not None:
            request.offset_option.offset = offset
        await self._connection.call("SyncLiteSubscription", request, BULK_TIMEOUT_SECONDS)

    async def listed(self, names: Sequence[str]) -> dict[str, Listed]:
        """By name. Sessions do not wait for the admin protocol: what it does not answer for is left out."""
        known: dict[str, Listed] = {}
        for first in range(0, len(names), ASKED_AT_ONCE):
            some = names[first : first + ASKED_AT_ONCE]
            found = await self._answer(partial(self._admin.lite_topics, self._parent_topic, some, self._group))
            if found is None:
                break
            for name, info in zip(some, found, strict=True):
                known[name] = Listed(set(info.subscribers), info.max_offset) if info else Listed((), 0)
        return known

    async def own(self) -> dict[str, Listed]:
        """What this client is subscribed to, with its own id; see `listed`."""
        me = str(self._connection.config.client_id)
        names = await self._answer(partial(self._admin.lite_topics_of, self._parent_topic, self._group, me))
        return dict.fromkeys(names or (), Listed((me,)))

    async def length(self, name: str) -> int | None:
        """Of its log, the position that its next message gets; None: not known."""
        found = await self._answer(partial(self._admin.lite_topics, self._parent_topic, [name], self._group))
        return found[0].max_offset if found and found[0] is not None else None

    async def wake(self) -> None:
        """See `LiteChannel.wake`."""
        me = str(self._connection.config.client_id)
        await self._answer(partial(self._admin.dispatch_lite_topics, self._parent_topic, self._group, me))

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Asked once more when this process stood still meanwhile: that it has read no answer is not the broker's
        silence."""
        for again in (True, False):
            patience = Patience(ASKED_SECONDS)
            try:
                async with patience:
                    return await ask()
            except (BrokerError, TimeoutError) as error:
                reason = str(error) or f"no answer in {ASKED_SECONDS} s"
                logger.warning("a question about LiteTopics has no answer", extra={"reason": reason})
            if not (again and patience.stood_still):
                break
        return None
