"""Speech that is longer than the recognizer gets at once, and is recognized in parts, in virtual time."""

from __future__ import annotations

import pytest

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import SessionConfig
from litevoice_worker.turn import Limits
from tests.unit.worker.scenarios import answers, transcripts, when
from tests.unit.worker.world import QUESTIONS, World


def said_in_parts(world: World) -> None:
    """20 s without a pause, three questions."""
    world.stream([(0.5, 0), (8.0, 1), (8.0, 2), (4.0, 3), (10.0, 0)], start=0.1)


IN_PARTS = Limits(max_utterance_seconds=8)
PARTS = f"{QUESTIONS[1]} {QUESTIONS[2]} {QUESTIONS[3]}"


@pytest.mark.parametrize("deaths", [[], [9.0], [9.0, 17.2], [18.0], [22.0], [21.0, 21.6]])
def test_long_speech_is_one_item_and_nothing_is_answered_in_the_middle(deaths: list[float]) -> None:
    world = World(limits=IN_PARTS, transcribe_seconds=1.0)
    said_in_parts(world)
    for death in deaths:
        world.at(death, world.kill)
    world.run(30)
    assert transcripts(world) == [PARTS]
    (heard,) = world.of(events.InputTranscribed)
    assert isinstance(heard, events.InputTranscribed)
    assert heard.seconds == pytest.approx(20.8, abs=0.1)
    assert [len(when(world, kind)) for kind in (events.SpeechStarted, events.SpeechStopped)] == [1, 1]
    assert [status for status, _ in answers(world)] == ["completed"]
    assert when(world, events.ResponseStarted)[0] > 21
    assert world.uplink.retained <= 30


@pytest.mark.parametrize("death", [None, 9.0, 17.5, 20.3, 21.0])
@pytest.mark.parametrize("seconds", [16.0, 16.3])
def test_long_push_to_talk_is_one_item(seconds: float, death: float | None) -> None:
    world = World(limits=IN_PARTS, transcribe_seconds=1.0)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=None))))
    world.stream([(8.0, 1), (seconds - 8, 2)], start=0.1)
    world.at(20, lambda: world.send(packets.Commit()))
    world.at(20, lambda: world.send(packets.CreateResponse()))
    for second in range(30):
        world.at(second, lambda: world.send(packets.CancelResponse("nudge")))
    if death is not None:
        world.at(death, world.kill)
    world.run(30)
    (heard,) = world.of(events.InputTranscribed)
    assert isinstance(heard, events.InputTranscribed)
    assert heard.seconds == seconds
    assert heard.transcript.startswith(f"{QUESTIONS[1]} {QUESTIONS[2]}")
    assert [status for status, _ in answers(world)] == ["completed"]


def test_what_is_cleared_after_a_part_of_it_was_recognized_is_forgotten() -> None:
    world = World(limits=IN_PARTS, transcribe_seconds=1.0)
    said_in_parts(world)
    world.at(10, lambda: world.send(packets.Clear()))
    world.run(30)
    assert transcripts(world) == [f"{QUESTIONS[2]} {QUESTIONS[3]}"]


def test_a_part_that_fails_makes_the_whole_fail() -> None:
    world = World(limits=IN_PARTS, transcribe_seconds=1.0, fail_stage="asr")
    said_in_parts(world)
    world.at(12, lambda: setattr(world, "fail_stage", ""))
    world.run(30)
    assert transcripts(world) == []
    assert len(world.of(events.TranscriptionFailed)) == 1
    assert [status for status, _ in answers(world)] == ["failed"]
