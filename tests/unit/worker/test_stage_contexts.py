"""What stages are told of the session that they work for, and that work done again has the key of before."""

from __future__ import annotations

from dataclasses import replace as replaced
from itertools import pairwise

from litevoice_contracts import packets
from litevoice_contracts.conversation import SessionConfig
from litevoice_worker import commands
from tests.unit.worker.scenarios import conversation, finished
from tests.unit.worker.world import World


def test_stages_know_for_whom_they_work() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    config = SessionConfig(model="b", principal="alice", traceparent=trace, transcription_language="en")
    world = World()
    world.at(0, lambda: world.send(packets.Update(config)))
    world.stream([(1.0, 0), (1.2, 1), (3.0, 0)], start=0.2)
    world.run(6)
    assert len(finished(world)) == 1
    told = {replaced(context, idempotency_key="", said="") for context in world.contexts}
    assert told == {commands.StageContext("s_test", "alice", "b", "en", 1, 0, "", "", trace)}
    assert len({c.idempotency_key for c in world.contexts}) == len(world.contexts) == 3


def test_what_is_done_again_has_the_same_key() -> None:
    """A worker dies at each of many moments: what the next one asks its stages for is new, or has the key of before."""
    script: list[tuple[float, int]] = [(1.0, 0), (1.2, 2), (30.0, 0)]
    undisturbed = conversation(script)
    undisturbed.run(40)
    keys = {context.idempotency_key for context in undisturbed.contexts}
    continued = 0
    for death in (2.3, 2.6, 3.0, 5.0, 9.0, 14.0):
        world = conversation(script)
        world.at(death, world.kill)
        world.run(45)
        assert {context.idempotency_key for context in world.contexts} == keys
        answers = [context for context in world.contexts if context.idempotency_key == finished(world)[0].response_id]
        assert [context.attempt for context in answers] in ([0], [1], [0, 1])
        for before, after in pairwise(answers):
            assert after.said.startswith(before.said)
            assert finished(world)[0].text.startswith(after.said)
            continued += bool(after.said)
    assert continued, "some died in mid-answer"
