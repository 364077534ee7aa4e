"""When a 4001 on a caller's newest connection is what ADR 3 leaves alone: a full sync was quicker than a notice."""

from __future__ import annotations

import pytest

from tests.simulation.seeded import quiet
from tests.simulation.world import World

SESSION, FORMER, NEWEST = "s_1", "gateway-0@x", "gateway-1@x"


@pytest.mark.parametrize(
    ("claims", "synced_at", "told_at", "now", "in_doubt"),
    [
        pytest.param([1.0], 2.0, 3.0, 2.5, True, id="not told yet"),
        pytest.param([1.0], 2.0, 3.0, 3.9, True, id="told a moment ago"),
        pytest.param([1.0], 2.0, 3.0, 4.1, False, id="long ago"),
        pytest.param([1.0], 2.0, 1.1, 2.5, False, id="told before"),
        pytest.param([1.0], 0.5, 3.0, 2.5, False, id="it had it then"),
        pytest.param([1.0], None, 3.0, 2.5, False, id="not put back"),
        pytest.param([1.0, 3.2], 2.0, 3.0, 3.5, True, id="it comes while the loser looks again"),
        pytest.param([1.0, 3.2], 2.0, 3.0, 4.1, False, id="long ago, too"),
        pytest.param([1.0, 2.5], 2.0, 3.0, 2.7, False, id="it has told the loser once more"),
        pytest.param([1.0, 3.2], None, 3.0, 3.5, False, id="the loser was not put back"),
    ],
)
def test_who_came_last_is_not_known_when_a_full_sync_is_quicker_than_a_notice(
    claims: list[float], synced_at: float | None, told_at: float, now: float, in_doubt: bool
) -> None:
    """`claims`: when the newest takes over."""
    with quiet():
        world = World(38, [])
    client, topics, began = world.clients[0], world.replies(SESSION), world.loop.now
    client.session_id = SESSION
    topics.subscribe(FORMER, [SESSION], 0)
    for at in sorted({*claims, synced_at or 1.0}):
        world.loop.now = began + at
        if at == synced_at:
            topics.replace(FORMER, [SESSION])
        else:
            topics.subscribe(NEWEST, [SESSION], 0)
    next(iter(world.proxies.values())).notices[FORMER, SESSION] = began + told_at
    world.loop.now = began + now
    assert world.watching.in_doubt(client, "gateway-1") is in_doubt
