"""A pause that something ends early."""

from __future__ import annotations

import asyncio


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether it is set by then; None: whenever that is. Not `asyncio.wait_for`, which in Python 3.11 may swallow a
    cancellation that comes together with the event."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
