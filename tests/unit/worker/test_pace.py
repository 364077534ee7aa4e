"""How busy a thread is, and how fast."""

from __future__ import annotations

import math

import pytest

from litevoice_worker.pace import BUSY_SECONDS, Pace


def worked(pace: Pace, rounds: int, seconds: float, pause: float, now: float = 0.0) -> float:
    for _ in range(rounds):
        pace.begin(now)
        pace.end(now + seconds, 4)
        now += seconds + pause
    return now


def test_the_share_of_time_at_work() -> None:
    pace = Pace(0)
    assert pace.busy(5) == 0
    now = worked(pace, 1000, 0.003, 0.007)
    assert pace.busy(now) == pytest.approx(0.3, abs=0.01)
    assert pace.busy(now + 10 * BUSY_SECONDS) < 0.001, "it has had nothing to do since"


def test_a_round_that_does_not_end_counts() -> None:
    pace = Pace(0)
    pace.begin(10)
    assert pace.busy(10 + BUSY_SECONDS) == pytest.approx(1 - 1 / math.e)


def test_the_pace_follows_what_a_window_takes() -> None:
    pace = Pace(0)
    now = worked(pace, 1, 0.004, 0)
    assert pace.seconds_per_window == pytest.approx(0.001)
    worked(pace, 500, 0.04, 0, now)
    assert pace.seconds_per_window == pytest.approx(0.01, rel=0.01)
