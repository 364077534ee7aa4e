"""The loop that reconciles one resource, at its end."""

from __future__ import annotations

import asyncio

import pytest

from litevoice_operator.reconcile.loop import Loop


@pytest.mark.parametrize("turns", range(6))
async def test_trap_a_loop_that_is_woken_as_it_is_stopped_stops(turns: int) -> None:
    """In Python 3.11 `asyncio.wait_for` swallows a cancellation that comes together with what it waits for: a
    VoiceGateway's deletion, and the operator's end, waited for ever."""
    passes, acting = 0, asyncio.Event()
    acting.set()

    async def reconcile() -> float:
        nonlocal passes
        passes += 1
        return 60.0

    async def on_end() -> None: ...

    loop = Loop("VoiceGateway", ("voice", "demo"), reconcile, on_end, acting)
    while not passes:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    loop.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    stopped, _ = await asyncio.wait([asyncio.create_task(loop.stop())], timeout=5)
    assert stopped
