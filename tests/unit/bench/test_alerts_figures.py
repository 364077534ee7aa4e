"""What a run of `make bench-alerts` is held against."""

from __future__ import annotations

from typing import Any

import pytest

from bench.alerts_figures import Measured, figures
from bench.figures import missed

GOOD: dict[str, Any] = {
    "crossings": [1.0, 4.9],
    "planted": {"orphan": 200},
    "found": {"orphan": 200},
    "found_after": {"orphan": 4.0},
    "idle_cores": 0.05,
    "polling_cores": 0.07,
    "sweep_cpu": 0.1,
    "peer_cpu": 10.0,
    "operator_mebibytes": 120.0,
}


@pytest.mark.parametrize(
    ("different", "bad"),
    [
        ({}, []),
        ({"crossings": [1.0, 5.1]}, ["crossing → Alertmanager, p99"]),
        ({"crossings": []}, ["crossing → Alertmanager, p99"]),
        ({"false_alarms": ["orphans"]}, ["false alarms"]),
        ({"found": {"orphan": 199}, "found_after": {"orphan": None}}, ["orphan: all 200 found after"]),
        ({"found_after": {"orphan": 10.1}}, ["orphan: all 200 found after"]),
        ({"polling_cores": 0.09}, ["broker, CPU for polling"]),
        ({"polling_cores": 0.01}, []),
        ({"sweep_cpu": 1.1}, ["ours / peer"]),
        ({"peer_cpu": 0.0}, ["ours / peer"]),
        ({"operator_mebibytes": 151.0}, ["operator, memory"]),
    ],
)
def test_each_bar_can_be_missed(different: dict[str, Any], bad: list[str]) -> None:
    assert missed(figures(Measured(**{**GOOD, **different}))) == bad
