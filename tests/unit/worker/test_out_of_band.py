"""Answers beside the conversation: what they are made from, what they leave alone, and what becomes of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, SessionConfig
from litevoice_worker import commands
from litevoice_worker.client_events import MAX_OUT_OF_BAND
from litevoice_worker.commands import FunctionCall
from tests.unit.worker.world import World

STORY = Item("ask", "user", "Tell me the story of the lighthouse.")
CAPITAL = Item("own", "user", "What is the capital of France?")
ASIDE = packets.CreateResponse(out_of_band=True, input=[CAPITAL], text_only=True)
PARIS = "The capital of France is Paris."


def send(world: World, seconds: float, *sent: packets.Packet) -> None:
    for packet in sent:
        world.at(seconds, lambda packet=packet: world.send(packet))  # type: ignore[misc]


def begun(world: World) -> list[events.ResponseStarted]:
    return [event for _, event in world.client if isinstance(event, events.ResponseStarted)]


def ends(world: World) -> list[events.ResponseFinished]:
    return [event for _, event in world.client if isinstance(event, events.ResponseFinished)]


def errors(world: World) -> list[tuple[str, str | None]]:
    return [(event.code, event.param) for _, event in world.client if isinstance(event, events.SessionError)]


def remembered(world: World) -> list[str]:
    return [item.id for item in world.folded.snapshot.items]


def story(world: World) -> str:
    """A long answer is spoken from 0.1 on; returns its item's id."""
    send(world, 0.1, packets.CreateItem(STORY), packets.CreateResponse())
    world.run(1)
    (started,) = begun(world)
    return started.item_id


def test_it_is_given_beside_the_conversations_answer_and_not_remembered() -> None:
    alone, world = World(), World()
    answer_id = story(alone)
    story(world)
    send(world, 2, replace(ASIDE, metadata={"topic": "x"}, event_id="mine"))
    for one in (alone, world):
        one.run(90)
    aside, story_end = ends(world)
    assert (aside.out_of_band, aside.text, aside.metadata) == (True, PARIS, {"topic": "x"})
    assert (aside.previous_item_id, begun(world)[1].previous_item_id) == (None, None)
    assert [item.text for item in world.prompts[1].items] == [CAPITAL.text]
    assert remembered(world) == remembered(alone) == ["ask", answer_id]
    assert story_end == ends(alone)[0]
    assert world.audio(story_end.response_id) == alone.audio()
    assert len(world.prompts) == 2
    assert not errors(world)


def test_what_was_asked_for_is_used_in_place_of_what_the_session_has() -> None:
    world = World()
    tool: dict[str, object] = {"name": "f"}
    config = SessionConfig(instructions="session", voice="anna", tools=[tool], max_output_tokens=5)
    wish = packets.CreateResponse(
        instructions="own",
        tools=[],
        tool_choice="none",
        max_output_tokens=0,
        voice="bert",
        codec="g711_ulaw/8000",
        out_of_band=True,
        input=[Item("own", "user", "Thank you.")],
    )
    spoken: list[commands.Synthesize] = []
    do = world.do

    def watch(todo: list[commands.Command]) -> None:
        spoken.extend(command for command in todo if isinstance(command, commands.Synthesize))
        do(todo)

    world.do = watch  # type: ignore[method-assign]
    send(world, 0.1, packets.Update(config), wish)
    world.run(5)
    (prompt,), (start,), (end,) = world.prompts, begun(world), ends(world)
    assert (prompt.instructions, prompt.tools, prompt.tool_choice, prompt.max_output_tokens) == ("own", [], "none", 0)
    assert {(command.voice, command.codec) for command in spoken} == {("bert", "g711_ulaw/8000")}
    assert len(world.audio()) == len("You are welcome.") * 60 * 8
    for event in (start, end):
        assert (event.voice, event.codec, event.max_output_tokens) == ("bert", "g711_ulaw/8000", 0)


def test_an_answer_of_the_conversation_may_have_input_of_its_own() -> None:
    world = World()
    send(world, 0.1, packets.CreateItem(STORY), packets.CreateResponse(input=[], text_only=True))
    send(world, 1, packets.CreateResponse(input=["ask", CAPITAL], text_only=True))
    world.run(5)
    assert [[item.id for item in prompt.items] for prompt in world.prompts] == [[], ["ask", "own"]]
    first, second = ends(world)
    assert remembered(world) == ["ask", first.item_id, second.item_id]
    assert second.previous_item_id == first.item_id


def untranscribed() -> tuple[World, events.InputCommitted]:
    """An utterance has just ended; what was said is known 2 s later."""
    world = World()
    world.transcribe_seconds = 2.0
    world.stream([(0.5, 0), (1.2, 1), (4.0, 0)])
    world.run(2.6)
    (committed,) = world.of(events.InputCommitted)
    assert isinstance(committed, events.InputCommitted)
    return world, committed


def test_items_that_are_referred_to_are_those_of_the_conversation_as_they_are_then() -> None:
    world, committed = untranscribed()
    send(world, 2.7, replace(ASIDE, input=[committed.item_id]), ASIDE)
    world.run(3.5)
    assert [end.text for end in ends(world)] == [PARIS], "only the one that needs the transcript waits for it"
    world.run(6)
    asked = [prompt for prompt in world.prompts if [item.id for item in prompt.items] == [committed.item_id]]
    assert asked[0].items[0].text == "what is the capital of france"
    assert len([end for end in ends(world) if end.out_of_band]) == 2


def test_an_item_that_is_not_there_cannot_be_referred_to() -> None:
    world = World()
    send(world, 0.1, replace(ASIDE, input=[CAPITAL, "nobody"]))
    world.run(2)
    assert errors(world) == [("item_reference_invalid_item_id", "response.input[1].id")]
    assert not begun(world)


def test_an_item_that_is_deleted_before_the_model_is_asked_is_left_out() -> None:
    world, committed = untranscribed()
    send(world, 2.7, packets.CreateItem(CAPITAL), replace(ASIDE, input=["own", committed.item_id]))
    send(world, 2.8, packets.DeleteItem("own"))
    world.run(6)
    assert [committed.item_id] in [[item.id for item in prompt.items] for prompt in world.prompts]


def test_speech_interrupts_the_conversations_answer_alone() -> None:
    world = World()
    send(world, 0.1, packets.CreateItem(STORY), packets.CreateResponse())
    send(world, 0.2, packets.CreateResponse(out_of_band=True, input=[STORY]))
    world.stream([(2.0, 0), (1.0, 1), (1.0, 0)])
    world.run(90)
    by_band = {end.out_of_band: end for end in ends(world) if end.text.startswith("On a rock")}
    assert by_band[False].reason == "turn_detected"
    assert by_band[True].status == "completed"


def test_only_who_names_it_cancels_it() -> None:
    world = World()
    story(world)
    send(world, 1.1, replace(ASIDE, input=[STORY], text_only=False))
    world.run(1.5)
    aside = begun(world)[1].response_id
    send(world, 2, packets.CancelResponse())
    send(world, 3, packets.CancelResponse())
    send(world, 4, packets.CancelResponse(aside))
    world.run(5)
    assert [(end.out_of_band, end.reason) for end in ends(world)] == [
        (False, "client_cancelled"),
        (True, "client_cancelled"),
    ]
    assert errors(world) == [("response_cancel_not_active", "response_id")]
    assert world.folded.snapshot.out_of_band == []


def test_there_are_only_so_many_at_a_time() -> None:
    world = World()
    send(world, 0.1, *[packets.CreateResponse(out_of_band=True, input=[STORY])] * (MAX_OUT_OF_BAND + 1))
    world.run(1)
    assert len(begun(world)) == MAX_OUT_OF_BAND
    assert errors(world) == [("too_many_responses", "response.conversation")]
    assert world.folded.awaiting_response
    assert world.machine.at_work
    assert world.machine.stage in ("speaking", "publishing")
    world.run(90)
    assert world.folded.resume_out_of_band is None
    send(world, 91, ASIDE)
    world.run(92)
    assert ends(world)[-1].text == PARIS


def test_a_transcription_session_gives_none() -> None:
    world = World()
    send(world, 0.1, packets.Update(SessionConfig(transcription_only=True)), ASIDE)
    world.run(2)
    assert errors(world) == [("response_not_available", "type")]


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("time", [0.113, 0.14, 0.5, 3.0])
def test_a_finished_one_is_not_computed_again(time: float, *, moves: bool) -> None:
    """And one that is not finished goes on from where it was."""
    world = World()
    send(world, 0.1, ASIDE, packets.CreateResponse(out_of_band=True, input=[STORY]))
    world.at(time, world.kill)
    if moves:
        world.at(time, lambda: world.move(farewell=True))
    world.stream([(10.0, 0)], start=0.2)
    world.run(90)
    assert sorted(end.text[:9] for end in ends(world)) == ["On a rock", "The capit"]
    finished_before = time > 0.2
    capitals = [prompt for prompt in world.prompts if prompt.items[0] == CAPITAL]
    assert len(capitals) <= (1 if finished_before else 2)
    whole = World()
    send(whole, 0.1, packets.CreateResponse(out_of_band=True, input=[STORY]))
    whole.run(90)
    assert world.audio() == whole.audio()


def test_one_that_kills_every_worker_is_given_up() -> None:
    world = World()
    story(world)
    send(world, 2, packets.CreateResponse(out_of_band=True, input=[CAPITAL], text_only=True))
    world.at(2.001, lambda: setattr(world, "kills", commands.Respond))
    world.stream([(20.0, 0)], start=2.1)
    world.run(22)
    assert world.killed == 3
    assert {(end.out_of_band, end.status) for end in ends(world)} == {(True, "failed"), (False, "failed")}
    assert errors(world) == [("turn_given_up", None)]


def test_its_calls_are_not_remembered() -> None:
    world = World(calls=[FunctionCall("c1", "f", "{}")])
    send(world, 0.1, replace(ASIDE, tools=[{"name": "f"}]))
    world.run(2)
    (end,) = ends(world)
    assert end.calls is not None
    assert [call.name for call in end.calls] == ["f"]
    assert remembered(world) == []
