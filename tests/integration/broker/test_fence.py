"""Ownership of partitions: newest wins, the loser is told, a killed owner is replaced at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.fence import Fence
from litevoice_contracts.names import Names
from litevoice_dev.ports import HOST, free_port
from tests.integration.gateway.process import Wire
from tests.waiting import until


async def fence(kit: Any, pod: str) -> tuple[Fence, list[int]]:
    lost: list[int] = []
    made = Fence(kit.config(pod), kit.names, on_lost=lost.append, admin=kit.admin)
    kit.closed_later(made)
    await made.start()
    await made.wait_ready(60)
    return made, lost


async def owner(kit: Any, admin: Admin, partition: int) -> list[str]:
    info = await admin.lite_topic(kit.names.control_topic, kit.names.fence(partition), kit.names.fence_group)
    return [] if info is None else [client.split("@")[0] for client in info.subscribers]


async def test_newest_owner_wins_and_the_other_is_told(kit: Any, admin: Admin) -> None:
    first, first_lost = await fence(kit, "first")
    second, second_lost = await fence(kit, "second")
    await first.acquire(0)
    await first.acquire(1)
    assert first.owns(0)
    started = time.monotonic()
    await second.acquire(1)
    await until(lambda: first_lost == [1])
    assert time.monotonic() - started < 5
    assert (first.owns(0), first.owns(1), second.owns(1)) == (True, False, True)
    assert await owner(kit, admin, 1) == ["second"]
    async with asyncio.timeout(10):  # a link that broke meanwhile brings it back with its next full sync
        while await owner(kit, admin, 0) != ["first"]:
            await asyncio.sleep(0.1)
    await first.acquire(1)
    await until(lambda: second_lost == [1])
    assert await owner(kit, admin, 1) == ["first"]


async def test_takeovers_while_the_name_server_is_down_evict_nobody_else(kit: Any, names: Names) -> None:
    """The brokers are known from before; who holds what, they tell."""
    port = free_port()
    async with Wire(kit.name_server, port) as wire:
        admin = Admin(f"{HOST}:{port}")
        assert await admin.cluster.masters()
        fences = []
        for pod in ("first", "second"):
            made = Fence(kit.config(pod), kit.names, on_lost=lambda partition: None, admin=admin)
            kit.closed_later(made)
            await made.start()
            await made.wait_ready(60)
            fences.append(made)
        first, second = fences
        await first.acquire(0)

        async def agreed() -> bool:
            owners = {made.me for made in fences if made.owns(1)}
            return len(owners) == 1 and await first.holders([names.fence(1)]) == {names.fence(1): owners}

        wire.cut()
        for one, other in ((second, first), (first, second)) * 5:
            await one.acquire(1)
            await other.acquire(1)
            await one.acquire(1)
            await asyncio.sleep(0.5)  # the notices have been read, and what they made doubtful has been asked
            await until(agreed, "one owner, whom the broker lists")
        assert first.owns(0)
        assert await first.holders([names.fence(0)]) == {names.fence(0): {first.me}}
        _, committed = await admin.offsets(names.partition_topic(0), names.worker_group)
        assert await admin.reset_offset_to_committed(names.partition_topic(0), names.worker_group) == committed
        await admin.close()


async def test_presence(kit: Any, names: Names) -> None:
    """Of the newest process of a name, while it lives."""
    old, _ = await fence(kit, "worker")
    other, lost = await fence(kit, "other")
    presence = names.presence("worker")
    await old.announce()
    assert await other.holders([presence, names.fence(0)]) == {presence: {old.me}, names.fence(0): set()}
    new, _ = await fence(kit, "worker")
    await new.announce()
    await until(lambda: not old.announced, "the older process to be told")
    assert await other.holders([presence]) == {presence: {new.me}}
    await new.retract()
    assert not new.announced
    assert await other.holders([presence]) == {presence: set()}
    assert lost == []


async def test_acquiring_again_is_no_loss(kit: Any) -> None:
    first, lost = await fence(kit, "first")
    for _ in range(5):
        await first.acquire(0)
    assert first.owns(0)
    assert lost == []


async def test_release(kit: Any, admin: Admin) -> None:
    first, lost = await fence(kit, "first")
    await first.acquire(0)
    await first.release(0)
    await first.release(0)
    assert not first.owns(0)
    assert await owner(kit, admin, 0) == []
    assert lost == []


@pytest.mark.parametrize("partition", [-1, 2, 99])
async def test_unknown_partition_is_refused(kit: Any, partition: int) -> None:
    first, _ = await fence(kit, "first")
    with pytest.raises(ValueError, match="0 to 1"):
        await first.acquire(partition)
