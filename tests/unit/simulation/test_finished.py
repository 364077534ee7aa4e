"""When an answer must not be computed again: when its end could be known of."""

from __future__ import annotations

from contextlib import suppress

import pytest

from litevoice_contracts import events
from litevoice_contracts.envelopes import DownEnvelope, MessageId
from tests.simulation.answers import Question
from tests.simulation.loop import Process
from tests.simulation.seeded import quiet
from tests.simulation.stages import answer_to
from tests.simulation.world import World

OLD, NEW, SESSION = 1, 2, "s_1"
BEGINS = (OLD, 0, events.ResponseStarted("r", "i"))
ENDS = (OLD, 0, events.ResponseFinished("r", "i", "completed", "".join(answer_to("12"))))
TELLS = (OLD, 0, events.TextDelta("r", "i", "You"))
ASKS = (NEW, 0, events.TurnReplay("unknown_session"))
ASKS_AGAIN = (NEW, 1, events.TurnReplay("unknown_session"))

Said = tuple[int, int, events.DownEvent]
"""By whom, in which attempt."""
STORIES: dict[str, tuple[list[Said], dict[int, float], bool]] = {
    "it is not finished": ([BEGINS, ASKS], {}, False),
    "it is finished when another worker asks": ([BEGINS, ENDS, ASKS], {}, True),
    "its end was on its way": ([BEGINS, ASKS, ENDS], {}, False),
    "for long": ([BEGINS, ASKS, ASKS_AGAIN, ENDS], {}, False),
    "it was said after the question": ([BEGINS, ASKS, ENDS], {2: 1.5}, True),
    "after the first of several": ([BEGINS, ASKS, ASKS_AGAIN, ENDS], {3: 1.5}, True),
    "it was not the only message on its way": ([BEGINS, ASKS, TELLS, ENDS], {}, True),
}
"""What stands in the log, second by second, when each was made if not at the beginning, and whether it is finished."""


@pytest.mark.parametrize("story", STORIES)
def test_an_answer_is_finished_unless_its_end_came_too_late(story: str) -> None:
    log, made, finished = STORIES[story]
    with quiet():
        world = World(38, [])
    client, topics = world.clients[0], world.replies(SESSION)
    client.session_id = SESSION
    now = world.loop.wall() - world.loop.now
    for position, (sender, attempt, event) in enumerate(log):
        body = DownEnvelope(1, 1, [event], attempt, None, MessageId(sender, position + 1)).encode()
        topics.send(SESSION, body, "", now + made.get(position, 0.0))
        topics.topics[SESSION].stored[position] = float(position)
    assert world.watching.is_finished(client, Question("12", True, 0.0, 0.0)) is finished


@pytest.mark.parametrize(
    ("computed", "open_question", "told"),
    [
        ("982", Question("98255", True, 0.0, 0.0, exposed=True), False),
        ("982", Question("98255", True, 0.0, 0.0), True),
        ("982", Question("98455", True, 0.0, 0.0, exposed=True), True),
        ("982", Question("98255", False, 0.0, 0.0, exposed=True), True),
        ("982", None, True),
    ],
)
def test_what_is_left_of_an_utterance_may_sound_like_an_earlier_one(
    computed: str, open_question: Question | None, told: bool
) -> None:
    """When the rest went with gateway and worker."""
    with quiet():
        world = World(38, [])
        client = world.clients[0]
        client.session_id, client.answers.open = SESSION, open_question
        client.questions = [Question("982", True, 0.0, 0.0, finished=True)]
        with suppress(StopIteration):
            world.computes(Process("worker-0"), SESSION, computed).send(None)
    assert bool(world.problems) is told
