"""Ages of what waits, as a broker tells them."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_broker.lag import LiteTopicLag, broker_clock, lag_of_one, lite_topic_lags, oldest_request_seconds

NOW = 1_796_053_638_290
"""Milliseconds, at a broker whose clock is not ours."""


def span(delay: int, first: int = -1) -> dict[str, Any]:
    return {"delayTime": delay, "minTimeStamp": first, "maxTimeStamp": first, "consumeTimeStamp": first}


@pytest.mark.parametrize(
    ("description", "spans", "expected"),
    [
        ("nobody has read it, and it is empty", [span(NOW), span(NOW)], NOW / 1000),
        ("nobody has read it", [span(NOW, NOW - 2000), span(NOW)], NOW / 1000),
        ("some of it was read", [span(1500, NOW - 9000), span(NOW)], NOW / 1000),
        ("all of it was read", [span(0, NOW - 9000), span(1500, NOW)], None),
        ("there is none", [], None),
    ],
)
def test_what_time_it_is_at_a_broker(description: str, spans: list[dict[str, Any]], expected: float | None) -> None:
    assert broker_clock(spans) == expected, description


@pytest.mark.parametrize(
    ("description", "spans", "expected"),
    [
        ("nobody has read any of it", [span(NOW, NOW - 2000)], 2.0),
        ("some of it was read", [span(1500, NOW - 9000)], 1.5),
        ("the first of it was read", [span(0, NOW - 9000)], 0.0),
        ("nobody has read any, and there is none", [span(NOW)], 0.0),
        ("several queues", [span(1500, NOW - 9000), span(NOW, NOW - 4000), span(NOW)], 4.0),
        ("there is none", [], 0.0),
    ],
)
def test_ages_of_requests_need_no_clock_of_ours(description: str, spans: list[dict[str, Any]], expected: float) -> None:
    assert oldest_request_seconds(spans) == expected, description


def test_ages_of_replies() -> None:
    entries = [
        {"liteTopic": "s_a", "lagCount": 3, "earliestUnconsumedTimestamp": NOW - 600_000},
        {"liteTopic": "s_b", "lagCount": 1, "earliestUnconsumedTimestamp": -1},
        {"liteTopic": "s_c", "lagCount": 1, "earliestUnconsumedTimestamp": NOW + 5000},
    ]
    assert [(lag.name, lag.oldest_seconds) for lag in lite_topic_lags(entries, NOW / 1000)] == [
        ("s_a", 600.0),
        ("s_b", None),
        ("s_c", 0.0),
    ]


def test_one_litetopic_is_summed_over_brokers_each_by_its_own_clock() -> None:
    here = {"totalLagCount": 4, "earliestUnconsumedTimestamp": NOW - 9000}
    there = {"totalLagCount": 2, "earliestUnconsumedTimestamp": NOW - 9000 + 90_000}
    unknown = {"totalLagCount": -1, "earliestUnconsumedTimestamp": -1}
    clocks = NOW / 1000, NOW / 1000 + 93, 0.0
    assert lag_of_one("s_a", zip((here, there, unknown), clocks, strict=True)) == LiteTopicLag("s_a", 6, 12.0)
    assert lag_of_one("s_a", [(unknown, NOW / 1000)]) == LiteTopicLag("s_a", 0, None)
