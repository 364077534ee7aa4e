"""Conversations of a session machine in virtual time: what the client gets, of good input and of wrong one."""

from __future__ import annotations

from functools import partial

import pytest

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import MAX_ITEMS, Item, SessionConfig, TurnDetection
from litevoice_worker import commands
from litevoice_worker.transcriptions import MAX_UNTRANSCRIBED
from litevoice_worker.turn import Limits
from litevoice_worker.utterances import MAX_PARTS
from tests.unit.worker.scenarios import TWO_QUESTIONS, conversation, finished, manual
from tests.unit.worker.world import World, speech, tone


def kinds(world: World) -> list[str]:
    names = [type(event).__name__ for _, event in world.client]
    return [
        name
        for name, before in zip(names, ["", *names], strict=False)
        if (name, before) != ("AudioDelta", "AudioDelta")
    ]


def only(items: list[events.DownEvent]) -> events.DownEvent:
    assert len(items) == 1, items
    return items[0]


def errors(world: World) -> list[str]:
    return [event.code for _, event in world.client if isinstance(event, events.SessionError)]


def test_a_spoken_question_is_answered_and_remembered() -> None:
    world = conversation(TWO_QUESTIONS)
    world.run(25)
    assert kinds(world) == 2 * [
        "SpeechStarted",
        "SpeechStopped",
        "InputCommitted",
        "InputTranscribed",
        "ResponseStarted",
        "TextDelta",
        "AudioDelta",
        "ResponseFinished",
    ]
    first, second = finished(world)
    assert (first.status, first.text) == ("completed", "The capital of France is Paris.")
    assert second.text == "Your first question was: what is the capital of france."
    assert world.audio(first.response_id) == speech(first.text, "pcm16/24000")
    assert [item.text for item in world.folded.snapshot.items] == [
        "what is the capital of france",
        first.text,
        "what did i ask first",
        second.text,
    ]
    assert world.replays == 0


def test_speech_times_include_padding_and_silence() -> None:
    world = conversation([(1.0, 0), (1.2, 1), (2.0, 0)])
    world.run(5)
    started, stopped = world.of(events.SpeechStarted)[0], world.of(events.SpeechStopped)[0]
    assert isinstance(started, events.SpeechStarted)
    assert isinstance(stopped, events.SpeechStopped)
    assert started.audio_ms == pytest.approx(700, abs=70)
    assert stopped.audio_ms == pytest.approx(2700, abs=100)


def test_the_owner_need_not_keep_silence_nor_finished_turns() -> None:
    world = conversation([(30.0, 0), (1.2, 1), (10.0, 0)])
    world.run(30)
    assert world.uplink.retained <= 30
    world.run(31)
    assert world.uplink.retained >= 10, "the open utterance and the padding before it are kept"
    world.run(45)
    assert world.uplink.retained <= 30


def test_nothing_waits_at_the_broker_for_an_owner_that_has_left() -> None:
    world = conversation([(0.5, 0)])
    world.at(0.6, world.leave)
    world.run(10)
    assert world.log == []


def test_audio_that_stops_in_silence_is_not_kept() -> None:
    world = conversation([(0.5, 0)])
    world.run(4)
    assert world.uplink.retained == 0


@pytest.mark.parametrize("milliseconds", [8, 20, 40, 60, 80])
def test_a_pause_on_the_way_does_not_change_what_was_said(milliseconds: int) -> None:
    spoken, first = tone(1, 1.2), milliseconds * 48
    heard = list[list[events.DownEvent]]()
    for pause in (0.1, 5.0):
        world = conversation([(0.5, 0)])
        world.at(0.5, partial(world.send, packets.Audio(spoken[:first])))
        world.at(0.5 + pause, partial(world.send, packets.Audio(spoken[first:])))
        world.stream([(2.0, 0)], start=1.7 + pause)
        world.run(12 + pause)
        kinds = (events.SpeechStarted, events.SpeechStopped, events.InputTranscribed, events.ResponseFinished)
        heard.append([event for _, event in world.client if isinstance(event, kinds)])
    assert heard[0] == heard[1]
    assert len(heard[0]) == 4


def test_the_beginning_of_a_word_is_not_kept_for_ever() -> None:
    world = conversation([(0.5, 0)])
    world.at(0.5, lambda: world.send(packets.Audio(tone(1, 0.06))))
    world.run(20)
    assert world.uplink.retained
    world.run(92)
    assert world.uplink.retained == 0


def test_a_long_answer_is_published_at_most_so_far_ahead() -> None:
    world = conversation([(1.2, 4), (70.0, 0)])
    world.run(90)
    times = [time for time, event in world.client if isinstance(event, events.AudioDelta)]
    sent = 0.0
    for time, event in world.client:
        if isinstance(event, events.AudioDelta):
            sent += len(event.audio) / 48_000
            assert sent <= time - times[0] + 2.0 + 0.01
    assert sent > 40
    assert finished(world)[0].status == "completed"


def test_barge_in_cancels_and_keeps_what_was_heard() -> None:
    world = conversation([(1.2, 4), (5.0, 0), (1.2, 1), (6.0, 0)])
    world.run(20)
    cancelled, answered = finished(world)
    assert (cancelled.status, cancelled.reason) == ("cancelled", "turn_detected")
    said = "".join(
        event.text
        for _, event in world.client
        if isinstance(event, events.TextDelta) and event.response_id == cancelled.response_id
    )
    assert cancelled.text == said
    items = {item.id: item for item in world.folded.snapshot.items}
    kept = items[cancelled.item_id]
    assert (kept.role, kept.audio, kept.complete) == ("assistant", True, False)
    assert said.startswith(kept.text)
    assert 0 < len(kept.text) < len(said)
    assert answered.status == "completed"
    names = kinds(world)
    assert names[names.index("ResponseFinished") - 1] == "SpeechStarted"


def test_no_barge_in_when_it_is_switched_off() -> None:
    world = conversation([(1.2, 2), (3.0, 0), (1.2, 1), (40.0, 0)])
    detection = TurnDetection(interrupt_response=False)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=detection))))
    world.run(60)
    assert [answer.status for answer in finished(world)] == ["completed"]
    assert errors(world) == ["conversation_already_has_active_response"]


def test_no_response_when_it_is_switched_off() -> None:
    world = conversation([(0.5, 0), (1.2, 1), (3.0, 0)])
    detection = TurnDetection(create_response=False)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=detection))))
    world.run(5)
    assert kinds(world) == ["SessionUpdated", "SpeechStarted", "SpeechStopped", "InputCommitted", "InputTranscribed"]


def test_without_turn_detection_the_client_decides() -> None:
    world = World()
    manual(world)
    world.stream([(1.0, 1)], start=0.1)
    world.at(2, lambda: world.send(packets.Commit()))
    world.at(3, lambda: world.send(packets.CreateResponse(instructions="be brief", metadata={"topic": "x"})))
    world.run(8)
    assert kinds(world) == [
        "SessionUpdated",
        "InputCommitted",
        "InputTranscribed",
        "ResponseStarted",
        "TextDelta",
        "AudioDelta",
        "ResponseFinished",
    ]
    assert world.prompts[0].instructions == "be brief"
    assert finished(world)[0].metadata == {"topic": "x"}
    assert world.uplink.retained == 0


def test_text_only() -> None:
    world = World()
    world.at(0, lambda: world.send(packets.CreateItem(Item("i1", "user", "what is the capital of France?"))))
    world.at(1, lambda: world.send(packets.CreateResponse(text_only=True)))
    world.run(5)
    assert kinds(world) == ["ItemCreated", "ResponseStarted", "TextDelta", "ResponseFinished"]
    assert finished(world)[0].text == "The capital of France is Paris."
    assert world.uplink.retained == 0


ITEM = Item("a", "user", "x")
LARGE_ITEM = Item("a", "user", "x" * 300_000)
LARGE_CONFIG = SessionConfig(instructions="x" * 300_000, turn_detection=None)
EMPTY = "input_audio_buffer_commit_empty"
ACTIVE = "conversation_already_has_active_response"
NOT_ACTIVE = "response_cancel_not_active"
REFUSALS: list[tuple[str, list[packets.Packet], str]] = [  # case, packets, code of the error
    ("commit of nothing", [packets.Commit("e1")], EMPTY),
    ("commit of 50 ms", [packets.Audio(tone(1, 0.05)), packets.Commit("e1")], EMPTY),
    ("a second response", [packets.CreateResponse(), packets.CreateResponse("e1")], ACTIVE),
    ("cancel of nothing", [packets.CancelResponse(event_id="e1")], NOT_ACTIVE),
    ("cancel of another", [packets.CreateResponse(), packets.CancelResponse("resp_x", "e1")], NOT_ACTIVE),
    ("an item twice", [packets.CreateItem(ITEM), packets.CreateItem(ITEM, "e1")], "item_create_duplicate_item_id"),
    ("an item after none", [packets.CreateItem(ITEM, "e1", "no")], "item_create_invalid_previous_item_id"),
    ("a delete of nothing", [packets.DeleteItem("no", "e1")], "item_delete_invalid_item_id"),
    ("a look at nothing", [packets.RetrieveItem("no", "e1")], "item_retrieve_invalid_item_id"),
    ("a truncation of nothing", [packets.TruncateItem("no", 4, "e1")], "item_truncate_invalid_item_id"),
    ("a truncation of text", [packets.CreateItem(ITEM), packets.TruncateItem("a", 4, "e1")], "invalid_value"),
    ("an item too large", [packets.CreateItem(LARGE_ITEM, "e1")], "item_too_large"),
    ("a configuration too large", [packets.Update(LARGE_CONFIG, "e1")], "session_too_large"),
]


@pytest.mark.parametrize(("case", "sent", "code"), REFUSALS, ids=[case for case, _, _ in REFUSALS])
def test_refusals(case: str, sent: list[packets.Packet], code: str) -> None:
    world = World()
    manual(world)
    for number, packet in enumerate(sent):
        world.at(0.5 + number / 100, lambda packet=packet: world.send(packet))  # type: ignore[misc]
    world.run(1)
    error = only(world.of(events.SessionError))
    assert isinstance(error, events.SessionError)
    assert (error.code, error.event_id) == (code, "e1")
    world.run(20)
    world.at(20, lambda: world.send(packets.CreateItem(Item("later", "user", "hello"))))
    world.at(21, lambda: world.send(packets.CreateResponse()))
    world.run(30)
    assert finished(world)[-1].status == "completed", "the session lives on"


def test_clear_forgets_the_open_utterance() -> None:
    world = conversation([(1.0, 1), (0.2, 0)])
    world.at(1.15, lambda: world.send(packets.Clear()))
    world.stream([(3.0, 0)], start=1.2)
    world.run(5)
    assert kinds(world) == ["SpeechStarted", "InputCleared"]


def test_the_client_can_cancel() -> None:
    world = conversation([(1.2, 4), (8.0, 0)])
    world.at(5, lambda: world.send(packets.CancelResponse()))
    world.run(12)
    answer = finished(world)[0]
    assert (answer.status, answer.reason) == ("cancelled", "client_cancelled")


def test_an_utterance_without_end_is_committed_at_the_bound() -> None:
    world = World(limits=Limits(max_utterance_seconds=1))
    world.stream([(50.0, 1), (3.0, 0)])
    world.run(60)
    seconds = [event.seconds for _, event in world.client if isinstance(event, events.InputTranscribed)]
    assert seconds[0] == pytest.approx(MAX_PARTS, abs=0.05 * MAX_PARTS)
    assert sum(seconds) > 50
    assert len(finished(world)) == 1, "the answer is to all of it"


def test_several_utterances_in_one_packet_are_all_heard() -> None:
    audio = b"".join((tone(0, 0.5), tone(1, 1.0), tone(0, 1.0), tone(2, 1.0), tone(0, 1.0)))
    world = World()
    world.at(0, lambda: world.send(packets.Audio(audio)))
    world.stream([(3.0, 0)], start=1)
    world.run(30)
    texts = [event.transcript for _, event in world.client if isinstance(event, events.InputTranscribed)]
    assert texts == ["what is the capital of france", "tell me about the moon"]


FAILURES = [("asr", "no recognizer"), ("respond", "no model"), ("tts", "no voice")]


@pytest.mark.parametrize(("stage", "reason"), FAILURES)
def test_a_failing_stage_ends_the_response_and_the_session_lives_on(stage: str, reason: str) -> None:
    world = conversation([(1.2, 1), (5.0, 0), (1.2, 1), (6.0, 0)])
    world.fail_stage = stage
    world.run(4)
    world.fail_stage = ""
    world.run(20)
    failed, good = finished(world)
    assert (failed.status, failed.reason) == ("failed", reason)
    assert (good.status, good.text) == ("completed", "The capital of France is Paris.")


def test_a_worker_is_at_work_from_the_first_word_until_its_last_message_is_confirmed() -> None:
    world = conversation([(1.2, 1), (1.0, 0)])
    world.transcribe_seconds = 20
    seen = {}
    for seconds in (0, 1, 19, 40):
        world.run(seconds)
        seen[seconds] = world.machine.at_work
    assert world.of(events.ResponseFinished)
    assert seen == {0: False, 1: True, 19: True, 40: False}, "an utterance is open at 1, a stage is slow at 19"


def test_a_transcript_that_never_comes_costs_no_memory() -> None:
    world = World()
    world.transcribe_seconds = 10_000
    big = packets.Audio(tone(1, 19.0) + tone(0, 1.0))
    most = 0
    for number in range(24):
        world.at(1 + number / 2, lambda: world.send(big))
    for second in range(1, 20):
        world.run(second)
        most = max(most, world.machine.unheard[0])
        assert second > 7 or len(world.of(events.InputCommitted)) <= MAX_UNTRANSCRIBED
    assert most < 12 << 20
    assert "input_audio_dropped" in errors(world), "and the client is told"
    assert world.counts["litevoice_worker_dropped_total/sessions"] >= 1
    assert world.replays >= 1, "the session can go on from what its owner has"


def test_items_that_no_longer_fit_are_counted() -> None:
    world = World()
    for number in range(MAX_ITEMS + 3):
        item = Item(f"i{number}", "user", "x")
        world.at(number / 100, lambda item=item: world.send(packets.CreateItem(item)))  # type: ignore[misc]
    world.run(10)
    assert world.counts["litevoice_worker_dropped_total/conversation_items"] == 3
    assert [item.id for item in world.folded.snapshot.items][:: MAX_ITEMS - 1] == ["i3", f"i{MAX_ITEMS + 2}"]


def test_a_result_that_nobody_waits_for_is_ignored() -> None:
    world = World()
    for late in (commands.Transcribed(7, "hello"), commands.Failed(7, "no model"), commands.Sentence(7, "Hello.")):
        assert world.machine.handle((late,), world.now) == []


def test_a_transcript_that_failed_is_not_answered_where_the_client_decides() -> None:
    world = World()
    manual(world)
    world.fail_stage = "asr"
    world.stream([(1.0, 1)], start=0.1)
    world.at(2, lambda: world.send(packets.Commit()))
    world.run(8)
    assert kinds(world) == ["SessionUpdated", "InputCommitted", "TranscriptionFailed"]
