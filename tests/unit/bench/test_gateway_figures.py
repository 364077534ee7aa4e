"""Ratios between contenders are those of the same round."""

from __future__ import annotations

import pytest

from bench.figures import missed
from bench.gateway import OURS, REFERENCE, Results, comparison, figures, rate, ratios

pytestmark = pytest.mark.unit

RESULTS = {
    OURS: Results([30.0, 60.0, 33.0], [19.0]),
    REFERENCE: Results([15.0, 30.0, 30.0], [6.0]),
}


def test_a_slow_round_is_slow_for_both() -> None:
    assert ratios(RESULTS, REFERENCE) == [2.0, 2.0, 1.1]


def test_the_median_is_judged() -> None:
    found = figures(RESULTS)
    assert [figure.value for figure in found] == [33.0, 2.0, 19.0]
    assert missed(found) == []


def test_the_comparison_has_a_line_for_each() -> None:
    lines = comparison(RESULTS).splitlines()
    assert lines[2].split()[:3] == [OURS, "33", "(30–60)"]
    assert "2 (1.10–2)" in lines[3]


def test_messages_per_second_are_whole() -> None:
    assert rate((10.0, 1000), (18.02, 2284)) == 160
    assert rate((10.0, 1000), (10.0, 1000)) is None
    assert rate(None, (18.0, 2280)) is None
