"""Conversations of a session machine in virtual time: what the client gets, and that no worker's death changes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import MAX_ITEMS, Item, SessionConfig, TurnDetection
from litevoice_contracts.envelopes import DownEnvelope, MessageId, UpEnvelope, message_ids
from litevoice_worker import commands
from litevoice_worker.outlet import Outlet
from litevoice_worker.turn import Limits
from tests.unit.worker.world import World, speech, tone

TWO_QUESTIONS: list[tuple[float, int]] = [(1.0, 0), (1.2, 1), (6.0, 0), (1.5, 3), (8.0, 0)]


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


def finished(world: World) -> list[events.ResponseFinished]:
    return [event for _, event in world.client if isinstance(event, events.ResponseFinished)]


def errors(world: World) -> list[str]:
    return [event.code for _, event in world.client if isinstance(event, events.SessionError)]


def conversation(script: list[tuple[float, int]]) -> World:
    world = World()
    world.stream(script)
    return world


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
    world.run(32)
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


def test_barge_in_cancels_and_keeps_what_was_said() -> None:
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
    assert items[cancelled.item_id] == Item(cancelled.item_id, "assistant", said, True, False)
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


def manual(world: World) -> None:
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=None))))


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
    ("an item twice", [packets.CreateItem(ITEM), packets.CreateItem(ITEM, "e1")], "item_already_exists"),
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
    world = World(limits=Limits(max_utterance_seconds=3))
    world.stream([(10.0, 1), (3.0, 0)])
    world.run(20)
    seconds = [event.seconds for _, event in world.client if isinstance(event, events.InputTranscribed)]
    assert seconds[0] == pytest.approx(3, abs=0.05)
    assert sum(seconds) > 10


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


def plain() -> World:
    return conversation(TWO_QUESTIONS)


def with_client_events() -> World:
    """Client events in silence, in the middle of an utterance, and while an answer is spoken."""
    world = conversation([(1.0, 0), (1.2, 1), (6.0, 0), (1.5, 3), (8.0, 0)])
    for number, time in enumerate((0.55, 1.65, 1.75, 4.0, 9.0)):
        item = Item(f"item{number}", "system", f"fact {number}")
        config = SessionConfig(instructions=f"version {number}")
        world.at(time, lambda item=item: world.send(packets.CreateItem(item)))  # type: ignore[misc]
        world.at(time + 0.2, lambda config=config: world.send(packets.Update(config)))  # type: ignore[misc]
        world.at(time + 0.3, lambda: world.send(packets.CancelResponse("resp_of_another")))
    return world


def push_to_talk() -> World:
    world = World()
    manual(world)
    world.stream([(1.5, 1)], start=0.5)
    world.at(1.2, lambda: world.send(packets.CreateItem(Item("fact", "system", "x"))))
    world.at(2.5, lambda: world.send(packets.Commit()))
    world.at(2.6, lambda: world.send(packets.CreateResponse()))
    world.at(8.0, lambda: world.send(packets.CreateItem(Item("typed", "user", "What did I ask first?"))))
    world.at(8.1, lambda: world.send(packets.CreateResponse(text_only=True)))
    for second in range(20):  # somebody must send something, or nobody finds a dead worker (the gateway's probe would)
        world.at(second + 0.01, lambda: world.send(packets.CancelResponse("nudge")))
    return world


SCENARIOS: dict[str, Callable[[], World]] = {
    "two questions": plain,
    "client events in between": with_client_events,
    "push to talk": push_to_talk,
}


def expected(scenario: str) -> list[object]:
    if scenario not in EXPECTED:
        world = SCENARIOS[scenario]()
        world.run(30)
        assert finished(world)[-1].text == "Your first question was: what is the capital of france."
        EXPECTED[scenario] = world.transcript()
    return EXPECTED[scenario]


EXPECTED: dict[str, list[object]] = {}


def same_order_of_each_kind(transcript: list[object]) -> list[list[object]]:
    """Client events are answered at once, speech when it is understood: a death may change which comes first."""
    answers = (events.ItemCreated, events.SessionUpdated, events.SessionError)
    return [
        [event for event in transcript if isinstance(event, answers)],
        [event for event in transcript if not isinstance(event, answers) and not isinstance(event, tuple)],
        [event for event in transcript if isinstance(event, tuple) and event[0] != "audio"],
    ]


def audio_of(transcript: list[object]) -> dict[object, bytes]:
    audio: dict[object, bytes] = {}
    for event in transcript:
        if isinstance(event, tuple) and event[0] == "audio":
            audio[event[1]] = audio.get(event[1], b"") + event[2]
    return audio


@pytest.mark.parametrize("scenario", SCENARIOS)
@settings(max_examples=40, deadline=None)
@given(deaths=st.lists(st.tuples(st.floats(0.05, 16), st.integers(0, 12)), min_size=1, max_size=2))
def test_workers_may_die_at_any_moment_and_the_client_notices_nothing(
    scenario: str, deaths: list[tuple[float, int]]
) -> None:
    world = SCENARIOS[scenario]()
    for time, redelivered in deaths:
        world.at(time, lambda redelivered=redelivered: world.kill(redelivered=redelivered))  # type: ignore[misc]
    world.run(45)
    got, want = world.transcript(), expected(scenario)
    if scenario == "two questions":
        assert got == want
    assert same_order_of_each_kind(got) == same_order_of_each_kind(want)
    assert audio_of(got) == audio_of(want)


@pytest.mark.parametrize("scenario", SCENARIOS)
@settings(max_examples=15, deadline=None)
@given(times=st.lists(st.floats(0.05, 16), min_size=1, max_size=3))
def test_a_question_for_no_reason_doubles_nothing(scenario: str, times: list[float]) -> None:
    world = SCENARIOS[scenario]()
    for time in times:
        world.at(time, world.ask)
    world.run(45)
    got, want = world.transcript(), expected(scenario)
    assert same_order_of_each_kind(got) == same_order_of_each_kind(want)
    assert audio_of(got) == audio_of(want)


@settings(max_examples=25, deadline=None)
@given(moves=st.lists(st.tuples(st.floats(0.05, 16), st.booleans()), min_size=1, max_size=3))
def test_the_session_may_move_to_another_gateway_at_any_moment(moves: list[tuple[float, bool]]) -> None:
    world = plain()
    for time, farewell in moves:
        world.at(time, lambda farewell=farewell: world.move(farewell=farewell))  # type: ignore[misc]
    world.run(45)
    assert world.transcript() == expected("two questions")
    assert (world.replays, world.rejections) == (0, 0)


def test_the_former_gateway_is_told_that_it_is_one() -> None:
    world = plain()
    world.run(3)
    former = world.uplink
    world.move(farewell=True)
    world.run(4)
    world.uplink, current = former, world.uplink
    world.send(packets.Audio(tone(0)))
    world.send(packets.Audio(tone(0)))
    world.uplink = current
    world.run(30)
    assert world.rejections == 1, "once is enough"
    assert world.transcript() == expected("two questions")


def test_packets_that_got_lost_are_asked_for() -> None:
    world = plain()
    world.at(1.55, lambda: setattr(world, "up", False))
    world.at(1.95, lambda: setattr(world, "up", True))
    world.run(30)
    assert world.replays == 1
    assert world.transcript() == expected("two questions")


def test_a_transcript_that_never_comes_costs_no_memory() -> None:
    world = World()
    world.transcribe_seconds = 10_000
    big = packets.Audio(tone(0, 20.0))
    world.stream([(1.0, 1), (1.0, 0)])
    for number in range(12):
        world.at(3 + number / 10, lambda: world.send(big))
    world.run(10)
    assert world.counts["litevoice_worker_dropped_total/sessions"] >= 1
    assert world.replays >= 1, "the session can go on from what its owner has"


def test_a_death_in_the_middle_of_an_answer_continues_to_the_byte() -> None:
    whole = conversation([(1.2, 4), (70.0, 0)])
    whole.run(90)
    for death in (2.3, 6.05, 20.0, 33.333):
        world = conversation([(1.2, 4), (70.0, 0)])
        world.at(death, world.kill)
        world.run(95)
        assert world.transcript() == whole.transcript()
        assert world.prompts[-1].said, "only the rest is asked for"


@pytest.mark.parametrize("death", [3.0, 3.2, 3.9, 4.4])
def test_a_gateway_that_dies_before_it_has_answered_a_worker_is_followed_by_one_that_does(death: float) -> None:
    """While an answer is spoken: the question is in the log, and so is how far the answer was."""
    world = plain()
    world.owner_dies_when_asked = True
    world.at(death, world.kill)
    world.run(45)
    assert not world.owner_dies_when_asked
    assert world.replays == 1
    assert world.transcript() == expected("two questions")


def test_leaving_in_good_order_asks_for_what_is_open() -> None:
    world = conversation(TWO_QUESTIONS)

    def leave() -> None:
        world.do(world.machine.abandon(world.now))
        world.run(world.now - 1000 + 0.01)
        world.kill()

    world.at(3.5, leave)
    world.run(30)
    assert world.transcript() == expected("two questions")


def test_leaving_with_nothing_open_says_nothing() -> None:
    world = conversation([(3.0, 0)])
    world.run(2.95)
    before = len(world.log)
    world.up = False
    world.do(world.machine.abandon(world.now))
    world.run(2.99)
    assert len(world.log) == before


def test_packets_that_come_twice_are_counted_and_applied_once() -> None:
    world = conversation(TWO_QUESTIONS)
    again: list[int] = []

    def deliver_again() -> None:
        for offset, envelope in list(enumerate(world._partition))[-3:]:
            again.append(len(envelope.packets))
            world._deliver(envelope, offset)

    world.at(1.55, deliver_again)
    world.run(30)
    assert world.counts["litevoice_worker_packets_duplicate_total"] == sum(again) > 0
    assert world.transcript() == expected("two questions")


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


def test_a_worker_that_is_asked_tells_how_far_it_is_and_computes_nothing() -> None:
    """Its news, or the wake-up of its last message, got lost."""
    world = conversation([(1.0, 0), (1.2, 1), (8.0, 0)])
    world.run(8.98)
    assert finished(world)
    asked = UpEnvelope("s_test", world.uplink.epoch, world.uplink.next_seq, world.folded.turn, [])
    (told,) = (c for c in world.machine.receive(asked, world.now) if not isinstance(c, commands.Count))
    assert isinstance(told, commands.Tell)
    assert told.after is not None
    assert told.after == world.log[-1].id
    assert len(world.prompts) == 1


def test_a_finished_turn_whose_end_is_late_is_not_computed_again() -> None:
    """The end of the answer is at the broker and its wake-up got lost; meanwhile the worker dies, and another one asks.
    Its question stands behind the end: whoever reads one has read the other."""
    world = conversation([(1.0, 0), (1.2, 1), (4.0, 0)])
    late: list[DownEnvelope] = []
    deliver = world._published

    def hold_up(envelope: DownEnvelope) -> None:
        if late or any(isinstance(event, events.ResponseFinished) for event in envelope.events):
            late.append(envelope)
        else:
            deliver(envelope)
        if any(isinstance(event, events.TurnReplay) for event in envelope.events):  # any later message wakes the topic
            for held in late:
                deliver(held)
            late.clear()

    world._published = hold_up  # type: ignore[method-assign]
    world.at(5.5, world.kill)
    world.run(12)
    assert world.replays == 1
    assert len(world.prompts) == 1
    assert [response.status for response in finished(world)] == ["completed"]


def test_a_worker_that_has_asked_begins_nothing_before_the_answer() -> None:
    """What it said would not count, and its models would be asked twice."""
    world = conversation([(1.0, 0), (1.2, 4), (8.0, 0)])
    world.run(4.0)
    assert world.machine._dialogue.response is not None
    missing = UpEnvelope("s_test", world.uplink.epoch, world.uplink.next_seq + 5, world.folded.turn, [])
    asked = world.machine.receive(missing, world.now)
    while not any(isinstance(command, commands.Publish) for command in asked):  # one is in flight
        asked = world.machine.handle((commands.Published(),), world.now)
    assert [event for c in asked if isinstance(c, commands.Publish) for event in c.envelope.events] == [
        events.TurnReplay("gap", world.machine._order.applied)
    ]
    assert world.machine.handle((commands.Published(),), world.now + 10) == []
    left = world.machine.wake_at, world.machine.at_work
    assert left == (None, False), "nor does it say that what it has not heard is settled"


def test_what_is_told_as_settled_waits_for_every_message_before_it() -> None:
    outlet = Outlet(message_ids(3))
    seen = [outlet.last]
    outlet.publish(1, 1, [events.InputCleared()], 0)
    outlet.send_next()
    outlet.publish(1, 1, [events.SessionUpdated()], 0)
    seen.append(outlet.last)  # the first is in flight, the second waits for it
    outlet.keep_only(lambda envelope: False)
    seen.append(outlet.last)  # the session begins anew, from a snapshot of the owner's
    assert seen == [None, MessageId(3, 2), None]


# A turn that kills its workers


@pytest.mark.parametrize("fatal", [commands.Transcribe, commands.Respond, commands.Synthesize])
def test_a_turn_that_kills_every_worker_is_given_up(fatal: type[commands.Command]) -> None:
    world = conversation([(1.0, 0), (1.2, 1), (8.0, 0)])
    world.kills = fatal
    world.run(7)
    assert world.killed == 3
    assert [getattr(error, "code", "") for error in world.of(events.SessionError)] == ["turn_given_up"]
    if fatal is commands.Transcribe:
        assert [type(event).__name__ for _, event in world.client if not isinstance(event, events.Progress)] == [
            "SpeechStarted",
            "SessionError",
            "SpeechStopped",
            "InputCommitted",
            "TranscriptionFailed",
            "ResponseStarted",
            "ResponseFinished",
        ]
    assert [response.status for response in finished(world)] == ["failed"]
    world.kills = None
    said = world.stream([(1.2, 3), (3.0, 0)], start=11)
    world.run(said + 6)
    assert finished(world)[-1].status == "completed", "the session lives on"
    begun = [getattr(event, "audio_ms", 0) for event in world.of(events.SpeechStarted)]
    assert 9_700 <= begun[-1] <= 10_300, "the audio that was given up counts in the session's time"
    assert len(world.of(events.SessionError)) == 1


def test_sound_that_kills_every_worker_is_given_up_though_no_turn_has_begun() -> None:
    world = conversation([(1.0, 0), (1.2, 1), (8.0, 0)])
    world.kills = commands.Listen
    world.run(7)
    assert world.killed == 3 * len(world.of(events.SessionError)) > 0
    world.kills = None
    said = world.stream([(1.2, 3), (3.0, 0)], start=10)
    world.run(said + 6)
    assert finished(world)[-1].status == "completed"


def test_workers_that_leave_as_planned_cost_a_turn_nothing() -> None:
    """However often, in one long utterance."""
    world = conversation([(1.0, 0), (9.0, 1), (6.0, 0)])

    def leave() -> None:
        world.do(world.machine.abandon(world.now))
        world.run(world.now - 1000 + 0.004)
        world.kill()

    for second in range(2, 10):
        world.at(second, leave)
    world.run(30)
    assert world.replays == 16, "the next one cannot know that the one before has not begun"
    assert world.of(events.SessionError) == []
    assert [response.status for response in finished(world)] == ["completed"]


def test_progress_starts_the_count_anew() -> None:
    """A worker dies after every sentence of a long answer: each one before has come."""
    world = conversation([(1.2, 4), (70.0, 0)])
    for second in range(4, 34, 3):
        world.at(second, world.kill)
    world.run(95)
    assert world.replays == 10
    assert [response.status for response in finished(world)] == ["completed"]
