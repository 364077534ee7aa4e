"""How a fleet becomes even: tables of cases, and a whole scale-up."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from litevoice_contracts.control import SessionInfo
from litevoice_operator.decide.rebalance import (
    MOST_AT_ONCE,
    ONCE_IN_SECONDS,
    PATIENCE_SECONDS,
    candidates,
    crowded,
    rebalanced_event,
    to_move,
)
from litevoice_operator.decide.scale import Load

NOW, LONG_AGO = 10_000.0, 10_000.0 - PATIENCE_SECONDS


def fleet(*sessions: int | None, room: int = 1000, **more: Any) -> list[Load]:
    return [Load(f"g-{number}", sessions=held, max_sessions=room, **more) for number, held in enumerate(sessions)]


Row = tuple[str, list[Load], set[str], int, set[str]]
CROWDED: list[Row] = [
    ("nobody", [], set(), 50, set()),
    ("one alone", fleet(500), set(), 50, set()),
    ("even", fleet(100, 110, 90), set(), 50, set()),
    ("a new one beside two", fleet(100, 100, 0), set(), 50, set()),
    ("three new ones beside one", fleet(100, 0, 0, 0), set(), 50, {"g-0"}),
    ("just as much as is allowed", fleet(150, 50), set(), 50, set()),
    ("one more", fleet(151, 49), set(), 50, {"g-0"}),
    ("a stricter bound", fleet(130, 70), set(), 20, {"g-0"}),
    ("a handful is no imbalance", fleet(20, 0, 0), set(), 50, set()),
    ("more than a handful", fleet(31, 0, 0), set(), 50, {"g-0"}),
    ("it is so until it holds about as many", fleet(120, 90, 90), {"g-0"}, 50, {"g-0"}),
    ("now it does", fleet(110, 95, 95), {"g-0"}, 50, set()),
    ("another one drains", [*fleet(100, 0, 0), Load("x", sessions=5, draining=True)], {"g-0"}, 50, set()),
    ("another one is to go", [*fleet(100, 0, 0), Load("x", marked=True)], {"g-0"}, 50, set()),
    ("another one is of an older version", [*fleet(100, 0, 0), Load("x", outdated=True)], {"g-0"}, 50, set()),
    ("another one starts", [*fleet(100, 0, 0), Load("x", ready=False, starting=True)], {"g-0"}, 50, set()),
    ("another one is silent: as it was", fleet(100, 0, None), {"g-0"}, 50, {"g-0"}),
    ("and it was not", fleet(100, 0, None), set(), 50, set()),
    ("another one ends, and does not count", [*fleet(100, 0, 0, 0), Load("x", sessions=9, ending=True)], set(), 50,
     {"g-0"}),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "before", "percent", "expected"), CROWDED,
                         ids=[row[0] for row in CROWDED])  # fmt: skip
def test_who_is_crowded(description: str, pods: list[Load], before: set[str], percent: int, expected: set[str]) -> None:
    found = crowded(pods, dict.fromkeys(before, LONG_AGO), percent, NOW)
    assert set(found) == expected
    assert all(since == (LONG_AGO if name in before else NOW) for name, since in found.items())


Moves = tuple[str, list[Load], dict[str, float], float, dict[str, int]]
MOVES: list[Moves] = [
    ("nobody is crowded", fleet(100, 100), {}, 200, {}),
    ("not for long enough", fleet(100, 0, 0, 0), {"g-0": LONG_AGO + 1}, 200, {}),
    ("to a little above the average", fleet(100, 0, 0, 0), {"g-0": LONG_AGO}, 200, {"g-0": 72}),
    ("as many as the bucket has", fleet(100, 0, 0, 0), {"g-0": LONG_AGO}, 12.9, {"g-0": 12}),
    ("none: others are moved", fleet(100, 0, 0, 0), {"g-0": LONG_AGO}, 0.5, {}),
    ("a bounded number at a time", fleet(4000, 0, 0, 0), {"g-0": LONG_AGO}, 500, {"g-0": MOST_AT_ONCE}),
    ("not more than there is room for", [Load("g-0", sessions=100), Load("x", sessions=10, max_sessions=15),
                                         Load("y", sessions=0)], {"g-0": LONG_AGO}, 200, {"g-0": 5}),
    ("two of them share", fleet(200, 150, 0, 0), {"g-0": LONG_AGO, "g-1": LONG_AGO}, 150, {"g-0": 100}),
    ("somebody is silent", fleet(100, 0, None), {"g-0": LONG_AGO}, 200, {}),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "crowds", "tokens", "moves"), MOVES, ids=[row[0] for row in MOVES])
def test_how_many_move(
    description: str, pods: list[Load], crowds: dict[str, float], tokens: float, moves: dict[str, int]
) -> None:
    assert to_move(pods, crowds, tokens, NOW) == moves


def session(name: str, **more: Any) -> SessionInfo:
    return msgspec.convert(
        {"session_id": name, "client": "c", "principal": "p", "age_seconds": 900.0, "turn": 1, "responding": False,
         "pending_requests": 0, "oldest_request_seconds": 0.0, "reading": True, "next_position": 1, **more},
        SessionInfo,
    )  # fmt: skip


def test_who_moves() -> None:
    """Between two turns, here for ten minutes, and not told already."""
    listed = [
        session("speaks", stage="listening"),
        session("told"),
        session("a"),
        session("young", age_seconds=ONCE_IN_SECONDS - 1),
        session("b", age_seconds=ONCE_IN_SECONDS),
        session("c"),
    ]
    assert candidates(listed, {"told"}, 2) == ["a", "b"]
    assert candidates(listed, {"told"}, 9) == ["a", "b", "c"]


def test_a_fleet_that_grew_from_one_to_four_is_even_again() -> None:
    """Each session moves at most once, none beyond what makes it even, and it ends."""
    chance = random.Random(4)
    at = ["g-0"] * 400
    moved: list[int] = []
    crowds: dict[str, float] = {}
    now = 0.0
    for _ in range(200):
        now += 5
        pods = [replace(pod, sessions=at.count(pod.name)) for pod in fleet(0, 0, 0, 0)]
        crowds = crowded(pods, crowds, 50, now)
        for name, count in to_move(pods, crowds, 212, now).items():
            here = [number for number, where in enumerate(at) if where == name and number not in moved]
            for number in here[:count]:
                moved.append(number)
                at[number] = chance.choice([pod.name for pod in pods if pod.name not in crowds])
    assert not crowds
    assert len(moved) == len(set(moved)) <= 300
    assert max(at.count(f"g-{number}") for number in range(4)) <= 150


def test_it_is_told() -> None:
    told = rebalanced_event("g-0", 400, 72)
    assert (told.type, told.reason) == ("Normal", "Rebalanced")
    assert told.message == "g-0: 72 of its 400 sessions go where there is more room"
