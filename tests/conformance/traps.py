"""What RocketMQ does that litevoice relies on or works around (ADR 3, docs/rocketmq.md): the model broker of the
simulator must do the same. Each trap gets a party of its own, with topics that nobody else uses."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from tests.conformance import lite_traps, partition_traps, restart_traps, slow_traps
from tests.conformance.client import Party, Place

Trap = Callable[[Party], Awaitable[None]]
RestartTrap = Callable[[Party], AsyncGenerator[None]]


def _of(*modules: ModuleType) -> Iterator[Any]:
    for module in modules:
        for name, trap in vars(module).items():
            if inspect.isroutine(trap) and trap.__module__ == module.__name__ and not name.startswith("_"):
                yield trap


TRAPS: Sequence[Trap] = list(_of(lite_traps, partition_traps))
SLOW: Sequence[Trap] = list(_of(slow_traps))
"""These take seconds, and run beside one another."""
RESTARTS: Sequence[RestartTrap] = list(_of(restart_traps))

ONLY_5_5_0 = {
    "a_full_sync_puts_an_evicted_client_back",
    "what_was_dispatched_before_an_eviction_still_comes",
    "expiry_drops_messages_and_subscription_and_tells_nobody",  # 5.5.1 does, but not before 15 minutes
}


def name(trap: Callable[..., object]) -> str:
    return str(getattr(trap, "__name__", trap))


async def spring(trap: Trap, place: Place) -> None:
    party = Party(place)
    try:
        await trap(party)
    finally:
        await party.end()


async def spring_in_their_time(
    slow: Sequence[tuple[Trap, Place]],
    over_a_restart: Sequence[tuple[RestartTrap, Place]],
    written: Callable[[], Awaitable[None]],
    restart: Callable[[], Awaitable[None]],
    kill_proxy: Callable[[], Awaitable[None]],
) -> dict[str, Exception]:
    """What went wrong, by trap. `written` waits for what the broker writes from time to time; `restart` kills it, soon:
    what it has not written by then is gone."""
    parties = [Party(place) for _, place in over_a_restart]
    opened = [trap(party) for (trap, _), party in zip(over_a_restart, parties, strict=True)]
    wrong: dict[str, Exception] = {}

    async def tried(trap: Callable[..., object], work: Awaitable[object]) -> None:
        try:
            await work
        except StopAsyncIteration:
            pass
        except Exception as error:
            wrong[name(trap)] = error

    async def go_on(*, after_the_restart: bool = False) -> None:
        async def one(party: Party, trap: AsyncGenerator[None]) -> None:
            if after_the_restart:
                await party.works()
            await anext(trap)

        going = zip(over_a_restart, parties, opened, strict=True)
        await asyncio.gather(
            *(tried(trap, one(party, at)) for (trap, _), party, at in going if name(trap) not in wrong)
        )

    try:
        await asyncio.gather(go_on(), *(tried(trap, spring(trap, place)) for trap, place in slow))
        await written()
        await go_on()
        await restart()
        await go_on(after_the_restart=True)
        await kill_proxy()
        await go_on()
    finally:
        await asyncio.gather(*(party.end() for party in parties))
    return wrong
