"""Who speaks when: what the client gets while the recognizer works, in virtual time."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Codec, Item, SessionConfig, TurnDetection
from litevoice_worker.audio import SAMPLE_RATES, encode
from litevoice_worker.sentences import split
from litevoice_worker.turn import Limits
from tests.unit.worker.scenarios import LONG_STORY, NO_WORDS, answers, transcripts, when
from tests.unit.worker.world import QUESTIONS, World, speech

CODECS: list[Codec] = ["pcm16/24000", "g711_ulaw/8000", "g711_alaw/8000"]


# While the recognizer works


def test_the_end_of_speech_is_told_at_once_and_new_speech_is_heard_while_the_recognizer_works() -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 0), (1.0, 1), (2.3, 0), (1.0, 3), (8.0, 0)])
    for seconds in (3.0, 5.7, 7.0):  # the recognizer works; he speaks again; it works again
        world.run(seconds)
        assert world.folded.user_turn
    world.run(14)
    assert not world.folded.in_turn
    assert when(world, events.SpeechStopped) == when(world, events.InputCommitted)
    first, second = when(world, events.SpeechStopped)
    assert 2.5 <= first <= 2.7, "500 ms of silence after 2.0, and at most 0.2 s"
    assert 5.8 <= second <= 6.0
    assert 4.3 < when(world, events.SpeechStarted)[1] < 4.6, "though the first utterance is understood at 5.6"
    assert transcripts(world) == [QUESTIONS[1], QUESTIONS[3]]
    assert answers(world) == [("completed", "Your first question was: what is the capital of france.")]


def test_client_events_take_effect_while_the_recognizer_works() -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 1), (8.0, 0)])
    world.at(2, lambda: world.send(packets.CreateItem(Item("i", "system", "x"))))
    world.at(3, lambda: world.send(packets.CancelResponse()))
    world.run(9)
    assert when(world, events.ItemCreated) == [2.01]
    assert when(world, events.ResponseFinished) == [3.01]
    assert answers(world) == [("cancelled", "")], "the response that the client expects"
    assert transcripts(world) == [QUESTIONS[1]]
    assert world.of(events.SessionError) == []
    items = [(item.role, item.text) for item in world.folded.snapshot.items]
    assert items == [("user", QUESTIONS[1]), ("system", "x"), ("assistant", "")], "in the order of their ends"


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_deleted_before_it_is_understood_is_not_answered(killed: bool) -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 1), (12.0, 0)])

    def delete() -> None:
        (committed,) = world.of(events.InputCommitted)
        assert isinstance(committed, events.InputCommitted)
        world.send(packets.DeleteItem(committed.item_id))

    world.at(2.5, delete)
    if killed:
        world.run(2.9)
        world.kill()
    world.run(14)
    assert transcripts(world) == [QUESTIONS[1]]
    assert answers(world) == []
    assert (world.prompts, world.folded.snapshot.items, world.folded.in_turn) == ([], [], False)


def test_what_was_said_before_is_answered_all_the_same() -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 1), (1.0, 0), (1.0, 3), (12.0, 0)])

    def delete() -> None:
        committed = world.of(events.InputCommitted)[-1]
        assert isinstance(committed, events.InputCommitted)
        world.send(packets.DeleteItem(committed.item_id))

    world.at(4.0, delete)
    world.run(16)
    assert transcripts(world) == [QUESTIONS[1], QUESTIONS[3]]
    (prompt,) = world.prompts
    assert [item.text for item in prompt.items] == [QUESTIONS[1]]


def test_an_answer_is_made_from_what_is_understood_first() -> None:
    """Push to talk: the client commits and asks at once."""
    world = World(transcribe_seconds=3.0)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=None))))
    world.stream([(1.0, 1)], start=0.1)
    world.at(2, lambda: world.send(packets.Commit()))
    world.at(2, lambda: world.send(packets.CreateResponse()))
    world.run(12)
    assert when(world, events.InputCommitted) == when(world, events.ResponseStarted) == [2.01]
    assert [[item.text for item in prompt.items] for prompt in world.prompts] == [[QUESTIONS[1]]]
    assert answers(world) == [("completed", "The capital of France is Paris.")]


def test_transcripts_come_in_the_order_of_their_items() -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 1), (0.7, 0), (0.5, 2), (8.0, 0)])
    world.at(2.0, lambda: setattr(world, "transcribe_seconds", 0.1))
    world.run(12)
    assert when(world, events.InputCommitted)[1] < 3, "and its transcript is there at 3"
    assert transcripts(world) == [QUESTIONS[1], QUESTIONS[2]]
    assert when(world, events.InputTranscribed)[1] > 4


def test_no_answer_begins_while_the_user_goes_on() -> None:
    """He has paused, and speaks again before he was understood: the answer is to all that he said."""
    world = World(transcribe_seconds=1.0)
    world.stream([(1.0, 1), (1.2, 0), (3.0, 2), (40.0, 0)])
    world.run(44)
    assert len(when(world, events.ResponseStarted)) == 1
    assert [item.text for item in world.prompts[0].items] == [QUESTIONS[1], QUESTIONS[2]]


def test_where_speech_does_not_interrupt_an_answer_begins_though_the_user_goes_on() -> None:
    world = World(transcribe_seconds=1.0)
    detection = TurnDetection(interrupt_response=False)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=detection))))
    world.stream([(1.0, 1), (1.2, 0), (3.0, 0)], start=0.1)
    world.run(5)
    assert len(when(world, events.ResponseStarted)) == 1


def test_a_response_that_the_client_asks_for_meanwhile_is_the_answer() -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 1), (9.0, 0)])
    world.at(2, lambda: world.send(packets.CreateResponse()))
    world.run(10)
    assert answers(world) == [("completed", "The capital of France is Paris.")]
    assert world.of(events.SessionError) == []


@pytest.mark.parametrize("death", [2.0, 3.5, 5.2, 6.5])
def test_a_worker_that_takes_over_while_utterances_are_not_understood_says_nothing_twice(death: float) -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 1), (1.0, 0), (1.0, 3), (12.0, 0)])
    world.at(death, world.kill)
    world.run(15)
    assert world.replays == 1
    assert [len(when(world, kind)) for kind in (events.SpeechStarted, events.SpeechStopped, events.InputCommitted)] == [
        2,
        2,
        2,
    ]
    assert transcripts(world) == [QUESTIONS[1], QUESTIONS[3]]
    assert answers(world) == [("completed", "Your first question was: what is the capital of france.")]
    assert world.folded.in_turn is False
    assert world.uplink.retained <= 30


# What the recognizer gets


@pytest.mark.parametrize("milliseconds", [120, 1000])
@pytest.mark.parametrize("codec", CODECS)
def test_what_is_committed_reaches_the_recognizer_to_the_last_sample(codec: Codec, milliseconds: int) -> None:
    world = World()
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=None, input_codec=codec))))
    append = encode(np.full(SAMPLE_RATES[codec] // 50, 8000, np.int16), codec)
    for number in range(milliseconds // 20):
        world.at(0.1 + number / 50, lambda: world.send(packets.Audio(append), codec))
    world.at(3, lambda: world.send(packets.Commit()))
    world.run(5)
    assert [event.seconds for _, event in world.client if isinstance(event, events.InputTranscribed)] == [
        milliseconds / 1000
    ]


# Other rules for hearing in mid-speech

OTHER_RULES = [TurnDetection(threshold=0.6), TurnDetection(prefix_padding_ms=100, silence_duration_ms=1200), None]


@pytest.mark.parametrize("rules", OTHER_RULES)
@pytest.mark.parametrize("after", [0.03, 0.7, 1.5])
def test_speech_ends_though_the_rules_for_hearing_change_meanwhile(rules: TurnDetection | None, after: float) -> None:
    """From the first syllable to the last."""
    world = World()
    world.stream([(1.0, 0), (1.5, 1), (4.0, 0)])
    world.at(1 + after, lambda: world.send(packets.Update(SessionConfig(turn_detection=rules))))
    world.run(6.4)
    assert len(when(world, events.SpeechStarted)) == 1
    assert when(world, events.SpeechStopped) == [pytest.approx(3.1, abs=0.1)], "by the rules that it began with"
    assert [event.seconds for _, event in world.client if isinstance(event, events.InputTranscribed)] == [
        pytest.approx(2.3, abs=0.05)
    ]
    world.run(12)
    assert not world.folded.in_turn
    assert answers(world) == ([("completed", "The capital of France is Paris.")] if rules else [])


def test_new_rules_apply_to_what_is_said_next_also_after_a_workers_death() -> None:
    heard = []
    for death in (None, 3.0, 4.0, 8.5, 9.6):
        world = World(transcribe_seconds=1.0)
        world.stream([(1.0, 0), (1.5, 1), (6.0, 0), (1.0, 3), (0.7, 0), (0.5, 3), (8.0, 0)])
        update = packets.Update(SessionConfig(turn_detection=TurnDetection(silence_duration_ms=1000)))
        world.at(2.0, partial(world.send, update))
        if death is not None:
            world.at(death, world.kill)
        world.run(20)
        told = (events.SpeechStarted, events.SpeechStopped, events.InputTranscribed)
        heard.append([event for _, event in world.client if isinstance(event, told)])
        assert len(heard[-1]) == 6, "0.7 s of silence no longer end an utterance"
    assert heard[1:] == heard[:1] * 4


# Sounds that are no words


def test_a_cough_does_not_end_an_answer() -> None:
    world = World(transcribe_seconds=0.5)
    world.stream([(1.0, LONG_STORY), (5.0, 0), (0.2, NO_WORDS), (60.0, 0)])
    whole = World()
    whole.stream([(1.0, LONG_STORY), (65.2, 0)])
    for one in (world, whole):
        one.run(64)
        assert [status for status, _ in answers(one)] == ["completed"]
    assert world.transcript() == whole.transcript()
    assert world.uplink.retained <= 30


@pytest.mark.parametrize("death", [None, 6.4, 6.95, 7.2])
def test_one_short_word_ends_an_answer_once_it_is_understood(death: float | None) -> None:
    world = World(transcribe_seconds=0.5)
    world.stream([(1.0, LONG_STORY), (5.0, 0), (0.2, 1), (8.0, 0)])
    if death is not None:
        world.at(death, world.kill)
    world.run(14)
    assert [status for status, _ in answers(world)] == ["cancelled", "completed"]
    assert transcripts(world) == [QUESTIONS[LONG_STORY], QUESTIONS[1]]
    starts = [event.audio_ms for _, event in world.client if isinstance(event, events.SpeechStarted)]
    assert starts[1] == pytest.approx(5700, abs=70), "though it is told later"
    names = [type(event).__name__ for _, event in world.client]
    begun = names.index("ResponseFinished") - 1
    wanted = ["SpeechStarted", "ResponseFinished", "SpeechStopped", "InputCommitted", "InputTranscribed"]
    assert names[begun : begun + 5] == wanted
    assert [item.text for item in world.folded.snapshot.items][2:3] == [QUESTIONS[1]]


def test_a_cough_before_a_word_becomes_an_item_before_it() -> None:
    """Its transcript comes too late to tell."""
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, LONG_STORY), (8.0, 0), (0.2, NO_WORDS), (0.7, 0), (1.0, 1), (12.0, 0)])
    world.run(21)
    assert transcripts(world) == [QUESTIONS[LONG_STORY], "", QUESTIONS[1]]
    assert [status for status, _ in answers(world)] == ["cancelled", "completed"]
    assert [len(when(world, kind)) for kind in (events.SpeechStarted, events.SpeechStopped)] == [3, 3]


def test_an_answer_that_a_cough_holds_up_begins_when_that_is_known_to_be_one() -> None:
    """A word, and a cough before it is understood: the user may go on, so the answer waits for what the cough was."""
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, LONG_STORY), (5.0, 0), (0.2, 1), (0.7, 0), (0.2, NO_WORDS), (12.0, 0)])
    world.run(18)
    assert transcripts(world) == [QUESTIONS[LONG_STORY], QUESTIONS[1]], "of the cough nobody is told"
    assert [status for status, _ in answers(world)] == ["cancelled", "completed"]
    understood, begun = when(world, events.InputTranscribed)[1], when(world, events.ResponseStarted)[1]
    assert begun - understood == pytest.approx(0.9, abs=0.1), "so much later did the cough end"
    assert not world.folded.in_turn


def test_longer_speech_interrupts_at_once() -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, LONG_STORY), (8.0, 0), (1.0, 1), (8.0, 0)])
    world.run(10)
    assert 9.3 <= when(world, events.SpeechStarted)[1] <= 9.5
    assert when(world, events.ResponseFinished) == when(world, events.SpeechStarted)[1:]


def test_any_speech_interrupts_at_once_where_that_is_wanted() -> None:
    world = World(limits=Limits(interrupt_after_milliseconds=0))
    world.stream([(1.0, LONG_STORY), (5.0, 0), (0.2, NO_WORDS), (8.0, 0)])
    world.run(14)
    assert [status for status, _ in answers(world)] == ["cancelled"]


def test_nobody_answers_a_noise() -> None:
    world = World()
    world.stream([(1.0, 0), (1.0, NO_WORDS), (8.0, 0)])
    world.run(9)
    assert transcripts(world) == [""]
    assert world.prompts == []
    assert answers(world) == []
    assert not world.folded.in_turn


def test_a_noise_after_a_question_does_not_take_its_answer_away() -> None:
    world = World(transcribe_seconds=1.0)
    world.stream([(1.0, 1), (1.2, 0), (1.0, NO_WORDS), (8.0, 0)])
    world.run(9)
    assert transcripts(world) == [QUESTIONS[1], ""]
    assert answers(world) == [("completed", "The capital of France is Paris.")]


def test_a_transcription_session_transcribes_and_answers_nothing() -> None:
    world = World()
    world.at(0, lambda: world.send(packets.Update(SessionConfig(transcription_only=True))))
    world.stream([(1.0, 1), (8.0, 0)], start=0.1)
    world.at(5, lambda: world.send(packets.CreateResponse("e1")))
    world.run(9)
    assert transcripts(world) == [QUESTIONS[1]]
    assert world.prompts == []
    refused = [event for _, event in world.client if isinstance(event, events.SessionError)]
    assert [(error.code, error.event_id) for error in refused] == [("response_not_available", "e1")]


# Sentence after sentence


def silences(world: World) -> list[float]:
    """How long the client had nothing to play in the middle of an answer, each time."""
    found, played_until = list[float](), 0.0
    for time, event in world.client:
        if isinstance(event, events.AudioDelta):
            if played_until and time > played_until + 0.02:
                found.append(time - played_until)
            played_until = max(time, played_until) + len(event.audio) / 48_000
    return found


@pytest.mark.parametrize("ahead_milliseconds", [200, 2000])
def test_there_is_no_silence_while_the_next_sentence_can_be_made(ahead_milliseconds: int) -> None:
    world = World(limits=Limits(ahead_milliseconds=ahead_milliseconds), synthesize_seconds=2.2)
    world.stream([(1.0, LONG_STORY), (80.0, 0)])
    world.run(80)
    ((status, story),) = answers(world)
    assert status == "completed"
    shortest = min(len(sentence.strip()) * 0.06 for sentence in split(story))
    assert shortest > 2.2, "longer than it takes to make one"
    assert silences(world) == []
    whole = World()
    whole.stream([(1.0, LONG_STORY), (80.0, 0)])
    whole.run(80)
    assert world.audio() == whole.audio()


@pytest.mark.parametrize("death", [8.0, 12.5, 20.0])
def test_an_answer_goes_on_to_the_byte_though_its_next_sentence_was_being_made(death: float) -> None:
    heard = []
    for deaths in ([], [death]):
        world = World(synthesize_seconds=3.0)
        world.stream([(1.0, LONG_STORY), (80.0, 0)])
        for at in deaths:
            world.at(at, world.kill)
        world.run(80)
        heard.append((answers(world), world.audio()))
    assert heard[0] == heard[1]


def test_a_sentence_that_cannot_be_made_fails_when_its_turn_has_come() -> None:
    world = World(synthesize_seconds=1.0)
    world.stream([(1.0, LONG_STORY), (80.0, 0)])
    world.at(2.0, lambda: setattr(world, "fail_stage", "tts"))
    world.run(80)
    ((status, text),) = answers(world)
    assert status == "failed"
    first = split(text)[0]
    assert world.audio() == speech(first.strip(), "pcm16/24000"), "the one before is heard to its end"


# Audio that stops in mid-speech, and nobody puts silence in


@pytest.mark.parametrize("death", [None, 93.0, 94.0])
def test_an_utterance_ends_some_time_after_its_last_audio(death: float | None) -> None:
    world = World(transcribe_seconds=3.0)
    world.stream([(1.0, 0), (1.0, 1)])
    if death is not None:
        world.at(death, world.kill)
        world.at(death + 0.5, lambda: world.send(packets.CancelResponse("nudge")))
    world.run(91)
    assert when(world, events.SpeechStopped) == []
    world.run(120)
    assert len(when(world, events.SpeechStopped)) == 1
    assert transcripts(world) == [QUESTIONS[1]]
    assert answers(world) == [("completed", "The capital of France is Paris.")]


def test_so_does_a_short_word_of_which_the_client_knows_nothing() -> None:
    world = World()
    world.stream([(1.0, 2), (5.0, 0), (0.2, 1)])
    world.run(120)
    assert transcripts(world) == [QUESTIONS[2], QUESTIONS[1]]
    assert world.uplink.retained == 0


@pytest.mark.parametrize("automatic", [True, False], ids=["the worker answers", "the client decides"])
def test_what_was_lost_with_its_gateway_is_not_waited_for(automatic: bool) -> None:
    """Gateway and worker die while the recognizer has an utterance: nobody has its audio. Where a response was to
    come, one comes that has failed."""
    world = World(transcribe_seconds=3.0)
    detection = TurnDetection(create_response=automatic)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=detection))))
    world.stream([(1.0, 1), (9.0, 0)], start=0.1)

    def die() -> None:
        world.kill()
        world.move(farewell=False)

    world.at(2.5, die)
    world.run(9)
    (failed,) = world.of(events.TranscriptionFailed)
    assert isinstance(failed, events.TranscriptionFailed)
    assert failed.message == "its audio is lost: it was not kept until it was understood"
    assert answers(world) == ([("failed", "")] if automatic else [])
    assert world.machine.idle
    world.at(9, lambda: world.send(packets.CreateResponse()))
    world.run(12)
    assert answers(world)[-1][0] == "completed", "the session goes on"


def test_a_question_is_answered_though_what_was_said_after_it_was_not_understood() -> None:
    world = World(transcribe_seconds=0.3)
    world.stream([(1.0, 1), (1.0, 0), (0.5, 2), (9.0, 0)])
    world.at(1.45, lambda: setattr(world, "transcribe_seconds", 1.0))
    world.at(2.2, lambda: setattr(world, "fail_stage", "asr"))
    world.run(9)
    assert (transcripts(world), len(world.of(events.TranscriptionFailed))) == ([QUESTIONS[1]], 1)
    assert answers(world) == [("completed", "The capital of France is Paris.")]
    assert world.of(events.SessionError) == []


@pytest.mark.parametrize(("level", "said"), [(9, ""), (2, QUESTIONS[2])], ids=["a noise", "a question"])
def test_what_was_not_understood_is_answered_for_after_what_follows_it(level: int, said: str) -> None:
    """The user goes on while the first is with a recognizer that fails: a question is answered, a noise leaves the
    client with a response that has failed."""
    world = World(transcribe_seconds=1.0, fail_stage="asr")
    world.stream([(1.0, 1), (0.9, 0), (0.5, level), (29.0, 0)])
    world.at(2.0, lambda: setattr(world, "fail_stage", ""))
    world.run(30)
    assert (transcripts(world), len(world.of(events.TranscriptionFailed))) == ([said], 1)
    assert [status for status, _ in answers(world)] == ["completed" if said else "failed"]
    assert world.of(events.SessionError) == []
    assert world.machine.idle
