"""The LiteTopics of one client, carried out: what the pure `Ownership` cannot know."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_broker.lite.channel import STOOD_STILL_SECONDS
from litevoice_broker.lite.commands import Answer, AskOwn, Listed, Replace, What
from tests.unit.broker.test_polls import lite_channel


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
