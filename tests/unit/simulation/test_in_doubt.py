"""When a 4001 on a caller's newest connection is what ADR 3 leaves alone: a full sync was quicker than a notice."""

from __future__ import annotations

import pytest

from tests.simulation.seeded import quiet
from tests.simulation.world import World

SESSION, FORMER, NEWEST = "s_1", "gateway-0@x", "gateway-1@x"


@pytest.mark.parametrize(
    ("synced_at", "told_at", "now", "in_doubt"),
    [
        (2.0, 3.0, 2.5, True),
        (2.0, 3.0, 3.9, True),
        (2.0, 3.0, 4.1, False),
        (2.0, 1.1, 2.5, False),
        (0.5, 3.0, 2.5, False),
        (None, 3.0, 2.5, False),
    ],
    ids=["not told yet", "told a moment ago", "long ago", "told before", "it had it then", "not put back"],
)
def test_who_came_last_is_not_known_when_a_full_sync_is_quicker_than_a_notice(
    synced_at: float | None, told_at: float, now: float, in_doubt: bool
) -> None:
    """The newest takes over at 1.0."""
    with quiet():
        world = World(38, [])
    client, topics, began = world.clients[0], world.replies(SESSION), world.loop.now
    client.session_id = SESSION
    topics.subscribe(FORMER, [SESSION], 0)
    for at in sorted({1.0, synced_at or 1.0}):
        world.loop.now = began + at
        if at == synced_at:
            topics.replace(FORMER, [SESSION])
        else:
            topics.subscribe(NEWEST, [SESSION], 0)
    next(iter(world.proxies.values())).notices[FORMER, SESSION] = began + told_at
    world.loop.now = began + now
    assert world.watching.in_doubt(client, "gateway-1") is in_doubt
