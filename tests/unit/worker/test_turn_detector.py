"""Who pauses may not have finished: a turn detector is asked, and what the client gets is the same whoever dies."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Eagerness, SessionConfig, TurnDetection
from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE
from tests.unit.worker.scenarios import answers, transcripts, when
from tests.unit.worker.world import QUESTIONS, World, heard_question

PAUSE_MS = 300
BOTH = f"{QUESTIONS[1]} {QUESTIONS[2]}"


def goes_on(samples: Samples) -> float:
    """The first question is not all."""
    return 0.1 if heard_question(samples) == QUESTIONS[1] else 0.9


def begun(eagerness: Eagerness = "medium", **fields: object) -> World:
    world = World(**{"finished": goes_on} | fields)  # type: ignore[arg-type]
    detection = TurnDetection(silence_duration_ms=PAUSE_MS, eagerness=eagerness)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=detection))))
    return world


def test_what_is_said_after_a_pause_is_one_utterance_with_what_was_said_before() -> None:
    world = begun()
    world.stream([(1.0, 1), (0.8, 0), (1.0, 2), (4.0, 0)], start=0.1)
    world.run(7)
    assert transcripts(world) == [BOTH]
    assert len(when(world, events.SpeechStarted)) == len(when(world, events.InputCommitted)) == 1
    assert len(when(world, events.ResponseStarted)) == 1
    assert len(world.judged) == 2
    assert when(world, events.InputCommitted)[0] < 3.6, "the second pause is the end at once"


def test_where_nobody_asks_for_it_silence_is_the_end() -> None:
    world = begun("")
    world.stream([(1.0, 1), (0.8, 0), (1.0, 2), (4.0, 0)], start=0.1)
    world.run(7)
    assert transcripts(world)[:2] == [QUESTIONS[1], QUESTIONS[2]]
    assert world.judged == []


@pytest.mark.parametrize(("eagerness", "seconds"), [("low", 8.0), ("medium", 4.0), ("auto", 4.0), ("high", 2.0)])
def test_who_says_nothing_more_is_answered_all_the_same(eagerness: Eagerness, seconds: float) -> None:
    world = begun(eagerness)
    world.stream([(1.0, 1), (12.0, 0)], start=0.1)
    world.run(13)
    stopped = when(world, events.SpeechStopped)[0]
    assert stopped == pytest.approx(1.1 + PAUSE_MS / 1000 + seconds, abs=0.3)
    assert transcripts(world) == [QUESTIONS[1]]
    assert answers(world) == [("completed", "The capital of France is Paris.")]
    assert len(world.judged) == 1
    assert len([one for one in world.contexts if one.idempotency_key.startswith("asr")]) == 1, "not the silence"


@pytest.mark.parametrize(
    ("eagerness", "probability", "ends"),
    [("low", 0.6, False), ("low", 0.7, True), ("medium", 0.4, False), ("auto", 0.5, True), ("high", 0.3, True),
     ("high", 0.2, False), ("high", float("nan"), False)],
)  # fmt: skip
def test_how_sure_it_must_be(eagerness: Eagerness, probability: float, *, ends: bool) -> None:
    world = begun(eagerness, finished=lambda _: probability)
    world.stream([(1.0, 1), (1.5, 0)], start=0.1)
    world.run(2.5)
    assert bool(when(world, events.InputCommitted)) == ends


def test_a_detector_that_fails_leaves_it_to_silence() -> None:
    world = begun(fail_stage="turn")
    world.stream([(1.0, 1), (2.0, 0)], start=0.1)
    world.run(3)
    assert transcripts(world) == [QUESTIONS[1]]
    assert len(world.judged) == 1


def test_a_cough_in_an_answer_is_none_of_its_business() -> None:
    world = begun(finished=lambda samples: 0.0 if len(samples) < SAMPLE_RATE else 1.0)
    end = world.stream([(1.5, 4), (3.0, 0)], start=0.1)
    world.stream([(0.2, 9), (3.0, 0)], start=end)
    world.run(end + 3)
    assert len(world.judged) == 1, "of the question"
    assert len(when(world, events.SpeechStarted)) == 1
    assert not [status for status, _ in answers(world) if status == "cancelled"]


def test_the_client_may_end_it_meanwhile() -> None:
    world = begun()
    world.stream([(1.0, 1), (3.0, 0)], start=0.1)
    world.at(2.0, lambda: world.send(packets.Commit()))
    world.run(4)
    assert transcripts(world) == [QUESTIONS[1]]
    assert when(world, events.InputCommitted)[0] < 2.2


SCRIPT = [(1.0, 1), (0.8, 0), (0.6, 1), (1.0, 0), (1.0, 2), (12.0, 0), (0.8, 3), (8.0, 0)]


def told(world: World) -> list[list[events.DownEvent]]:
    """The order within each kind."""
    kinds = (events.SpeechStarted, events.InputCommitted, events.InputTranscribed, events.ResponseFinished)
    return [world.of(kind) for kind in kinds]


def conversation(deaths: list[float], moves: list[tuple[float, bool]], transcribe_seconds: float = 0.05) -> World:
    world = begun(transcribe_seconds=transcribe_seconds)
    end = world.stream(SCRIPT, start=0.1)
    for death in deaths:
        world.at(death, world.kill)
    for time, farewell in moves:
        world.at(time, lambda farewell=farewell: world.move(farewell=farewell))  # type: ignore[misc]
    world.run(end + 5)
    return world


CONTROL = told(conversation([], []))


def test_the_control_is_what_it_should_be() -> None:
    assert [event.transcript for event in CONTROL[2] if isinstance(event, events.InputTranscribed)] == [
        f"{QUESTIONS[1]} {QUESTIONS[1]} {QUESTIONS[2]}",
        QUESTIONS[3],
    ]


@settings(max_examples=20, deadline=None)
@given(deaths=st.lists(st.floats(0.2, 24.0), min_size=1, max_size=3), slow=st.booleans())
@example(deaths=[5.2], slow=True)
def test_workers_may_die_at_any_moment_and_the_client_notices_nothing(deaths: list[float], *, slow: bool) -> None:
    """Also while parts are not understood yet, and the end is told: the next worker hears them again, asks nobody what
    they were, and ends where it ended."""
    assert told(conversation(deaths, [], 3.0 if slow else 0.05)) == CONTROL


@settings(max_examples=15, deadline=None)
@given(moves=st.lists(st.tuples(st.floats(0.2, 24.0), st.booleans()), min_size=1, max_size=2))
def test_the_session_may_move_at_any_moment(moves: list[tuple[float, bool]]) -> None:
    assert told(conversation([], moves)) == CONTROL


def test_a_pause_is_judged_by_what_was_said_since_the_last_one() -> None:
    heard = list[str]()

    def listen(samples: Samples) -> float:
        heard.append(heard_question(samples))
        return goes_on(samples)

    world = begun(finished=listen)
    world.stream([(1.0, 1), (0.8, 0), (1.5, 2), (2.0, 0)], start=0.1)
    world.run(6)
    assert heard == [QUESTIONS[1], QUESTIONS[2]]
