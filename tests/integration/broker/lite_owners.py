"""Owners of LiteTopics for the tests of the lite channel, and what they saw."""

from __future__ import annotations

import contextlib
import secrets
from collections import defaultdict
from typing import Any

from litevoice_broker.admin import Admin
from litevoice_broker.lite.channel import Delivery
from litevoice_broker.lite.full_sync import Postponed
from litevoice_broker.producer import Producer
from tests.integration.sending import send_lite


def new_name() -> str:
    return f"s-{secrets.token_hex(6)}"


class Log:
    """What a channel delivered and lost."""

    def __init__(self) -> None:
        self.positions: dict[str, list[int]] = defaultdict(list)
        self.bodies: dict[str, list[bytes]] = defaultdict(list)
        self.evicted: list[str] = []

    def take(self, delivery: Delivery) -> None:
        self.positions[delivery.name].append(delivery.position)
        self.bodies[delivery.name].append(delivery.body)


async def send(producer: Producer, kit: Any, name: str, first: int, last: int) -> None:
    """Positions `first` to `last - 1`."""
    for number in range(first, last):
        await send_lite(producer, kit.names.reply_topic, name, b"%d" % number)


async def subscribers(admin: Admin, kit: Any, name: str) -> list[str]:
    info = await admin.lite_topic(kit.names.reply_topic, name, kit.names.gateway_group)
    return [] if info is None else [client.split("@")[0] for client in info.subscribers]


async def owner(kit: Any, pod: str, **options: Any) -> tuple[Any, Log]:
    log = Log()
    options = {"config": kit.config(pod), **options}
    return await kit.channel(log.take, log.evicted.append, **options), log


async def synced(channel: Any) -> None:
    """A full sync that the broker answered. On a busy machine one gives way to a subscription without an answer."""
    while True:
        with contextlib.suppress(Postponed):
            await channel._sync()
            return
