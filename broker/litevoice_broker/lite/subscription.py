"""The calls that ownership wants made: subscriptions through the proxy, questions through the admin protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence

from litevoice_broker import stubs
from litevoice_broker.admin import Admin
from litevoice_broker.connection import Connection
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.commands import Answer, Ask, Replace, Subscribe, Unsubscribe, What

logger = logging.getLogger(__name__)

BULK_NAMES = 2000
"""Names in one request; 2,000 take the broker 34 to 155 ms."""
BULK_TIMEOUT_SECONDS = 10.0
ASKED_AT_ONCE = 100
"""LiteTopics whose subscribers are asked for at a time; 5,000 take 1.5 to 2 s."""
ASKED_SECONDS = 2.0
"""How long an answer is waited for."""


class Subscriptions:
    def __init__(self, connection: Connection, parent_topic: str, group: str, admin: Admin) -> None:
        self._connection = connection
        self._parent_topic = parent_topic
        self._group = group
        self._admin = admin

    async def call(self, what: What) -> Answer:
        """See `Ownership.answered`. Never raises for the broker."""
        try:
            match what:
                case Subscribe(names, offset):
                    await self._send_some(stubs.PARTIAL_ADD, names, offset)
                case Unsubscribe(names):
                    await self._send_some(stubs.PARTIAL_REMOVE, names)
                case Replace(names, link) if link == self._connection.generation:
                    await self.send(stubs.COMPLETE_ADD, names)
                case Ask(names):
                    return await self.subscribers(names)
        except BrokerError as error:
            return error
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

    async def subscribers(self, names: Sequence[str]) -> dict[str, set[str]]:
        """Client ids by name. Sessions do not wait for the admin protocol: what it does not answer for is left out."""
        known: dict[str, set[str]] = {}
        for first in range(0, len(names), ASKED_AT_ONCE):
            some = names[first : first + ASKED_AT_ONCE]
            try:
                async with asyncio.timeout(ASKED_SECONDS):
                    found = await self._admin.lite_topics(self._parent_topic, some)
            except (BrokerError, TimeoutError) as error:
                logger.warning(
                    "cannot tell who owns the LiteTopics",
                    extra={"reason": str(error) or f"no answer in {ASKED_SECONDS} s"},
                )
                break
            known |= {name: set(info.subscribers if info else ()) for name, info in zip(some, found, strict=True)}
        return known
