"""A client that goes to another gateway again and again while its worker is gone: each gateway asks at once, whoever is
asked begins nothing twice, and no attempt is used up by a question."""

from __future__ import annotations

from functools import cache

import pytest

from litevoice_contracts import events
from litevoice_gateway.packet_log import MAX_ATTEMPTS
from tests.unit.worker.test_sent_twice import type_question
from tests.unit.worker.world import World

STORY = "Tell me the story of the lighthouse."


def asked(*, farewell: bool = True, moves: int = 0, every: float = 0.0, begin: float = 1.0) -> World:
    """A typed question, of which the worker knows at 0.51; then the client moves."""
    world = World()
    world.at(0.5, lambda: type_question(world, "typed", STORY))
    for number in range(moves):
        world.at(begin + number * every, lambda: world.move(farewell=farewell))
    return world


@cache
def undisturbed() -> list[object]:
    world = asked()
    world.run(90)
    return world.transcript()


@pytest.mark.parametrize("farewell", [True, False])
@pytest.mark.parametrize("death", [0.507, 0.52, 0.6, 0.99])
def test_the_next_gateway_finds_the_worker_gone(death: float, farewell: bool) -> None:
    """Whatever the dead one had begun, and however short the client stays anywhere."""
    world = asked(farewell=farewell, moves=8, every=0.4)
    world.at(death, world.kill)
    world.run(1.5)
    assert world.replays == 1, "no gateway has waited"
    world.run(90)
    assert world.transcript() == undisturbed()
    assert world.folded.fruitless == 0


@pytest.mark.parametrize("begin", [0.5, 0.506, 0.52, 0.53, 0.6, 1.0])
def test_a_worker_that_lives_is_asked_for_nothing_but_how_far_it_is(begin: float) -> None:
    world = asked(moves=10, every=0.05, begin=begin)
    world.run(90)
    assert world.transcript() == undisturbed()
    assert (world.replays, world.rejections, len(world.prompts)) == (0, 0, 1)
    assert len(world._partition) <= 1 + 10 * 2, "an end and a question for each move"


def test_moves_while_no_worker_is_there_use_up_no_attempts() -> None:
    """All the questions wait for it, and it asks back once."""
    world = asked(moves=2 * MAX_ATTEMPTS, every=2.0)
    world.at(0.507, world.kill)
    world.at(0.6, lambda: setattr(world, "up", False))
    waiting: list[int] = []
    world.at(1.0 + 4 * MAX_ATTEMPTS, lambda: waiting.extend(range(1, len(world._partition))))
    world.run(1.0 + 4 * MAX_ATTEMPTS)
    assert len(waiting) >= 2 * MAX_ATTEMPTS
    world.up = True
    for offset in waiting:
        world._deliver(offset)
    world.run(90)
    assert world.of(events.SessionError) == []
    assert world.transcript() == undisturbed()
    assert world.replays == 1
