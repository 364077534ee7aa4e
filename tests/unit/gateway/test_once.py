"""An event that happens once."""

from __future__ import annotations

import asyncio

from litevoice_gateway.once import Once


async def test_all_who_wait_are_told_and_who_comes_later_need_not_wait() -> None:
    once = Once()
    waiting = [asyncio.create_task(once.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    assert not once.is_set()
    assert not any(task.done() for task in waiting), "one that gave up takes nobody with it"
    once.set()
    once.set()
    await asyncio.gather(*waiting)
    await once.wait()
    assert once.is_set()
