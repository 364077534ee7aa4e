"""Which fleets are rolled at the same time: whole stories."""

from __future__ import annotations

import pytest

from litevoice_operator.decide.scale import Load
from litevoice_operator.decide.turns import PATIENCE_SECONDS
from litevoice_operator.reconcile.turns import Turns

A, B, C = ("voice", "a"), ("voice", "b"), ("voice", "c")
WAITS = [Load("old", outdated=True)]
BEGUN = [Load("old", outdated=True), Load("new")]
CHOSEN = [Load("old", outdated=True, marked=True), Load("new")]
DRAINS = [Load("old", outdated=True, marked=True, draining=True), Load("new")]
DONE = [Load("new")]


def test_one_after_the_other_in_the_order_they_asked() -> None:
    turns = Turns(1)
    assert [turns.ask(key, WAITS, float(at)) for at, key in enumerate((A, B, C))] == [True, False, False]
    assert [turns.ask(key, pods, 10.0) for key, pods in ((A, DRAINS), (B, WAITS), (C, WAITS))] == [True, False, False]
    assert turns.ask(A, DONE, 20.0)
    assert [turns.ask(key, WAITS, 20.0) for key in (C, B)] == [False, True]
    turns.forget(B)  # it is deleted, or paused
    assert turns.ask(C, WAITS, 21.0)


def test_two_at_a_time() -> None:
    turns = Turns(2)
    assert [turns.ask(key, WAITS, 0.0) for key in (A, B, C)] == [True, True, False]


def test_an_operator_that_has_just_started_goes_on_with_what_has_begun() -> None:
    turns = Turns(1)
    assert turns.ask(A, WAITS, 0.0), "nobody else has asked yet"
    assert turns.ask(B, BEGUN, 0.1)
    assert not turns.ask(A, WAITS, 2.0)


@pytest.mark.parametrize("pods", [
    [], DONE, [Load("old", outdated=True, starting=True)], [Load("old", outdated=True, ending=True)],
    [Load("old", cordoned=True)],
])  # fmt: skip
def test_who_disturbs_nobody_needs_no_turn(pods: list[Load]) -> None:
    turns = Turns(1)
    assert turns.ask(A, DRAINS, 0.0)
    assert turns.ask(B, pods, 0.0)
    assert not turns.ask(C, WAITS, 0.0)


def test_who_gets_nowhere_lets_others_go_first() -> None:
    """New gateways do not become ready, or have no room: nothing drains. It goes on when the others are done."""
    turns = Turns(1)
    turns.ask(A, WAITS, 0.0)
    assert not turns.ask(B, WAITS, 1.0)
    late = PATIENCE_SECONDS + 1
    assert turns.ask(A, DRAINS, late - 2), "a long drain is no standstill"
    assert turns.ask(A, CHOSEN, late), "one that holds too many to be moved in time waits, and its fleet gets nowhere"
    for at in (300.0, late, 1.5 * late):  # it looks every few seconds
        assert not turns.ask(B, WAITS, at)
    assert turns.ask(B, WAITS, 2 * late)
    assert not turns.ask(A, CHOSEN, 2 * late)
    for at in range(3):
        assert [turns.ask(A, BEGUN, 2 * late + at), turns.ask(B, BEGUN, 2 * late + at)] == [False, True]
    turns.ask(B, DONE, 2 * late + 9)
    assert turns.ask(A, BEGUN, 2 * late + 9)


def test_those_that_get_nowhere_take_turns() -> None:
    """What keeps one of them may be gone by now: it is not to wait until the others get somewhere, too."""
    turns, had = Turns(1), dict.fromkeys((A, B, C), 0)
    for at in range(0, int(9 * PATIENCE_SECONDS), 10):
        for key in had:
            had[key] += turns.ask(key, BEGUN if key == A else WAITS, float(at))
    assert min(had.values()) > 2 * PATIENCE_SECONDS / 10
    end = 9 * PATIENCE_SECONDS
    (first,) = [key for key in had if turns.ask(key, WAITS, end)]
    others = [key for key in had if key != first]
    assert turns.ask(first, DRAINS, end + 1), "who gets somewhere keeps its turn"
    assert not any(turns.ask(key, WAITS, end + 2 * PATIENCE_SECONDS - 2) for key in others)
    assert turns.ask(first, DRAINS, end + 2 * PATIENCE_SECONDS)
