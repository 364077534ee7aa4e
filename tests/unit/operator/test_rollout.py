"""Who is replaced when: a table of cases, and whole rollouts of full fleets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litevoice_operator.decide.rollout import BATCH_PERCENT, Batch, rollout
from litevoice_operator.decide.scale import Load

ROOM = 100


def old(name: str, sessions: int | None = 50, **more: Any) -> Load:
    return Load(name, sessions=sessions, outdated=True, max_sessions=ROOM, revision="old", **more)


def new(name: str, sessions: int | None = 0, **more: Any) -> Load:
    return Load(name, sessions=sessions, max_sessions=ROOM, revision="new", **more)


def going(name: str, sessions: int | None = 50, **more: Any) -> Load:
    return old(name, sessions, marked=True, draining=True, **{"ready": False, **more})


FOUR = [old("a"), old("b", 40), old("c"), old("d")]
STARTING = {"sessions": None, "ready": False, "starting": True}
Row = tuple[str, list[Load], int, int, list[str], int, str]
CASES: list[Row] = [
    ("nothing is to be replaced", [new("a"), new("b")], 2, 2, [], 2, ""),
    ("one more, of the new version", FOUR, 0, 4, [], 1, "first 1 that replace them must be ready: 0 are"),
    ("it starts", [*FOUR, new("x", **STARTING)], 1, 4, [], 1, "0 are"),
    ("it is ready: the cheapest goes", [*FOUR, new("x")], 1, 4, ["b"], 1, "1 of them go now, with 40 sessions"),
    ("it goes", [old("a"), going("b", 40), old("c"), old("d"), new("x")], 1, 4, ["b"], 1, "1 of them drain"),
    ("it ends: the next one waits", [old("a"), going("b", 9, ending=True), old("c"), old("d"), new("x", 31)], 1, 4,
     [], 1, "those that went before them still end"),
    ("it is cut off from the cluster, and is not waited for",
     [old("a"), going("b", None, ending=True), old("c"), old("d"), new("x", 40)], 1, 4, [], 2,
     "first 2 that replace them must be ready: 1 are"),
    ("full gateways: as many as their sessions need", [old(n, 100) for n in "abcd"], 0, 4, [], 2, "first 1"),
    ("one is ready and has room", [*[old(n, 100) for n in "abcd"], new("x"), new("y", **STARTING)], 2, 4, ["a"], 2,
     "100 sessions"),
    ("it has not", [*[old(n, 100) for n in "abcd"], new("x", 30)], 2, 4, [], 2, "there is some for 70"),
    ("it does not say what it holds", [*FOUR, new("x", None)], 1, 4, [], 1, "there is some for 0"),
    ("who never ran needs no room", [old("a"), old("b", **STARTING), new("x", **STARTING)], 1, 2, ["b"], 2, "first 2"),
    ("a whole version that never ran", [old("a", **STARTING), old("b", **STARTING)], 0, 2, ["a", "b"], 2, "2 of 2"),
    ("eight: two at a time", [*[old(f"o{n}", 10) for n in range(8)], new("x"), new("y")], 2, 8, ["o0", "o1"], 2,
     "20 sessions"),
    ("but not with more than a quarter of the sessions",
     [*[old(f"o{n}", 10 if n < 4 else 0) for n in range(8)], new("x"), new("y")], 2, 8, ["o4", "o5"], 2, "0 sessions"),
    ("fewer are wanted: some go without replacement", FOUR, 0, 2, ["b"], 1, "40 sessions"),
    ("none is wanted", [old("a")], 0, 0, ["a"], 0, "50 sessions"),
    ("more are wanted: they are new", FOUR, 0, 6, [], 3, "first 3"),
    ("more than that are there already", [*FOUR, new("x"), new("y")], 3, 4, ["b"], 3, "40 sessions"),
    ("silent ones go last, unasked", [old("a", None), new("x")], 1, 1, ["a"], 1, "0 sessions"),
    ("a cordoned node: one more first", [new("a", 5, cordoned=True), new("b")], 2, 2, [], 2, "first 2"),
    ("then it goes", [new("a", 5, cordoned=True), new("b"), new("c")], 3, 2, ["a"], 2, "5 sessions"),
    ("one alone on it", [new("a", 5, cordoned=True)], 1, 1, [], 1, "first 1"),
    ("what its node gives up goes first", [old("a", 5), old("b", 90, cordoned=True), new("x")], 1, 2, ["b"], 1, "90"),
    ("two versions back and forth", [new("a"), old("x", 3)], 1, 2, [], 2, "first 2"),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "made", "wanted", "who", "newest", "text"), CASES,
                         ids=[row[0] for row in CASES])  # fmt: skip
def test_batches(
    description: str, pods: list[Load], made: int, wanted: int, who: list[str], newest: int, text: str
) -> None:
    batch = rollout(pods, made, wanted, ROOM)
    assert (list(batch.going), batch.newest) == (who, newest)
    assert (batch.finding is None) == (text == "")
    assert batch.finding is None or text in batch.finding.message


def test_the_last_ones_are_told_of() -> None:
    batch = rollout([new("a"), going("b", 3, ending=True)], 1, 1, ROOM)
    assert batch.finding is not None
    assert (batch.going, batch.finding.message) == ((), "the last gateways of an older version end")


def test_a_full_gateway_without_room_says_what_would_help() -> None:
    batch = rollout([old("a", 100), new("x", 50)], 1, 1, ROOM)
    assert batch.finding is not None
    assert (batch.finding.status, batch.finding.reason) == ("True", "RolloutWithoutRoom")


TURNS: list[tuple[str, list[Load], int, Batch]] = [
    ("nobody begins", [*FOUR], 4, Batch((), 0)),
    ("one that is missing is made new", FOUR, 5, Batch((), 1)),
    ("what a node gives up goes", [old("a"), old("b", cordoned=True), new("x")], 2, Batch(("b",), 1)),
    ("who has begun goes on", [old("a"), going("b"), new("x")], 2, Batch(("b",), 1)),
]


@pytest.mark.parametrize(("description", "pods", "wanted", "expected"), TURNS, ids=[row[0] for row in TURNS])
def test_while_another_fleet_rolls(description: str, pods: list[Load], wanted: int, expected: Batch) -> None:
    batch = rollout(pods, 0, wanted, ROOM, may_begin=False)
    assert (batch.going, batch.newest) == (expected.going, expected.newest)


@pytest.mark.parametrize(("gateways", "each"), [(4, 100), (1, 100), (10, 100), (40, 60), (3, 0), (7, 91)])
def test_a_full_fleet_is_rolled_within_its_room(gateways: int, each: int) -> None:
    """Each session moves once, those that stay never have more than they may, and there are never fewer gateways."""
    pods = [old(f"o{number}", each) for number in range(gateways)]
    made = moves = 0
    most = 0
    for _ in range(1000):
        batch = rollout(pods, made, gateways, ROOM)
        if batch.finding is None:
            break
        for number in range(made, batch.newest):
            pods.append(new(f"n{number}"))
        made = batch.newest
        pods = [replace(pod, marked=True) if pod.name in batch.going else pod for pod in pods]
        held = sum(pod.sessions or 0 for pod in pods if pod.marked)
        total = gateways * each
        assert held <= max(each, total * BATCH_PERCENT / 100)
        assert sum(pod.ready for pod in pods if not pod.marked) >= gateways
        most = max(most, len(pods))
        for pod in [pod for pod in pods if pod.marked]:
            pods.remove(pod)
            for _ in range(pod.sessions or 0):
                moves += 1
                target = min((n for n in pods if not n.leaves), key=lambda one: one.sessions or 0)
                assert target.sessions is not None
                assert target.sessions < ROOM
                pods[pods.index(target)] = replace(target, sessions=target.sessions + 1)
    assert [pod.leaves for pod in pods] == [False] * gateways
    assert moves == gateways * each
    assert most <= gateways + max(2, gateways // 2)
