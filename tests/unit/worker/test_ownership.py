"""A worker that leaves: what its last poll brings is handled, or left to the next owner; nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, cast

import pytest

from litevoice_broker.partition_consumer import PartitionMessage
from litevoice_contracts.names import ClientId, Names
from litevoice_worker import claims, ownership
from litevoice_worker.ownership import Certain, Ownership

STILL_SECONDS = 0.2
MESSAGE = PartitionMessage(7, {}, b"", 0.0)
Handle = Callable[[Sequence[PartitionMessage]], Awaitable[None]]


class Fence:
    """Nobody else is there."""

    me = ClientId.new("worker-0", "127.0.0.1", "fence")
    announced = True

    def __init__(self, happened: list[str]) -> None:
        self.happened = happened

    async def holders(self, names: Collection[str]) -> dict[str, frozenset[ClientId]]:
        return {name: frozenset({self.me} if name == Names.presence("worker-0") else ()) for name in names}

    async def acquire(self, _partition: int) -> None: ...

    async def release(self, _partition: int) -> None:
        self.happened.append("fence released")

    async def retract(self) -> None: ...

    def owns(self, _partition: int) -> bool:
        return True


class LastPoll:
    """A consumer whose open poll brings a batch `after` seconds, when it is left."""

    def __init__(self, handle: Handle, after: float) -> None:
        self._handle = handle
        self._after = after
        self.handled: bool | None = None

    async def start(self) -> None: ...

    async def leave(self) -> None:
        await asyncio.sleep(self._after)
        try:
            await self._handle([MESSAGE])
            self.handled = True
        except RuntimeError:
            self.handled = False

    async def abandon(self) -> None: ...


class Everything:
    """Members, admin and sessions, as far as they are asked."""

    ready = frozenset({"worker-0"})

    def __init__(self, happened: list[str], farewell: float) -> None:
        self._happened = happened
        self._farewell = farewell

    def on_change(self, _wake: Callable[[], None]) -> None: ...

    async def offsets(self, _topic: str, _group: str) -> tuple[int, int]:
        return 7, 7

    async def reset_offset_to_committed(self, _topic: str, _group: str, before: int) -> int:
        return 7

    async def hand_over(self, _partition: int) -> None:
        await asyncio.sleep(self._farewell)
        self._happened.append("sessions handed over")

    def forget_partition(self, _partition: int) -> None: ...


async def leaving(
    after: float, block_seconds: float = 0.0, *, farewell: float = 0.0, happened: list[str] | None = None
) -> bool | None:
    """Whether the batch that came `after` seconds was handled; the process stands still for `block_seconds` before.
    Its sessions are handed over in `farewell` seconds."""
    consumers: list[LastPoll] = []

    def make(_topic: str, handle: Handle) -> Any:
        consumers.append(LastPoll(handle, after))
        return consumers[-1]

    async def handler(_partition: int, _messages: Sequence[PartitionMessage], _certain: Certain) -> None: ...

    happened = [] if happened is None else happened
    others = cast(Any, Everything(happened, farewell))
    owner = Ownership(
        Names("r", "s", 1),
        others,
        cast(Any, Fence(happened)),
        admin=others,
        make_consumer=make,
        handler=handler,
        peek=lambda _partition, _messages: None,
        sessions=others,
        on_owned=lambda _count: None,
        on_lost=lambda _partition: None,
    )
    await owner.start()
    async with asyncio.timeout(5):
        while not owner.owned:
            await asyncio.sleep(0.01)
        going = asyncio.create_task(owner.leave())
        if block_seconds:
            await asyncio.sleep(after / 2)
            asyncio.get_running_loop().call_soon(time.sleep, block_seconds)
        await going
    return consumers[0].handled


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "STILL_SECONDS", STILL_SECONDS)
    monkeypatch.setattr(claims, "NEVER_SEEN_SECONDS", 0.0)
    monkeypatch.setattr(ownership, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(ownership, "FAREWELL_SECONDS", 0.1)


async def test_what_the_last_poll_brings_late_is_handled() -> None:
    assert await leaving(after=3 * STILL_SECONDS) is True


async def test_a_leaving_worker_that_stood_still_leaves_it_to_the_next_owner() -> None:
    assert await leaving(after=STILL_SECONDS / 4, block_seconds=2 * STILL_SECONDS) is False


@pytest.mark.parametrize(
    ("farewell", "want"),
    [
        (0.02, ["sessions handed over", "fence released"]),
        (0.3, ["fence released", "sessions handed over"]),
    ],
    ids=["nothing is said after the next one may have asked", "a broker that is away holds up no others"],
)
async def test_sessions_are_handed_over_before_their_next_owner_can_ask(farewell: float, want: list[str]) -> None:
    happened: list[str] = []
    await leaving(after=0.0, farewell=farewell, happened=happened)
    assert happened == want
