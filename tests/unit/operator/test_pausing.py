"""`spec.paused`: what is said about it, and told once."""

from __future__ import annotations

import pytest

from litevoice_operator.api.conditions import PAUSED, READY, Condition, ConditionStatus
from litevoice_operator.decide.pausing import paused_event, paused_finding, scaling_paused


def written(kind: str, status: ConditionStatus) -> Condition:
    return Condition(type=kind, status=status, reason="Any", last_transition_time="2026-01-01T00:00:00Z")


WAS, WAS_NOT = [written(READY, "True"), written(PAUSED, "True")], [written(PAUSED, "False")]
EVENTS: list[tuple[str, list[Condition], bool, str]] = [
    ("made so", [], True, "Paused"),
    ("never was", [], False, ""),
    ("becomes so", WAS_NOT, True, "Paused"),
    ("still is", WAS, True, ""),
    ("is over", WAS, False, "Resumed"),
    ("an older operator knew no such condition", [written(READY, "True")], False, ""),
]


@pytest.mark.parametrize(("description", "previous", "paused", "reason"), EVENTS, ids=[row[0] for row in EVENTS])
def test_transitions(description: str, previous: list[Condition], paused: bool, reason: str) -> None:
    event = paused_event(previous, paused, 7)
    assert (event.reason if event else "") == reason


def test_a_transition_that_could_not_be_written_is_told_as_the_same() -> None:
    first, again = paused_event([], True, 7), paused_event([], True, 7)
    assert first == again
    assert first is not None
    assert first.once is not None
    later, over = paused_event([], True, 9), paused_event(WAS, False, 8)
    assert later and over and len({first.once, later.once, over.once}) == 3


def test_conditions() -> None:
    assert (paused_finding(True).status, paused_finding(False).status) == ("True", "False")
    assert "spec.paused" in paused_finding(True).message
    assert (scaling_paused().type, scaling_paused().reason) == ("ScalingLimited", "Paused")
