"""A turn that kills its workers is given up, and one that only meets workers that leave is not."""

from __future__ import annotations

import pytest

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import (
    Codec,
    Cursor,
    Item,
    Mark,
    SessionConfig,
    Snapshot,
    TurnDetection,
    Untranscribed,
)
from litevoice_contracts.envelopes import DownEnvelope, MessageIds, UpEnvelope
from litevoice_worker import commands
from litevoice_worker.turn import Limits, Turns
from tests.unit.worker.scenarios import conversation, finished


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


def test_an_utterance_that_kills_every_worker_after_its_end_was_told_is_given_up() -> None:
    """What was to be heard again of it is not kept; that is not why nothing comes of it."""
    world = conversation([(1.0, 0), (1.2, 1), (8.0, 0)])
    world.kills, world.kills_after = commands.Transcribe, 0.05
    world.run(7)
    assert world.killed == 3
    assert [type(event).__name__ for _, event in world.client if not isinstance(event, events.Progress)] == [
        "SpeechStarted",
        "SpeechStopped",
        "InputCommitted",
        "SessionError",
        "TranscriptionFailed",
        "ResponseStarted",
        "ResponseFinished",
    ]
    assert [getattr(error, "message", "") for error in world.of(events.TranscriptionFailed)] == [
        finished(world)[0].reason
    ]
    assert [response.status for response in finished(world)] == ["failed"]


def test_sound_that_kills_every_worker_is_given_up_though_no_turn_has_begun() -> None:
    world = conversation([(1.0, 0), (1.2, 1), (8.0, 0)])
    world.kills = commands.Listen
    world.run(7)
    assert world.killed == 4 * len(world.of(events.SessionError)) > 0, (
        "what nobody is known to have begun is no attempt"
    )
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


def test_nor_do_those_that_leave_before_they_have_an_answer() -> None:
    world = conversation([(1.0, 0), (9.0, 1), (6.0, 0)])

    def leave() -> None:
        world.do(world.machine.abandon(world.now))
        world.run(world.now - 1000 + 0.004)
        world.kill()

    for number in range(12):
        world.at(2.0 + 0.03 * number, leave)
    world.run(30)
    assert world.of(events.SessionError) == []
    assert [response.status for response in finished(world)] == ["completed"]


@pytest.mark.parametrize("settles", [True, False])
def test_a_turn_that_kills_whoever_has_it_handed_over_is_given_up(*, settles: bool) -> None:
    """The worker that follows hands it over to the one that has died, which is back before it is at the same place.
    `settles`: the owner has answered before that one reads."""
    world = conversation([(1.0, 0), (1.2, 1), (20.0, 0)])
    world.transcribe_seconds = 60.0
    seen = killed = 0

    def look() -> None:
        nonlocal seen, killed
        if len(world.contexts) == seen:
            return
        seen = len(world.contexts)
        if seen % 2:
            killed += 1
        else:
            world.do(world.machine.abandon(world.now))
            if settles:
                world.run(world.now - 1000 + 0.004)
        world.kill()

    for number in range(150):
        world.at(2.0 + 0.1 * number, look)
    world.run(20)
    assert [getattr(error, "code", "") for error in world.of(events.SessionError)] == ["turn_given_up"]
    assert killed == 3


def test_progress_starts_the_count_anew() -> None:
    """A worker dies after every sentence of a long answer: each one before has come."""
    world = conversation([(1.2, 4), (70.0, 0)])
    for second in range(4, 34, 3):
        world.at(second, world.kill)
    world.run(95)
    assert world.replays == 10
    assert [response.status for response in finished(world)] == ["completed"]


def told(machine: Turns, todo: list[commands.Command]) -> list[DownEnvelope]:
    """What it publishes, and once that is confirmed."""
    said: list[DownEnvelope] = []
    while published := [one.envelope for one in todo if isinstance(one, commands.Publish)]:
        said += published
        todo = machine.handle([commands.Published()], 0.0)
    return said


def test_the_next_owner_gives_up_once_more_without_a_word() -> None:
    """It has not read that far, and its client was told."""
    machine = Turns("s", Limits(), MessageIds(1))
    codec: Codec = "g711_ulaw/8000"
    asked: list[packets.Packet] = [packets.CreateItem(Item("i", "user", "hello")), packets.CreateResponse()]
    assert told(machine, machine.receive(UpEnvelope("s", 1, 0, 1, asked, codec, 3, Snapshot()), 0.0))
    given_up = UpEnvelope("s", 1, 2, 1, [packets.GiveUp(3, 100, 3), packets.EpochEnd()], codec, 3)
    (first,) = told(machine, machine.receive(given_up, 0.1))
    assert {"SessionError", "ResponseFinished"} <= {type(event).__name__ for event in first.events}
    again = UpEnvelope("s", 2, 0, 1, [packets.GiveUp(3, 100, 3)], codec, 3)
    (second,) = told(machine, machine.receive(again, 0.2))
    assert [type(event).__name__ for event in second.events] == ["Progress"]


def test_nor_does_another_worker_say_a_word_of_it() -> None:
    """Which has the turn's end from the log, and the second owner's packet when it asks."""
    codec: Codec = "g711_ulaw/8000"
    told_before = Snapshot(turn=1, cursor=Cursor(given_up=3))
    for attempt, said in ((3, ["Progress"]), (4, ["SessionError", "Progress"])):
        given_up = UpEnvelope("s", 2, 0, 1, [packets.GiveUp(3, 100, attempt)], codec, 4, told_before)
        (news,) = told(machine := Turns("s", Limits(), MessageIds(1)), machine.receive(given_up, 0.0))
        assert [type(event).__name__ for event in news.events] == said
        assert news.snapshot is not None
        assert news.snapshot.cursor.given_up == attempt


def test_a_worker_that_leaves_before_its_question_is_answered_says_so_of_the_attempt_that_it_began() -> None:
    """Its owner has counted the question; what is said of the attempt before would not count."""
    machine = Turns("s", Limits(), MessageIds(1))
    stream = UpEnvelope("s", 1, 4, 1, [packets.Silence(800)], "g711_ulaw/8000", 2)
    (question,) = told(machine, machine.receive(stream, 0.0))
    (leaves,) = told(machine, machine.abandon(0.1))
    assert [getattr(one.events[0], "reason", "") for one in (question, leaves)] == ["unknown_session", "handed_over"]
    assert (question.attempt, leaves.attempt) == (2, 3)


def test_a_worker_that_leaves_an_open_turn_says_so_though_it_has_heard_nothing_of_it() -> None:
    """Its audio went with gateway and worker; the next one asks, and who has left did not die of it."""
    machine = Turns("s", Limits(), MessageIds(1))
    snapshot = Snapshot(turn=1, cursor=Cursor(open_turn=1))
    told(machine, machine.receive(UpEnvelope("s", 1, 0, 1, [packets.Silence(800)], "g711_ulaw/8000", 1, snapshot), 0.0))
    (leaves,) = told(machine, machine.abandon(0.1))
    assert [getattr(event, "reason", "") for event in leaves.events] == ["handed_over"]


@pytest.mark.parametrize("answers", [True, False])
def test_an_announced_utterance_of_which_nothing_was_kept_ends_with_the_silence_after_it(answers: bool) -> None:
    """It was open for longer than is retained when its worker died: the client is told, once, and may go on."""
    machine = Turns("s", Limits(), MessageIds(1))
    config = SessionConfig(turn_detection=TurnDetection(create_response=answers))
    snapshot = Snapshot(config=config, turn=1, cursor=Cursor(open_turn=1))
    happened: list[events.DownEvent] = []
    for seq in range(60):
        begin = snapshot if seq == 0 else None
        silence = UpEnvelope("s", 1, seq, 1, [packets.Silence(800)], "g711_ulaw/8000", 0, begin)
        envelopes = told(machine, machine.receive(silence, seq / 10))
        happened += [event for one in envelopes for event in one.events if not isinstance(event, events.Progress)]
    ended = [events.SpeechStopped, events.InputCommitted, events.TranscriptionFailed]
    failed = [events.ResponseStarted, events.ResponseFinished] if answers else []
    assert [type(event) for event in happened] == ended + failed
    assert [event.status for event in happened if isinstance(event, events.ResponseFinished)] == ["failed"] * answers


def test_it_ends_as_well_when_the_client_sends_no_silence_and_its_gateway_puts_in_a_second_of_it() -> None:
    """That is less than what ends it while the client sends; two seconds in which nothing came are as good (seed 5800:
    it was open until the client spoke again, which was told that its next question was lost)."""
    machine = Turns("s", Limits(), MessageIds(1))
    snapshot = Snapshot(turn=1, cursor=Cursor(open_turn=1))
    told(machine, machine.receive(UpEnvelope("s", 1, 0, 1, [], "g711_ulaw/8000", 0, snapshot), 0.0))
    told(machine, machine.receive(UpEnvelope("s", 1, 0, 1, [packets.Silence(8000)], "g711_ulaw/8000"), 5.0))
    assert not told(machine, machine.tick(6.9)), "the rest may be on its way"
    assert machine.wake_at == 7.0
    (ends,) = told(machine, machine.tick(7.0))
    assert [type(event) for event in ends.events] == [
        events.SpeechStopped,
        events.InputCommitted,
        events.TranscriptionFailed,
        events.Progress,
        events.ResponseStarted,
        events.ResponseFinished,
    ]
    assert ends.snapshot is not None
    assert not ends.snapshot.cursor.open_turn
    assert not told(machine, machine.tick(60.0)), "once"


def test_nothing_is_told_as_lost_of_an_utterance_that_the_client_has_dropped() -> None:
    """Its silence came fast, from a replay: an item that never was would be told as lost two seconds after it."""
    machine = Turns("s", Limits(), MessageIds(1))
    codec: Codec = "g711_ulaw/8000"
    sound: list[packets.Packet] = [packets.Silence(800)] * 40
    snapshot = Snapshot(turn=1, cursor=Cursor(open_turn=1))
    told(machine, machine.receive(UpEnvelope("s", 1, 0, 1, sound, codec, 0, snapshot), 0.0))
    (cleared,) = told(machine, machine.receive(UpEnvelope("s", 1, 40, 1, [packets.Clear()], codec), 0.5))
    assert [type(event) for event in cleared.events] == [events.InputCleared, events.Progress]
    assert not told(machine, machine.receive(UpEnvelope("s", 1, 41, 1, sound[:1], codec), 2.5))
    assert not told(machine, machine.tick(60.0))


def test_an_utterance_that_had_ended_is_told_as_lost_once_its_owner_says_that_this_is_all() -> None:
    """Its client may wait for the answer in silence (seed 12250: neither it nor its worker ever went on)."""
    machine = Turns("s", Limits(), MessageIds(1))
    lost = Snapshot(turn=1, cursor=Cursor(untranscribed=[Untranscribed(1, Mark(2, 5), respond=True)]))
    assert told(machine, machine.receive(UpEnvelope("s", 3, 1, 1, [], provokes=True), 0.0)), "it asks"
    left = UpEnvelope("s", 1, 3, 1, [packets.EpochEnd()], attempt=1, snapshot=lost)
    assert not told(machine, machine.receive(left, 0.0)), "more may be on its way"
    assert machine.wake_at is None
    (ends,) = told(machine, machine.receive(UpEnvelope("s", 3, 0, 1, [], attempt=1, continues=True), 0.0))
    assert [type(event) for event in ends.events] == [
        events.TranscriptionFailed,
        events.Progress,
        events.ResponseStarted,
        events.ResponseFinished,
    ]
    assert not told(machine, machine.tick(60.0)), "once"
