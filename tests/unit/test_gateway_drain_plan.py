"""The plan of a drain: how many sessions are told by when, in which order, and what each is told."""

from __future__ import annotations

import pytest

from litevoice_gateway.drain import Plan, Policy


def plan(policy: Policy = "Migrate", timeout: float = 60, rate: int = 10) -> Plan:
    return Plan(
        started_at=100,
        policy=policy,
        timeout_seconds=timeout,
        turn_wait_seconds=2,
        close_timeout_seconds=2,
        rate_per_second=rate,
    )


@pytest.mark.parametrize(("seconds", "allowed"), [(0, 1), (0.05, 1), (0.11, 2), (1, 11), (10, 101)])
def test_pace(seconds: float, allowed: int) -> None:
    assert plan().allowed(100 + seconds) == allowed


def test_sessions_between_turns_go_first() -> None:
    order = plan().order([("a", True), ("b", False), ("c", True), ("d", False)])
    assert order == ["b", "d", "a", "c"]


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
    assert plan(policy).instruct(can_return, 110) == (at_edge, by), description


def test_the_last_call_leaves_time_for_the_close_to_be_answered() -> None:
    assert plan().last_call == 157.5
    assert plan(timeout=1).last_call == 100
    assert plan().instruct(True, 157)[1] == 157.5
