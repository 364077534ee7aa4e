"""How figures are judged and shown."""

from __future__ import annotations

import pytest

from bench.figures import Figure, aligned, missed, number, percentile, spread, table

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("value", "bar", "goal", "verdict"),
    [
        pytest.param(10.0, 20.0, 10.0, "goal", id="at the goal"),
        pytest.param(20.0, 20.0, 10.0, "ok", id="at the bar"),
        pytest.param(20.1, 20.0, 10.0, "missed", id="above the bar"),
        pytest.param(20.1, 20.0, None, "missed", id="above a bar without a goal"),
        pytest.param(0.0, 0.0, None, "ok", id="a bar of nothing"),
        pytest.param(None, 20.0, 10.0, "missed", id="not measured"),
        pytest.param(None, None, None, "", id="not measured, not judged"),
        pytest.param(5.0, None, None, "", id="not judged"),
        pytest.param(30.0, None, 10.0, "", id="a goal alone cannot be missed"),
    ],
)
def test_verdicts(value: float | None, bar: float | None, goal: float | None, verdict: str) -> None:
    figure = Figure("it", value, "ms", bar, goal)
    assert figure.verdict == verdict
    assert missed([figure]) == (["it"] if verdict == "missed" else [])


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 99, None),
        ([7.0], 50, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 11)], 99, 10.0),
        ([1.0, 2.0], 0, 1.0),
    ],
)
def test_percentiles_are_values_that_were_measured(values: list[float], percent: float, expected: float | None) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (7.0, "7"),
        (0.01234, "0.0123"),
        (35.25, "35.2"),
        (1644.2, "1,644"),
        (120_000.0, "120,000"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_table_is_aligned_and_says_what_was_missed() -> None:
    lines = table([Figure("p99", 1644.2, "ms", 300, 250), Figure("frames", 500, "/s", note="all of them")]).splitlines()
    assert lines[0].split() == ["figure", "measured", "bar", "goal"]
    assert lines[2].split() == ["p99", "1,644", "ms", "≤", "300", "≤", "250", "missed"]
    assert lines[3].endswith("all of them")
    assert lines[2].index("ms") + 2 == lines[3].index("/s") + 2


def test_spread_is_the_median_between_the_extremes() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1–3)"
    assert spread([]) == "–"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "b"), ("long", "1")], right=(1,)) == "a     b\n----  -\nlong  1"
