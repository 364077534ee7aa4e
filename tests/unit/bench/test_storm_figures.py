"""A storm is judged by its last session, and by those that never came back."""

from __future__ import annotations

from typing import Any

import pytest

from bench import plot
from bench.figures import missed
from bench.proc import Sample
from bench.storm_figures import attempt, cores, during, figures, since

pytestmark = pytest.mark.unit

KILLED_AT = 1000.0
SAMPLES = [Sample(50.0 + second, {"gateway": 0.5 * second}, 1.0 * second) for second in range(20)]


def returned(live_after: float, attempts: int = 1) -> dict[str, Any]:
    live_at = KILLED_AT + live_after
    return {
        "gone_at": KILLED_AT,
        "tried_at": live_at - 0.5,
        "created_at": live_at - 0.25,
        "live_at": live_at,
        "attempts": attempts,
    }


def load(*sessions: dict[str, Any], lost: tuple[str, ...] = (), dropped: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"returned": list(sessions), "lost": list(lost), "dropped": list(dropped), "failures": {"closed": 3, "x": 1}}


def values(sessions: int, what: dict[str, Any]) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in figures(sessions, KILLED_AT, what, SAMPLES)}


def test_the_last_session_decides() -> None:
    found = figures(3, KILLED_AT, load(returned(1.0), returned(2.0, 2), returned(6.0, 3)), SAMPLES)
    assert [(figure.name, figure.value, figure.verdict) for figure in found[:3]] == [
        ("kill → all sessions are live", 6.0, "ok"),
        ("sessions lost", 0, "ok"),
        ("sessions that did not go on afterwards", 0, "ok"),
    ]
    by_name = {figure.name: figure for figure in found}
    assert by_name["attempts per session"].value == 2.0
    assert by_name["attempts per session"].note == "3 times closed"


def test_a_session_that_did_not_come_back_misses_two_bars() -> None:
    found = figures(2, KILLED_AT, load(returned(1.0), lost=("closed with 1013",)), SAMPLES)
    assert missed(found) == ["kill → all sessions are live", "sessions lost"]
    assert found[1].note == "closed with 1013"


@pytest.mark.parametrize(
    ("live_after", "dropped", "bad"),
    [
        pytest.param(15.0, (), [], id="just in time"),
        pytest.param(15.1, (), ["kill → all sessions are live"], id="late"),
        pytest.param(
            1.0, ("closed with 4001",), ["sessions that did not go on afterwards"], id="evicted after it was back"
        ),
    ],
)
def test_bars(live_after: float, dropped: tuple[str, ...], bad: list[str]) -> None:
    assert missed(figures(1, KILLED_AT, load(returned(live_after), dropped=dropped), SAMPLES)) == bad


def test_nobody_came_back() -> None:
    assert values(1, load(lost=("closed",)))["attempts per session"] is None


def test_times_are_from_the_kill_and_of_the_last_attempt() -> None:
    assert since(KILLED_AT, load(returned(1.0), returned(3.0)), "created_at") == [0.75, 2.75]
    assert attempt(load(returned(3.0))) == [0.5]


def test_cpu_counts_until_all_are_live() -> None:
    assert len(during(SAMPLES, 4.5)) == 6
    assert len(during(SAMPLES, 100.0)) == len(SAMPLES)
    assert cores(during(SAMPLES, 4.5), "gateway") == 0.5
    found = values(1, load(returned(4.5)))
    assert found["gateway CPU until then"] == 0.5
    assert found["CPU of other programs until then"] == 0.5


def test_the_plot_ends_with_the_last_session() -> None:
    returned = [[0.0, 0.1 * number, 0.2 * number, 0.3 * number, 1] for number in range(11)]
    data = {
        "options": {"sessions": 11},
        "machine": {"cores": 2},
        "measured": "2026-11-28T12:00:00+00:00",
        "load": {"returned": returned},
        "cpu": [[0.0, {"gateway": 0.0}], [1.0, {"gateway": 0.5}]],
    }
    svg = plot.storm(data)
    assert svg.count("<path") > 2 and "live" in svg and "gateway" in svg
    assert svg.count("3 s</text>") == 2, "both panels reach the last one, at 3 s"
