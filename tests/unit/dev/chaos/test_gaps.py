"""Which silences count, and for which fault."""

from __future__ import annotations

import pytest

from litevoice_dev.chaos.gaps import Usual, gaps, quantile, silences
from litevoice_dev.chaos.records import Asked, Call, Happened, Seen

USUAL = Usual(first=0.5, later=0.2)


def call(*at: float, asked_at: float = 10.0, done_at: float | None = 20.0) -> Call:
    """Events at these times, and one question."""
    made = Call(1, True, session_id="s_1")
    made.seen = [Seen(moment, 1, "evt_1_0", "something") for moment in at]
    made.asked = [Asked(0, asked_at, done_at=done_at)]
    return made


def test_only_who_waits_is_silent() -> None:
    made = call(5.0, 9.0, 11.0, 12.0, 20.0, 30.0)
    assert [(silence.seconds, silence.first) for silence in silences(made, 40.0)] == [
        (1.0, True),
        (1.0, False),
        (8.0, False),
    ]
    assert [silence.seconds for silence in silences(call(11.0, done_at=None), 40.0)] == [1.0, 29.0]


def test_the_usual_is_the_longest_of_undisturbed_calls() -> None:
    usual = Usual.of([call(11.0, 12.0, 20.0), call(10.5, 20.0)])
    assert (usual.first, usual.later) == (1.0, 9.5)


@pytest.mark.parametrize(
    ("description", "fault", "events", "seconds"),
    [
        ("what is longer than usual", Happened("gateway-kill", "", 12.0, 13.0), (11.0, 14.0, 20.0), [5.8]),
        ("before the fault", Happened("gateway-kill", "", 19.9, 20.0), (10.4, 19.8, 20.0), [0.0]),
        ("long after the fault", Happened("gateway-kill", "", -9.0, -8.0), (14.0, 20.0), []),
        ("a broker's from its return", Happened("broker-kill", "", 11.5, 17.0), (11.0, 19.0, 20.0), [2.0]),
        ("over before it was back", Happened("broker-kill", "", 11.5, 30.0), (11.0, 19.0, 20.0), [0.0]),
    ],
)
def test_gaps(description: str, fault: Happened, events: tuple[float, ...], seconds: list[float]) -> None:
    found = [round(gap.seconds, 3) for gap in gaps([fault], [(call(*events), USUAL)], 40.0)]
    assert found == seconds, description


def test_the_later_fault_is_the_cause() -> None:
    faults = [Happened("gateway-kill", "first", 11.0, 12.0), Happened("worker-kill", "second", 13.0, 14.0)]
    found = gaps(faults, [(call(10.4, 19.0, 20.0), USUAL)], 40.0)
    assert [(gap.fault.what, round(gap.seconds, 3), gap.alone) for gap in found] == [("second", 8.4, False)]


def test_two_faults_of_one_kind_explain_it_alone() -> None:
    faults = [Happened("gateway-kill", "first", 11.0, 12.0), Happened("gateway-kill", "second", 13.0, 14.0)]
    assert [gap.alone for gap in gaps(faults, [(call(10.4, 19.0, 20.0), USUAL)], 40.0)] == [True]


def test_what_was_given_up_is_no_silence() -> None:
    given_up = call(10.4)
    given_up.asked[-1].done_at = None
    assert len(silences(given_up, 40.0)) == 2
    given_up.gave_up = "no answer"
    assert silences(given_up, 40.0) == []


def test_quantile() -> None:
    assert (quantile([], 0.99), quantile([1.0], 0.99), quantile(range(200), 0.99)) == (0.0, 1.0, 198)
