"""Many calls, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def each(items: Iterable[Item], call: Callable[[Item], Awaitable[Answer]], at_once: int) -> list[Answer]:
    """The answers in the order of `items`. The first error ends it, and what has not begun is not called."""
    slots = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Answer:
        async with slots:
            return await call(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
