"""A budget of tokens: what of a conversation the model gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import MAX_ITEMS, Item, SessionConfig, Truncation
from litevoice_worker.budget import tokens, within
from litevoice_worker.response import FORGOT
from tests.unit.worker.world import World


def said(name: str, size: int = 10) -> Item:
    """Of so many tokens."""
    item = Item(name, "user", "x" * 4 * (size - 4))
    assert tokens(item) == size
    return item


def call(name: str) -> Item:
    return Item(name, "assistant", "{}", kind="function_call", call_id=name, name="f")


def output(name: str, text: str = "1") -> Item:
    return Item(f"{name}_output", "assistant", text, kind="function_call_output", call_id=name)


def names(items: list[Item]) -> list[str]:
    return [item.id for item in items]


CASES = [
    ("no limit", [said("a"), said("b")], Truncation(retention_ratio=0.1), ["a", "b"]),
    ("all of it fits", [said("a"), said("b")], Truncation(max_tokens=20), ["a", "b"]),
    ("the oldest goes", [said("a"), said("b"), said("c")], Truncation(max_tokens=29), ["b", "c"]),
    ("and more, down to the ratio", [said(name) for name in "abcde"], Truncation(max_tokens=49, retention_ratio=0.5),
     ["d", "e"]),
    ("until it is exceeded again nothing changes", [said(name) for name in "abcdefg"],
     Truncation(max_tokens=49, retention_ratio=0.5), ["d", "e", "f", "g"]),
    ("a ratio of 0", [said(name) for name in "abcde"], Truncation(max_tokens=49, retention_ratio=0), ["e"]),
    ("the newest stays, whatever its size", [said("a"), said("b", 99)], Truncation(max_tokens=50), ["b"]),
    ("it makes room as soon as it is not", [said("a"), said("b", 99), said("c")], Truncation(max_tokens=50), ["c"]),
    ("a call goes with its output", [call("f"), said("a"), output("f"), said("b"), said("c")],
     Truncation(max_tokens=30), ["a", "b", "c"]),
    ("an output that comes later than its call went", [call("f"), said("a"), said("b"), said("c"), output("f")],
     Truncation(max_tokens=30), ["a", "b", "c"]),
    ("a call whose output is the newest stays", [call("f"), said("a"), output("f", "x" * 400)],
     Truncation(max_tokens=30), ["f", "f_output"]),
    ("an output without a call", [output("f"), said("a"), said("b"), said("c")],
     Truncation(max_tokens=30), ["a", "b", "c"]),
    ("text of other scripts", [Item("a", "user", "灯台の話をしてください"), said("b")],
     Truncation(max_tokens=20), ["b"]),
]  # fmt: skip


@pytest.mark.parametrize(("description", "items", "truncation", "expected"), CASES, ids=[case[0] for case in CASES])
def test_what_is_left(description: str, items: list[Item], truncation: Truncation, expected: list[str]) -> None:
    assert names(within(items, truncation)) == expected, description


@given(
    st.lists(st.integers(4, 30), min_size=1, max_size=30),
    st.integers(30, 80),
    st.floats(0, 1),
)
def test_it_is_within_the_budget_and_the_end_of_the_conversation(sizes: list[int], limit: int, ratio: float) -> None:
    items = [said(str(number), size) for number, size in enumerate(sizes)]
    left = within(items, Truncation(max_tokens=limit, retention_ratio=ratio))
    assert left == items[-len(left) :]
    assert sum(map(tokens, left)) <= limit


def send(world: World, seconds: float, *sent: packets.Packet) -> None:
    for packet in sent:
        world.at(seconds, lambda packet=packet: world.send(packet))  # type: ignore[misc]


def test_the_model_gets_what_is_within_the_budget_and_the_instructions_and_nothing_is_forgotten() -> None:
    world = World()
    config = SessionConfig(instructions="Be brief. " * 50, truncation=Truncation(max_tokens=25), text_only=True)
    items = [packets.CreateItem(said(name)) for name in "abc"]
    send(world, 0.1, packets.Update(config), *items, packets.CreateResponse())
    world.run(5)
    (prompt,) = world.prompts
    assert (names(prompt.items), prompt.instructions) == (["b", "c"], config.instructions)
    assert names(world.folded.snapshot.items)[:3] == ["a", "b", "c"]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("disabled", [False, True])
def test_without_truncation_an_answer_to_a_conversation_that_was_forgotten_in_part_fails(
    disabled: bool, killed: bool
) -> None:
    world = World()
    config = SessionConfig(truncation=Truncation(disabled=disabled), text_only=True)
    items = [packets.CreateItem(said(str(number))) for number in range(MAX_ITEMS + 1)]
    send(world, 0.1, packets.Update(config), *items)
    world.run(5)
    if killed:
        world.kill()
    send(world, 6, packets.CreateResponse())
    world.run(15)
    (end,) = world.of(events.ResponseFinished)
    assert isinstance(end, events.ResponseFinished)
    assert (end.status, end.reason) == (("failed", FORGOT) if disabled else ("completed", ""))
    assert len(world.prompts) == (not disabled)
