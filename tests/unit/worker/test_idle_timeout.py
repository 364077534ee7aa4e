"""Nobody speaks after an answer: the user is asked again, once, whatever happens to workers and gateways meanwhile."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, SessionConfig, TurnDetection
from litevoice_worker.turn import Limits
from tests.unit.worker.world import World, tone

CONFIG = SessionConfig(turn_detection=TurnDetection(idle_timeout_ms=6000))
AGAIN = "I did not understand that. Please say it again."
"""What the rules answer to silence."""
AGAIN_PLAYED = len(AGAIN) * 0.06 + 0.05
"""How long it takes to hear it."""
AHEAD = Limits().ahead_milliseconds / 1000
QUESTION, ANSWER = Item("ask", "user", "Thank you."), "You are welcome."
PLAYED = 0.1 + len(ANSWER) * 0.06
"""When the answer to the question, which is asked at 0.1, has been heard."""


def asked(config: SessionConfig = CONFIG, *, audio_seconds: float = 0.0) -> World:
    world = World()
    for packet in (packets.Update(config), packets.CreateItem(QUESTION), packets.CreateResponse()):
        world.at(0.1, partial(world.send, packet))
    world.stream([(audio_seconds, 0)])
    return world


def timeouts(world: World) -> list[tuple[float, events.InputTimedOut]]:
    return [(time - 1000, event) for time, event in world.client if isinstance(event, events.InputTimedOut)]


def answers(world: World) -> list[str]:
    return [event.text for _, event in world.client if isinstance(event, events.ResponseFinished)]


def test_silence_after_an_answer_becomes_an_item_and_is_answered() -> None:
    world = asked(audio_seconds=9)
    world.run(10)
    ((time, timeout),) = timeouts(world)
    assert time == pytest.approx(PLAYED + 6, abs=0.25)
    assert timeout.start_ms == pytest.approx(PLAYED * 1000, abs=250)
    assert timeout.end_ms - timeout.start_ms == 6000
    after = [event for _, event in world.client]
    position = after.index(timeout)
    committed, transcribed, started = after[position + 1 : position + 4]
    assert isinstance(committed, events.InputCommitted)
    assert isinstance(transcribed, events.InputTranscribed)
    assert isinstance(started, events.ResponseStarted)
    assert (committed.item_id, transcribed.item_id, started.previous_item_id) == (timeout.item_id,) * 3
    assert transcribed.transcript == ""
    assert world.prompts[-1].items[-1].is_noise
    assert answers(world) == [ANSWER, AGAIN]
    assert [item.text for item in world.folded.snapshot.items] == [QUESTION.text, ANSWER, "", AGAIN]


def test_it_happens_again_after_each_answer() -> None:
    world = asked(audio_seconds=30)
    world.run(31)
    times = [time for time, _ in timeouts(world)]
    assert len(times) == 3
    assert [later - before for before, later in pairwise(times)] == pytest.approx([6 + AGAIN_PLAYED] * 2, abs=0.3)


def test_where_no_audio_comes_the_clock_counts() -> None:
    world = asked()
    world.run(25)
    times = [time for time, _ in timeouts(world)]
    assert times[0] == pytest.approx(PLAYED + 6, abs=0.25)
    assert len(times) == 3
    assert len(world.prompts) == 4


def test_audio_that_comes_late_counts_and_not_the_clock() -> None:
    """A network holds it up, for less than anybody is taken for mute."""
    world = asked(audio_seconds=4)
    world.stream([(10.0, 0)], start=5.5)
    world.run(15)
    ((time, _), *_) = timeouts(world)
    assert time == pytest.approx(PLAYED + 6 + 1.5, abs=0.25)


@pytest.mark.parametrize(
    ("case", "config"),
    [
        ("not asked for", SessionConfig()),
        ("no turn detection", SessionConfig(turn_detection=None)),
        ("transcription only", SessionConfig(turn_detection=CONFIG.turn_detection, transcription_only=True)),
    ],
)
def test_it_does_not_happen(case: str, config: SessionConfig) -> None:
    world = asked(audio_seconds=2)
    world.at(2, partial(world.send, packets.Update(config)))
    world.stream([(18.0, 0)], start=2)
    world.run(20)
    assert timeouts(world) == []
    assert answers(world) == [ANSWER]


def test_it_does_not_happen_before_the_first_answer() -> None:
    world = World()
    world.at(0, partial(world.send, packets.Update(CONFIG)))
    world.stream([(20.0, 0)])
    world.run(25)
    assert timeouts(world) == []


def test_who_speaks_has_as_long_again() -> None:
    world = asked(audio_seconds=4)
    world.stream([(1.5, 1), (14.0, 0)], start=4)
    world.run(20)
    (first, *_) = timeouts(world)
    spoken_answer = 4 + 1.5 + 0.5 + len("The capital of France is Paris.") * 0.06
    assert first[0] == pytest.approx(spoken_answer + 6, abs=0.5)
    assert answers(world)[:3] == [ANSWER, "The capital of France is Paris.", AGAIN]


def test_who_is_not_understood_has_as_long_again() -> None:
    """What was said became no answer."""
    world = asked(audio_seconds=4)
    world.stream([(1.5, 7), (10.0, 0)], start=4)
    world.run(15)
    (first,) = timeouts(world)
    assert first[0] == pytest.approx(5.5 + 0.5 + 6, abs=0.3)


def test_who_speaks_for_longer_is_not_interrupted() -> None:
    world = asked(audio_seconds=4)
    world.stream([(12.0, 1)], start=4)
    world.run(16)
    assert timeouts(world) == []


def test_an_answer_out_of_band_neither_delays_nor_begins_it() -> None:
    world = asked(audio_seconds=9)
    aside = packets.CreateResponse(out_of_band=True, input=[Item("own", "user", "Tell me a story.")])
    world.at(3, partial(world.send, aside))
    world.run(9)
    ((time, _),) = timeouts(world)
    assert time == pytest.approx(PLAYED + 6, abs=0.25)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.2, 9.5), st.integers(0, 6), st.sampled_from(["kill", "move", "ask"])), max_size=3),
)
def test_it_happens_once_whatever_dies(disturbances: list[tuple[float, int, str]]) -> None:
    """Silence that only a dead worker and a dead gateway had heard has to be heard again: it comes later by that.
    What a dead worker had sent ahead counts as heard: it comes earlier by that."""
    world = asked(audio_seconds=22)
    for time, redelivered, kind in disturbances:
        match kind:
            case "kill":
                world.at(time, partial(world.kill, redelivered=redelivered))
            case "move":
                world.at(time, partial(world.move, farewell=bool(redelivered % 2)))
            case _:
                world.at(time, world.ask)
    world.run(12)
    if "move" not in {kind for _, _, kind in disturbances}:  # the gateway has what a worker may have lost
        assert len(timeouts(world)) == 1
        assert answers(world) == [ANSWER, AGAIN]
        assert world.audio() == whole().audio()
    world.run(22)
    times = [time for time, _ in timeouts(world)]
    assert PLAYED + 6 - 0.25 < times[0] < max([PLAYED, *(time for time, _, _ in disturbances)]) + 6 + 2
    assert all(later - before > 6 + AGAIN_PLAYED - AHEAD - 0.3 for before, later in pairwise(times))
    assert {timeout.end_ms - timeout.start_ms for _, timeout in timeouts(world)} == {6000}
    assert answers(world)[:2] == [ANSWER, AGAIN]
    assert world.audio().startswith(whole().audio())


def whole() -> World:
    """Nothing dies; ends before there is a second time."""
    if not WHOLE:
        WHOLE.append(asked(audio_seconds=12))
        WHOLE[0].run(12)
    return WHOLE[0]


WHOLE: list[World] = []


def test_a_mute_session_goes_on_with_the_clock_of_the_next_worker() -> None:
    world = asked()
    world.at(4, world.kill)
    world.at(4.5, lambda: world.send(packets.Audio(tone(0))))
    world.run(13)
    ((time, _),) = timeouts(world)
    assert time == pytest.approx(4.5 + 6, abs=0.3)
