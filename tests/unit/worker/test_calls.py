"""Calls of functions, told while the model writes them: no piece is told twice, whatever another model writes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, SessionConfig
from litevoice_contracts.envelopes import ToldCall
from litevoice_worker.calls import MAX_ARGUMENTS, MAX_CALLS, CallError, Calls
from litevoice_worker.commands import FunctionCall, FunctionCallPart
from tests.unit.worker.world import World

PARIS, ROME = '{"city": "Paris"}', '{"city": "Rome"}'
TOOLS: list[dict[str, object]] = [{"name": "weather"}, {"name": "time"}]
QUESTION = Item("ask", "user", "What is the capital of France?")


@dataclass
class Client:
    """What a client has of a response's calls, by their indexes."""

    calls: dict[int, ToldCall] = field(default_factory=dict)

    def take(self, calls: Calls) -> None:
        while (event := calls.next("r")) is not None:
            if isinstance(event, events.CallStarted):
                assert event.index not in self.calls, "announced once"
                self.calls[event.index] = ToldCall(event.item_id, event.index, event.call_id, event.name)
            else:
                told = self.calls[event.index]
                assert (event.item_id, event.call_id) == (told.item_id, told.call_id)
                assert event.text
                self.calls[event.index] = ToldCall(
                    told.item_id, told.index, told.call_id, told.name, told.arguments + event.text
                )

    @property
    def told(self) -> list[ToldCall]:
        return list(self.calls.values())


def pieces(*calls: tuple[str, str], size: int = 3) -> list[FunctionCallPart]:
    """As a model streams them."""
    written = []
    for index, (name, arguments) in enumerate(calls):
        written.append(FunctionCallPart(index, f"model_{index}", name))
        written += [
            FunctionCallPart(index, arguments=arguments[at : at + size]) for at in range(0, len(arguments), size)
        ]
    return written


def run(client: Client, written: list[FunctionCallPart], *, ends: bool = True) -> list[tuple[str, str]]:
    """A worker takes this of a model; returns the calls to be made."""
    calls = Calls("a", client.told)
    for piece in written:
        calls.add(piece)
        client.take(calls)
    if not ends:
        return []
    calls.end()
    client.take(calls)
    made = calls.made()
    for index, item in made:
        told = client.calls[index]
        assert (item.id, item.call_id, item.name, item.text) == (
            told.item_id,
            told.call_id,
            told.name,
            told.arguments,
        ), "the client has all of it"
    assert [index for index, _ in made] == sorted(index for index, _ in made)
    return [(item.name, item.text) for _, item in made]


def test_several_calls_are_told_as_they_are_written() -> None:
    client, calls = Client(), Calls("a")
    calls.add(FunctionCallPart(0, "c1", "weather", '{"ci'))
    client.take(calls)
    assert client.told == [ToldCall("a_1", 1, "c1", "weather", '{"ci')]
    calls.add(FunctionCallPart(1, name="time"))
    calls.add(FunctionCallPart(0, arguments='ty"'))
    client.take(calls)
    assert client.told == [ToldCall("a_1", 1, "c1", "weather", '{"city"'), ToldCall("a_2", 2, "call_a_2", "time")]
    calls.end()
    client.take(calls)
    assert client.told[1].arguments == "{}"
    assert calls.next("r") is None


@given(
    st.lists(st.sampled_from([("weather", PARIS), ("weather", ROME), ("time", ""), ("time", "{}")]), max_size=4),
    st.lists(st.integers(0, 30), max_size=3),
    st.integers(1, 9),
)
def test_a_model_that_writes_the_same_again_is_gone_on_with(
    calls: list[tuple[str, str]], deaths: list[int], size: int
) -> None:
    client, whole = Client(), Client()
    for death in deaths:
        run(client, pieces(*calls)[:death], ends=False)
    made = run(client, pieces(*calls, size=size))
    assert made == run(whole, pieces(*calls)) == [(name, text or "{}") for name, text in calls]
    assert client.told == whole.told


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("fg"), st.text("ab", max_size=4)), max_size=3), min_size=1, max_size=4)
)
def test_whatever_models_write_the_calls_to_be_made_are_those_of_the_last(
    runs: list[list[tuple[str, str]]],
) -> None:
    client = Client()
    for calls in runs[:-1]:
        run(client, pieces(*calls, size=1)[: len(calls) * 3], ends=False)
    made = run(client, pieces(*runs[-1], size=1))
    assert sorted(made) == sorted((name, text or "{}") for name, text in runs[-1])


def test_what_another_model_does_not_go_on_with_is_not_made() -> None:
    client = Client()
    run(client, pieces(("weather", PARIS))[:5], ends=False)
    assert client.told[0].arguments == PARIS[:12]
    assert run(client, pieces(("weather", ROME))) == [("weather", ROME)]
    assert [(call.index, call.arguments) for call in client.told] == [(1, PARIS[:12]), (2, ROME)]


def test_whole_calls_are_told_at_once_and_too_many_are_refused() -> None:
    client, calls = Client(), Calls("a")
    for number in range(MAX_CALLS):
        calls.add(FunctionCall(f"c{number}", "f", "{}"))
    client.take(calls)
    assert [call.call_id for call in client.told] == [f"c{number}" for number in range(MAX_CALLS)]
    for further in (FunctionCall("c", "f", "{}"), FunctionCallPart(99, name="late")):
        with pytest.raises(CallError, match="more than 16 functions"):
            calls.add(further)


def test_a_call_without_a_name_is_none() -> None:
    assert run(Client(), [FunctionCallPart(0, "c1")]) == []
    with pytest.raises(CallError, match="without its name"):
        run(Client(), [FunctionCallPart(0, "c1", arguments="{}")])


def test_an_id_that_a_client_could_not_send_back_is_replaced() -> None:
    client = Client()
    for size in (128, 129):
        run(client, [FunctionCallPart(size, "x" * size, "f", f'{{"size": {size}}}')])
    assert [call.call_id for call in client.told] == ["x" * 128, "call_a_2"]


def test_a_name_is_bounded() -> None:
    with pytest.raises(CallError, match="more than 128 characters"):
        Calls("a").add(FunctionCall("c1", "f" * 129, "{}"))


def test_arguments_are_bounded() -> None:
    calls = Calls("a")
    calls.add(FunctionCallPart(0, name="f", arguments="x" * MAX_ARGUMENTS))
    with pytest.raises(CallError, match="more than 65536 characters"):
        calls.add(FunctionCallPart(0, arguments="x"))


# In a session


def asked(world: World) -> None:
    for packet in (
        packets.Update(SessionConfig(tools=TOOLS)),
        packets.CreateItem(QUESTION),
        packets.CreateResponse(),
    ):
        world.at(0.1, lambda packet=packet: world.send(packet))  # type: ignore[misc]


def ends(world: World) -> list[events.ResponseFinished]:
    return [event for _, event in world.client if isinstance(event, events.ResponseFinished)]


def test_the_client_reads_along_while_the_model_writes() -> None:
    world = World(calls=[*pieces(("weather", PARIS), size=4)], call_seconds=0.5)
    asked(world)
    world.run(2)
    deltas = world.of(events.CallDelta)
    assert len(deltas) == 2
    assert not ends(world)
    world.run(10)
    (end,) = ends(world)
    assert "".join(event.text for _, event in world.client if isinstance(event, events.CallDelta)) == PARIS
    assert end.calls is not None
    assert [(call.id, call.text) for call in end.calls] == [(f"{end.item_id}_1", PARIS)]
    assert end.call_indexes == [1]
    assert [item.id for item in world.folded.snapshot.items] == ["ask", end.item_id, f"{end.item_id}_1"]


@pytest.mark.parametrize("moves", [False, True])
def test_another_worker_goes_on_in_the_middle_of_a_call(*, moves: bool) -> None:
    world = World(calls=[*pieces(("weather", PARIS), ("weather", ROME), size=4)], call_seconds=0.2)
    asked(world)
    world.at(1.25, world.kill)
    if moves:
        world.at(1.25, lambda: world.move(farewell=True))
    world.at(1.3, lambda: world.send(packets.CancelResponse("nudge")))
    world.run(10)
    assert world.killed == 0
    assert len(world.prompts) == 2
    told = [event for event in world.transcript() if isinstance(event, tuple) and event[0] == "call"]
    assert [call[6] for call in told] == [PARIS, ROME]
    assert [call.text for call in ends(world)[0].calls or ()] == [PARIS, ROME]


def test_another_model_that_writes_something_else_begins_a_call_of_its_own() -> None:
    world = World(calls=[*pieces(("weather", PARIS), size=4)], call_seconds=0.2)
    asked(world)
    world.at(1.05, world.kill)
    world.at(1.06, lambda: setattr(world, "calls", pieces(("weather", ROME), size=4)))
    world.at(1.1, lambda: world.send(packets.CancelResponse("nudge")))
    world.run(10)
    (end,) = ends(world)
    assert [call.text for call in end.calls or ()] == [ROME]
    assert end.call_indexes == [2]
    assert len(world.of(events.CallStarted)) == 2


def test_a_call_that_is_too_long_ends_the_answer() -> None:
    world = World(calls=[FunctionCallPart(0, "c1", "weather", "x" * (MAX_ARGUMENTS + 1))])
    asked(world)
    world.run(3)
    (end,) = ends(world)
    assert (end.status, end.calls) == ("failed", None)
    assert "characters of arguments" in end.reason


@pytest.mark.parametrize(
    ("tools", "choice", "want"),
    [
        (TOOLS, "function/time", "function/time"),
        (TOOLS, "function/gone", "auto"),
        ([], "function/time", "auto"),
        (TOOLS, "required", "required"),
        ([], "none", "none"),
        ([{"name": "a/b"}], "function/a/b", "function/a/b"),
    ],
)
def test_a_function_that_is_gone_is_not_chosen(tools: list[dict[str, object]], choice: str, want: str) -> None:
    world = World()
    config = SessionConfig(tools=tools, tool_choice=choice)
    world.at(0.1, lambda: world.send(packets.Update(config)))
    world.at(0.2, lambda: world.send(packets.CreateResponse()))
    world.run(1)
    assert [prompt.tool_choice for prompt in world.prompts] == [want]
