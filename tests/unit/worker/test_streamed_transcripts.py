"""Transcripts that are told while they are recognized."""

from __future__ import annotations

import pytest

from litevoice_contracts import events
from tests.unit.worker.scenarios import LONG_STORY, answers, transcripts, when
from tests.unit.worker.world import QUESTIONS, World


def deltas(world: World) -> list[str]:
    return [event.text for _, event in world.client if isinstance(event, events.InputTranscriptDelta)]


def test_a_transcript_is_told_as_it_comes() -> None:
    world = World(transcribe_seconds=1.0, transcript_in=4)
    world.stream([(1.0, 1), (3.0, 0)])
    world.run(10)
    assert len(deltas(world)) == 4
    assert "".join(deltas(world)) == QUESTIONS[1]
    first, last = when(world, events.InputTranscriptDelta)[0], when(world, events.InputTranscribed)[0]
    assert last - first > 0.7, "not at the end"
    assert transcripts(world) == [QUESTIONS[1]]
    assert answers(world) == [("completed", "The capital of France is Paris.")]


def test_a_transcript_that_comes_faster_than_messages_is_told_in_few() -> None:
    world = World(transcribe_seconds=0.012, transcript_in=len(QUESTIONS[1]))
    world.stream([(1.0, 1), (3.0, 0)])
    world.run(10)
    assert 1 < len(deltas(world)) < 6
    assert "".join(deltas(world)) == QUESTIONS[1]


@pytest.mark.parametrize("death", [1.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.6])
def test_no_word_of_a_transcript_is_told_twice_by_two_workers(death: float) -> None:
    world = World(transcribe_seconds=1.0, transcript_in=4)
    world.stream([(1.0, 1), (9.0, 0)])
    world.at(death, world.kill)
    world.run(20)
    assert "".join(deltas(world)) == QUESTIONS[1]
    assert transcripts(world) == [QUESTIONS[1]]


def test_the_whole_transcript_counts_when_another_worker_hears_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(transcribe_seconds=1.0, transcript_in=4)
    world.stream([(1.0, 1), (9.0, 0)])

    def kill() -> None:
        assert deltas(world)
        monkeypatch.setitem(QUESTIONS, 1, "where is it")
        world.kill()

    world.at(2.2, kill)
    world.run(20)
    assert len(deltas(world)) < 4
    assert transcripts(world) == ["where is it"]


def test_of_a_cough_nothing_is_told_before_it_is_known_for_words() -> None:
    world = World(transcribe_seconds=0.4, transcript_in=2)
    world.stream([(1.0, LONG_STORY), (4.0, 0), (0.2, 1), (5.0, 0)])
    world.run(20)
    told = [type(event).__name__ for _, event in world.client if "Transcri" in type(event).__name__]
    assert told == ["InputTranscriptDelta"] * 2 + ["InputTranscribed"] * 2
