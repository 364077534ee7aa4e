"""Tests wait for conditions, never for a time."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable

PATIENCE_SECONDS = 120.0
"""Only for what never comes: two cores that run three brokers beside one another can be this slow."""


async def until(
    condition: Callable[..., object],
    seen: str | Callable[[], object] = "",
    timeout_seconds: float = PATIENCE_SECONDS,
    *,
    step_seconds: float = 0.01,
) -> None:
    """Until `condition()`, or what it returns awaited, is true.

    Raises AssertionError with `seen`: what was waited for, or a function that tells what is there instead.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                result = condition()
                if inspect.isawaitable(result):
                    result = await result
                if result:
                    return
                await asyncio.sleep(step_seconds)
    except TimeoutError:
        told = seen() if callable(seen) else seen
        raise AssertionError(f"not within {timeout_seconds:g} s: {told or 'the condition'}") from None


class Pauses:
    """`longest`: for how many seconds at most this event loop has not gone on."""

    longest = 0.0


@contextlib.asynccontextmanager
async def watching_the_loop() -> AsyncIterator[Pauses]:
    pauses = Pauses()

    async def look() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.longest = max(pauses.longest, time.monotonic() - began)

    looking = asyncio.create_task(look())
    try:
        yield pauses
    finally:
        looking.cancel()
