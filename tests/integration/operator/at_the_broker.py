"""What tests of the operator ask of the broker, or put there, beside the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from litevoice_broker.admin import Admin
from litevoice_contracts.names import Names
from tests.integration.conftest import BrokerKit
from tests.integration.sending import send_fifo
from tests.integration.shared_rocketmq import SharedRocketMQ

T = TypeVar("T")


def ask(rocketmq: SharedRocketMQ, question: Callable[[Admin], Awaitable[T]]) -> T:
    async def run() -> T:
        admin = Admin(rocketmq.name_server)
        try:
            return await question(admin)
        finally:
            await admin.close()

    return asyncio.run(run())


def missing(rocketmq: SharedRocketMQ, names: Names) -> list[str]:
    """What the broker does not have."""
    return ask(rocketmq, lambda admin: admin.names_exist(names))


def pile_up(rocketmq: SharedRocketMQ, names: Names) -> None:
    """Requests that no worker takes."""

    async def send() -> None:
        kit = BrokerKit(rocketmq, names)
        try:
            producer = await kit.producer()
            for _ in range(20):
                await send_fifo(producer, names.partition_topic(0), "s_1", {}, b"waits")
        finally:
            await kit.close()

    asyncio.run(send())
