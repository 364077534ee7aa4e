"""What a worker that stood still may say of a session that another one has by now."""

from __future__ import annotations

import pytest

from litevoice_contracts import events
from litevoice_contracts.envelopes import DownEnvelope, MessageId
from litevoice_contracts.names import partition_of
from tests.simulation.programs import PARTITIONS
from tests.simulation.seeded import quiet
from tests.simulation.watching import _Thawed
from tests.simulation.world import World

OLD, NEW, SESSION = 1, 2, "s_1"


@pytest.mark.parametrize(
    ("claimed_at", "messages", "problems"),
    [(None, 1, 0), (None, 2, 1), (2.5, 2, 0), (3.5, 2, 1), (0.5, 2, 1)],
    ids=["one", "two", "has it again", "not yet", "had it before"],
)
def test_one_message_at_its_thaw_until_it_has_the_partition_again(
    claimed_at: float | None, messages: int, problems: int
) -> None:
    """It stands still until 1.0, and says something at 2.0 and 3.0."""
    with quiet():
        world = World(38, [])
    client, topics = world.clients[0], world.replies(SESSION)
    client.session_id = SESSION
    said: list[tuple[int, events.DownEvent]] = [(NEW, events.TurnReplay("unknown_session"))]
    said += [(OLD, events.TextDelta("r", "i", "You"))] * messages
    for position, (sender, event) in enumerate(said):
        topics.send(SESSION, DownEnvelope(1, 1, [event], 0, None, MessageId(sender, position + 1)).encode())
        topics.topics[SESSION].stored[position] = position + 1.0
    fence = world.names.fence(partition_of(SESSION, PARTITIONS))
    fences = world.brokers[0].lite[world.names.control_topic]
    fences.subscribe("worker-1@x", [fence], 0)
    fences.topics[fence].claims.append((claimed_at or 9.0, "worker-0@x"))
    world.watching._thawed.append(_Thawed(OLD, SESSION, 1, 1.0, "worker-0"))
    world.watching.compare_with_log(client)
    assert len(world.problems) == problems
