"""The plan of a move: how many sessions are told by when, in which order, and what each is told. A drain moves all."""

from __future__ import annotations

import pytest

from litevoice_gateway.moves import Candidate, Move, MovePlan, Policy


def plan(policy: Policy = "Migrate", timeout: float = 60, rate: int = 10, sessions: int | None = None) -> MovePlan:
    return MovePlan(
        started_at=100,
        policy=policy,
        timeout_seconds=timeout,
        turn_wait_seconds=2,
        close_timeout_seconds=2,
        rate_per_second=rate,
        sessions=sessions,
    )


def candidates(*names: str) -> list[Candidate]:
    """In a turn, if the name is in capitals."""
    return [Candidate(name, name.isupper(), can_return=True) for name in names]


@pytest.mark.parametrize(("seconds", "allowed"), [(0, 1), (0.05, 1), (0.11, 2), (1, 11), (10, 101)])
def test_pace(seconds: float, allowed: int) -> None:
    assert plan().allowed(100 + seconds) == allowed


def test_sessions_between_turns_go_first() -> None:
    order = plan().due(candidates("A", "b", "C", "d"), 0, 110)
    assert [move.session_id for move in order] == ["b", "d", "A", "C"]


@pytest.mark.parametrize(
    ("description", "sessions", "told", "now", "expected"),
    [
        ("the first at once", None, 0, 100, ["b"]),
        ("paced", None, 0, 100.11, ["b", "d"]),
        ("the pace counts those who were told", None, 2, 100.11, []),
        ("a drain: in the end all", None, 0, 160, ["b", "d", "A", "C"]),
        ("two of four", 2, 0, 160, ["b", "d"]),
        ("one of two is told already", 2, 1, 160, ["b"]),
        ("nobody is left to go", 2, 2, 160, []),
        ("more than there are", 9, 0, 160, ["b", "d", "A", "C"]),
        ("none", 0, 0, 160, []),
    ],
)
def test_who_goes_now(description: str, sessions: int | None, told: int, now: float, expected: list[str]) -> None:
    due = plan(sessions=sessions).due(candidates("A", "b", "C", "d"), told, now)
    assert [move.session_id for move in due] == expected, description


@pytest.mark.parametrize(
    ("description", "policy", "can_return", "at_edge", "by"),
    [
        ("moves within the turn wait", "Migrate", True, True, 112),
        ("even if the client will not come back", "Migrate", False, True, 112),
        ("is left alone until the last call", "Complete", True, False, 157.5),
        ("auto: can come back", "Auto", True, True, 112),
        ("auto: cannot come back", "Auto", False, False, 157.5),
    ],
)
def test_what_a_session_is_told(description: str, policy: Policy, can_return: bool, at_edge: bool, by: float) -> None:
    due = plan(policy).due([Candidate("s", False, can_return)], 0, 110)
    assert due == [Move("s", at_edge, by)], description


@pytest.mark.parametrize(("sessions", "most"), [(250, 11), (500, 22)])
def test_what_completes_and_comes_back_does_not_close_at_once(sessions: int, most: int) -> None:
    """At the rate; where there are so many that the last ones are told after their time, at twice the rate."""
    names, bys = [f"s{number}" for number in range(sessions)], list[float]()
    for step in range(1200):
        now = 100 + step * 0.05
        bys += [move.by for move in plan("Complete").due(candidates(*names[len(bys) :]), len(bys), now)]
    assert len(bys) == sessions
    assert max(bys) == plan().last_call
    for began in range(100, 160):
        assert sum(began <= by < began + 1 for by in bys) <= most


def test_who_would_be_lost_has_all_the_time() -> None:
    gone = [Candidate(f"s{number}", in_turn=False, can_return=False) for number in range(300)]
    assert {move.by for move in plan("Complete").due(gone, 0, 150)} == {plan().last_call}


def test_what_is_told_too_late_to_be_spread_closes_at_once() -> None:
    (move,) = plan("Complete", rate=1).due(candidates("late"), 50, 155)
    assert move.by == 155


def test_the_last_call_leaves_time_for_the_close_to_be_answered() -> None:
    assert plan().last_call == 157.5
    assert plan(timeout=1).last_call == 100
    assert plan().due([Candidate("s", True, True)], 0, 157) == [Move("s", True, 157.5)]
