"""Sends one message through a producer and waits for the broker's confirmation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from litevoice_broker.producer import Done, Producer


async def send_fifo(producer: Producer, topic: str, group: str, properties: Mapping[str, str], body: bytes) -> None:
    confirmed, done = _confirmation()
    producer.enqueue_fifo(topic, group, properties, body, done)
    await confirmed


async def send_lite(producer: Producer, parent_topic: str, lite_topic: str, body: bytes) -> None:
    confirmed, done = _confirmation()
    producer.enqueue_lite(parent_topic, lite_topic, body, done)
    await confirmed


def _confirmation() -> tuple[asyncio.Future[None], Done]:
    future = asyncio.get_running_loop().create_future()

    def done(error: BaseException | None) -> None:
        if future.done():
            return  # whoever waited was cancelled
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    return future, done
