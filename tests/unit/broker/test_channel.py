"""The LiteTopics of one client, carried out: what the pure `Ownership` cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from litevoice_broker import stubs
from litevoice_broker.lite.channel import STOOD_STILL_SECONDS
from litevoice_broker.lite.commands import Answer, Ask, AskOwn, Fate, Listed, Replace, Subscribe, Unsubscribe, What
from tests.unit.broker.test_polls import lite_channel

N, THEM = "s-1", "them"


@pytest.mark.parametrize("stands_still", [True, False])
async def test_who_stood_still_looks_before_a_link_is_made_ready_again(
    monkeypatch: pytest.MonkeyPatch, *, stands_still: bool
) -> None:
    """That sends a full sync over the link that was there before: the machine takes it for settled."""
    channel: Any = lite_channel()
    calls: list[What] = []

    async def call(what: What) -> Answer:
        calls.append(what)
        return {"s-1": Listed((str(channel._connection.config.client_id),))} if isinstance(what, AskOwn) else None

    async def assign() -> None: ...

    monkeypatch.setattr(channel._subscriptions, "call", call)
    monkeypatch.setattr(channel._receiver, "assign", assign)
    channel._connection.generation = 1
    await channel._connected()
    await channel.take_over("s-1", 0)
    calls.clear()
    if stands_still:
        channel._beat_at -= STOOD_STILL_SECONDS + 1
    await channel._connected()
    assert [type(what) for what in calls] == ([AskOwn, Replace] if stands_still else [Replace])


async def test_no_link_is_made_ready_while_it_is_asked_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two notice the thaw: the full sync of one would put us back before the other's question is answered."""
    channel: Any = lite_channel()
    told = Told(channel, monkeypatch)

    async def assign() -> None: ...

    monkeypatch.setattr(channel._receiver, "assign", assign)
    channel._connection.generation = 1
    await channel._connected()
    await channel.take_over(N, 0)
    told.calls.clear()
    told.listed, told.held = (), asyncio.Event()
    channel._beat_at -= STOOD_STILL_SECONDS + 1
    looking = asyncio.create_task(channel._look_if_stood_still())
    await until_idle()
    linking = asyncio.create_task(channel._connected())
    await until_idle()
    assert told.calls == [AskOwn()]
    told.held.set()
    await asyncio.wait_for(asyncio.gather(looking, linking), 1.0)
    assert [type(what) for what in told.calls[:2]] == [AskOwn, Ask]
    assert isinstance(told.calls[-1], Replace)
    assert channel._ownership.links.unlisted() == {N: 1000}


async def test_who_stands_still_again_while_it_looks_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is about the time before, and the full sync that follows would put us back beside who has come."""
    channel: Any = lite_channel()
    told = Told(channel, monkeypatch)
    await channel.take_over(N, 0)
    told.calls.clear()
    told.held = asyncio.Event()
    channel._beat_at -= STOOD_STILL_SECONDS + 1
    looking = asyncio.create_task(channel._look_if_stood_still())
    await until_idle()
    channel._beat_at -= STOOD_STILL_SECONDS + 1
    told.held.set()
    await asyncio.wait_for(looking, 1.0)
    assert told.calls == [AskOwn(), AskOwn()]


class Told:
    """What a channel has had the broker told, and who is `listed` there."""

    def __init__(self, channel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[What] = []
        self.listed: Collection[str] = (str(channel._connection.config.client_id),)
        self.held: asyncio.Event | None = None
        monkeypatch.setattr(channel._subscriptions, "call", self._call)

    async def _call(self, what: What) -> Answer:
        self.calls.append(what)
        if self.held is not None:
            await self.held.wait()
        if isinstance(what, AskOwn) and not self.listed:
            return {}
        return {N: Listed(self.listed, 1000)} if isinstance(what, Ask | AskOwn) else None


def message(position: int) -> Any:
    one = stubs.definition.Message()
    one.system_properties.lite_topic = N
    one.system_properties.queue_offset = position
    return one


async def until_idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("first_comes", [True, False])
async def test_a_takeover_that_waits_for_its_first_message_while_we_stand_still_takes_nothing_back(
    monkeypatch: pytest.MonkeyPatch, *, first_comes: bool
) -> None:
    """Whatever goes on first at the thaw."""
    channel: Any = lite_channel()
    told = Told(channel, monkeypatch)
    takeover = asyncio.create_task(channel.take_over(N, 3))
    await until_idle()
    assert told.calls == [Subscribe((N,), 2)]
    channel._beat_at -= STOOD_STILL_SECONDS + 1
    told.listed = (THEM,)
    if first_comes:
        channel._judge(N, message(2))
    await asyncio.wait_for(takeover, 1.0)
    assert told.calls == [Subscribe((N,), 2), Ask((N,))]
    assert channel.position(N) is None


async def test_a_heal_that_is_broken_off_by_its_first_message_asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has come while it waited for that."""
    channel: Any = lite_channel()
    told = Told(channel, monkeypatch)
    takeover = asyncio.create_task(channel.take_over(N, 3))
    await until_idle()
    channel._judge(N, message(2))
    await takeover
    told.calls.clear()
    channel.claim_again(N)
    await until_idle()
    assert told.calls == [Unsubscribe((N,)), Subscribe((N,), 2)]
    told.listed = (THEM,)
    channel._ownership.noticed(N, 0.0)
    assert channel._judge(N, message(2)) is Fate.HAND_BACK
    await until_idle()
    assert told.calls[2:] == [Ask((N,))]
    assert channel.position(N) is None
