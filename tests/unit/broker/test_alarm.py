"""One timer, on both event loops that are in use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from litevoice_broker.alarm import Alarm

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_the_earliest_time_counts_even_one_that_is_past(run: Run) -> None:
    async def scenario() -> None:
        rung: list[float] = []
        loop = asyncio.get_running_loop()
        rang = asyncio.Event()

        def ring() -> None:
            rung.append(loop.time())
            rang.set()

        alarm = Alarm(ring)
        alarm.set(loop.time() + 3600)
        alarm.set(loop.time() - 1)
        alarm.set(loop.time() - 2)
        alarm.set(loop.time() + 3600)
        await asyncio.wait_for(rang.wait(), 10)
        assert len(rung) == 1
        alarm.set(loop.time())
        alarm.cancel()
        alarm.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(rung) == 1
        rang.clear()
        alarm.set(loop.time())
        await asyncio.wait_for(rang.wait(), 10)
        assert len(rung) == 2

    run(scenario())
