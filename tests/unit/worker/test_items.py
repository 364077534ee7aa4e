"""A client edits its conversation: what it is told, what is remembered, and what the model is asked with afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import MAX_ITEMS, ROOT, Item, SessionConfig
from litevoice_worker.commands import FunctionCall
from tests.unit.worker.world import World

STORY = Item("ask", "user", "Tell me the story of the lighthouse.")
NEXT = Item("next", "user", "What is the capital of France?")


def typed(name: str) -> Item:
    return Item(name, "system", f"fact {name}")


def send(world: World, seconds: float, *sent: packets.Packet) -> None:
    for packet in sent:
        world.at(seconds, lambda packet=packet: world.send(packet))  # type: ignore[misc]


def story(world: World) -> str:
    """A long answer begins; returns its item's id."""
    send(world, 0.1, packets.CreateItem(STORY), packets.CreateResponse())
    world.run(1)
    (started,) = world.of(events.ResponseStarted)
    assert isinstance(started, events.ResponseStarted)
    return started.item_id


def remembered(world: World) -> list[str]:
    return [item.id for item in world.folded.snapshot.items]


def text(world: World, item_id: str) -> str:
    return next(item.text for item in world.folded.snapshot.items if item.id == item_id)


def ends(world: World) -> list[events.ResponseFinished]:
    return [event for _, event in world.client if isinstance(event, events.ResponseFinished)]


def errors(world: World) -> list[events.DownEvent]:
    return world.of(events.SessionError)


def kill(world: World) -> None:
    world.kill()


def move(world: World) -> None:
    world.move(farewell=True)


def both(world: World) -> None:
    world.kill()
    world.move(farewell=False)


TAKEOVERS: list[tuple[str, Callable[[World], None] | None]] = [
    ("undisturbed", None),
    ("another worker", kill),
    ("another gateway", move),
    ("both are others", both),
]


@pytest.mark.parametrize("takeover", [takeover for _, takeover in TAKEOVERS], ids=[name for name, _ in TAKEOVERS])
def test_truncate_alone_ends_an_answer_and_what_was_heard_is_remembered(
    takeover: Callable[[World], None] | None,
) -> None:
    world = World()
    answer = story(world)
    world.run(6)
    send(world, 6, packets.TruncateItem(answer, 2000, "e1"))
    world.run(6.5)
    (end,) = ends(world)
    assert (end.status, end.reason) == ("cancelled", "client_cancelled")
    assert world.of(events.ItemTruncated) == [events.ItemTruncated(answer, 2000)]
    if takeover is not None:
        world.at(7, lambda: takeover(world))
    send(world, 8, packets.CreateItem(NEXT), packets.CreateResponse())
    world.run(20)
    assert ends(world)[-1].text == "The capital of France is Paris."
    asked = next(item for item in world.prompts[-1].items if item.id == answer)
    assert end.text.startswith(asked.text)
    assert 5 < len(asked.text) < 60, "some two seconds of it"
    assert text(world, answer) == asked.text
    assert not errors(world)


def test_what_can_have_been_heard_is_remembered_without_truncate() -> None:
    world = World()
    answer = story(world)
    began = next(time for time, event in world.client if isinstance(event, events.AudioDelta))
    send(world, began - 1000 + 1.6, packets.CancelResponse())
    world.run(5)
    whole, kept = ends(world)[0].text, text(world, answer)
    assert whole.startswith(kept)
    spoken = sum(len(event.audio) for _, event in world.client if isinstance(event, events.AudioDelta)) / 48_000
    assert spoken > 3, "more was sent than can have been heard"
    assert 5 < len(kept) < 50


def test_a_truncation_after_the_interruption_takes_the_rest() -> None:
    world = World()
    answer = story(world)
    send(world, 4, packets.CancelResponse())
    send(world, 4.1, packets.TruncateItem(answer, 900))
    world.run(4.05)
    before = text(world, answer)
    world.run(6)
    assert before.startswith(text(world, answer))
    assert len(text(world, answer)) < len(before)
    send(world, 6, packets.TruncateItem(answer, 0), packets.TruncateItem(answer, 5000))
    world.run(7)
    assert text(world, answer) == ""
    assert not errors(world)


def test_an_answer_that_nothing_was_heard_of_can_be_truncated() -> None:
    world = World()
    send(world, 0.1, packets.CreateItem(STORY), packets.CreateResponse(), packets.CancelResponse())
    world.run(1)
    (started,) = world.of(events.ResponseStarted)
    assert isinstance(started, events.ResponseStarted)
    send(world, 1, packets.TruncateItem(started.item_id, 0), packets.RetrieveItem(started.item_id))
    world.run(2)
    assert not errors(world)
    assert world.of(events.ItemRetrieved) == [
        events.ItemRetrieved(Item(started.item_id, "assistant", "", audio=True, complete=False))
    ]


def test_a_truncation_in_the_middle_of_an_answer_that_another_worker_began() -> None:
    world = World()
    world.stream([(20.0, 0)])
    answer = story(world)
    world.at(9, world.kill)
    send(world, 15, packets.TruncateItem(answer, 12_000))
    world.run(20)
    (end,) = ends(world)
    kept = text(world, answer)
    assert end.text.startswith(kept)
    undisturbed = World()
    undisturbed.stream([(20.0, 0)])
    answer = story(undisturbed)
    send(undisturbed, 15, packets.TruncateItem(answer, 12_000))
    undisturbed.run(20)
    assert abs(len(text(undisturbed, answer)) - len(kept)) < 20


def test_items_stand_where_they_were_put() -> None:
    world = World()
    send(world, 0.1, packets.CreateItem(typed("a")), packets.CreateItem(typed("b")))
    send(world, 0.2, packets.CreateItem(typed("c"), None, ROOT), packets.CreateItem(typed("d"), None, "a"))
    world.run(1)
    assert remembered(world) == ["c", "a", "d", "b"]
    created = world.of(events.ItemCreated)
    assert [event.previous_item_id for event in created if isinstance(event, events.ItemCreated)] == [
        None,
        "a",
        None,
        "a",
    ]


@pytest.mark.parametrize("taken_over", [False, True])
def test_an_answer_stands_where_it_was_announced(taken_over: bool) -> None:
    world = World()
    world.stream([(20.0, 0)])
    answer = story(world)
    send(world, 2, packets.CreateItem(typed("meanwhile")), packets.CreateItem(typed("before"), None, ROOT))
    if taken_over:
        world.at(3, world.kill)
    world.run(120)
    assert remembered(world) == ["before", "ask", answer, "meanwhile"]
    (end,) = ends(world)
    assert end.status == "completed"
    assert text(world, answer) == end.text
    meanwhile = world.of(events.ItemCreated)[1]
    assert isinstance(meanwhile, events.ItemCreated)
    assert meanwhile.previous_item_id == answer
    assert all("meanwhile" not in [item.id for item in prompt.items] for prompt in world.prompts)


def test_a_finished_answer_names_the_item_before_it() -> None:
    world = World()
    send(world, 0.1, packets.CreateItem(NEXT), packets.CreateResponse())
    world.run(10)
    (started,), (end,) = world.of(events.ResponseStarted), ends(world)
    assert isinstance(started, events.ResponseStarted)
    assert started.previous_item_id == end.previous_item_id == "next"


@pytest.mark.parametrize("takeover", [takeover for _, takeover in TAKEOVERS], ids=[name for name, _ in TAKEOVERS])
def test_it_names_that_one_whatever_comes_between_them(takeover: Callable[[World], None] | None) -> None:
    first, later = World(), World()
    send(first, 0.1, packets.CreateResponse())
    send(later, 0.1, packets.CreateItem(STORY), packets.CreateResponse())
    for world, edit in ((first, packets.CreateItem(NEXT, None, ROOT)), (later, packets.DeleteItem("ask"))):
        send(world, 0.12, edit)
        if takeover is not None:
            world.at(0.13, lambda world=world: takeover(world))  # type: ignore[misc]
        send(world, 3, packets.CancelResponse())
        world.run(10)
    assert [end.previous_item_id for end in (*ends(first), *ends(later))] == [None, "ask"]


@pytest.mark.parametrize("takeover", [takeover for _, takeover in TAKEOVERS], ids=[name for name, _ in TAKEOVERS])
def test_what_was_deleted_stays_deleted(takeover: Callable[[World], None] | None) -> None:
    world = World()
    send(world, 0.1, *(packets.CreateItem(typed(name)) for name in "abc"))
    send(world, 1, packets.DeleteItem("b"))
    if takeover is not None:
        world.at(2, lambda: takeover(world))
    send(world, 3, packets.DeleteItem("b", "e1"), packets.RetrieveItem("c"))
    send(world, 4, packets.CreateItem(NEXT), packets.CreateResponse())
    world.run(10)
    assert world.of(events.ItemDeleted) == [events.ItemDeleted("b")]
    assert world.of(events.ItemRetrieved) == [events.ItemRetrieved(typed("c"))]
    (error,) = errors(world)
    assert isinstance(error, events.SessionError)
    assert (error.code, error.event_id) == ("item_delete_invalid_item_id", "e1")
    assert error.message == "Error deleting item: the item with id 'b' does not exist."
    assert [item.id for item in world.prompts[-1].items] == ["a", "c", "next"]


def test_an_answer_that_is_deleted_ends() -> None:
    world = World()
    answer = story(world)
    send(world, 4, packets.DeleteItem(answer))
    world.run(10)
    assert [end.status for end in ends(world)] == ["cancelled"]
    assert remembered(world) == ["ask"]


def test_cancel_when_idle_says_what_clients_look_for() -> None:
    world = World()
    send(world, 0.1, packets.CancelResponse())
    send(world, 0.2, packets.CreateItem(NEXT), packets.CreateItem(NEXT))
    world.run(1)
    cancel, duplicate = errors(world)
    assert isinstance(cancel, events.SessionError)
    assert isinstance(duplicate, events.SessionError)
    assert (cancel.code, cancel.message) == (
        "response_cancel_not_active",
        "Cancellation failed: no active response found",
    )
    assert duplicate.code == "item_create_duplicate_item_id"


TOOL: dict[str, object] = {"type": "function", "name": "weather", "parameters": {}}
PARIS = FunctionCall("c1", "weather", '{"city": "Paris"}')


@pytest.mark.parametrize("takeover", [takeover for _, takeover in TAKEOVERS], ids=[name for name, _ in TAKEOVERS])
def test_calls_of_functions_and_their_outputs_are_remembered(takeover: Callable[[World], None] | None) -> None:
    world = World(calls=[PARIS, FunctionCall("", "weather", "{}")])
    send(world, 0.1, packets.Update(SessionConfig(tools=[TOOL])), packets.CreateItem(NEXT), packets.CreateResponse())
    world.run(8)
    (end,) = ends(world)
    assert end.calls is not None
    assert [(call.name, call.text) for call in end.calls] == [("weather", PARIS.arguments), ("weather", "{}")]
    assert len({call.call_id for call in end.calls} | {""}) == 3
    if takeover is not None:
        world.at(8, lambda: takeover(world))
    output = Item("o", "system", "sunny", kind="function_call_output", call_id="c1")
    send(world, 9, packets.CreateItem(output), packets.CreateResponse(tools=[], max_output_tokens=7))
    world.run(15)
    prompt = world.prompts[-1]
    assert [item.id for item in prompt.items] == ["next", end.item_id, *(call.id for call in end.calls), "o"]
    assert (list(prompt.tools), prompt.max_output_tokens) == ([], 7)
    assert ends(world)[-1].calls is None


def test_nothing_is_called_by_an_answer_that_was_interrupted() -> None:
    world = World(calls=[PARIS])
    send(world, 0.1, packets.Update(SessionConfig(tools=[TOOL])), packets.CreateItem(STORY), packets.CreateResponse())
    send(world, 3, packets.CancelResponse())
    world.run(4)
    (end,) = ends(world)
    assert (end.status, end.calls) == ("cancelled", None)


def test_an_output_of_a_call_that_nobody_made_is_refused() -> None:
    world = World()
    call = Item("c", "assistant", "{}", kind="function_call", call_id="c1", name="f")
    output = Item("o", "system", "sunny", kind="function_call_output", call_id="c1")
    again = Item("p", "system", "rainy", kind="function_call_output", call_id="c1")
    send(world, 0.1, packets.CreateItem(output, "e1"), packets.CreateItem(call), packets.CreateItem(output))
    send(world, 0.2, packets.CreateItem(again), packets.DeleteItem("c"), packets.CreateItem(Item("q", "system", "x")))
    world.run(1)
    (error,) = errors(world)
    assert error == events.SessionError(
        "invalid_tool_call_id", "Tool call ID 'c1' not found in conversation.", "item.call_id", "e1"
    )
    assert remembered(world) == ["o", "p", "q"]


def test_an_output_of_a_call_that_was_forgotten_is_none_of_the_clients_errors() -> None:
    world = World()
    send(world, 0.1, *[packets.CreateItem(typed(f"i{number}")) for number in range(MAX_ITEMS + 1)])
    send(world, 0.2, packets.CreateItem(Item("o", "system", "x", kind="function_call_output", call_id="c1")))
    world.run(1)
    assert not errors(world)
    assert remembered(world)[-1] == "o"
