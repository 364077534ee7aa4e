"""A broker's settings → what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from litevoice_contracts.operator_api import Level
from litevoice_operator.decide.doctor import broker_findings, clock_findings

BROKER_CONF = Path(__file__).resolve().parents[3] / "charts" / "litevoice" / "files" / "rocketmq" / "broker.conf"


def chart_settings() -> dict[str, str]:
    lines = (line for line in BROKER_CONF.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def test_the_charts_own_broker_is_well() -> None:
    (finding,) = broker_findings("broker-a", chart_settings())
    assert finding.level == "ok"


@pytest.mark.parametrize(
    ("setting", "value", "level"),
    [
        ("enableLmq", "false", "error"),
        ("storeType", "default", "error"),
        ("maxClientEventCount", "100", "error"),
        ("maxClientEventCount", "", "error"),
        ("maxLiteSubscriptionCount", "2000", "warning"),
        ("autoCreateTopicEnable", "true", "warning"),
        ("transactionMetricFlushInterval", "10000", "warning"),
    ],
)
def test_a_trap_is_named_with_what_to_set(setting: str, value: str, level: Level) -> None:
    (finding,) = broker_findings("broker-a", {**chart_settings(), setting: value})
    assert (finding.level, finding.about) == (level, "broker broker-a")
    assert finding.says.startswith(f"{setting} is {value or 'empty'}: ")
    assert finding.todo.startswith(f"set {setting}=")


@pytest.mark.parametrize(
    ("clocks", "found"),
    [
        ({}, []),
        ({"a": 0.0, "b": 1.9}, []),
        ({"a": 0.0, "b": 90.0}, [("voice/demo: b", "its clock is 90 s ahead of the operator's")]),
        (
            {"a": -5.0, "b": 90.0},
            [("voice/demo: a", "its clock is 5 s behind"), ("voice/demo: b", "its clock is 90 s")],
        ),
        ({"a": 60.0}, [("voice/demo: a", "its clock is 60 s ahead of")]),
        ({"a": 60.0, "b": 61.0}, [("voice/demo", "the operator's clock is 61 s behind those of all 2 pods")]),
        ({"a": -60.0, "b": -59.0}, [("voice/demo", "the operator's clock is 60 s ahead of those of all 2 pods")]),
    ],
)
def test_clocks_that_are_off(clocks: dict[str, float], found: list[tuple[str, str]]) -> None:
    findings = clock_findings("voice/demo", clocks)
    assert [finding.about for finding in findings] == [about for about, _ in found]
    assert all(finding.says.startswith(says) for finding, (_, says) in zip(findings, found, strict=True))
    assert {finding.level for finding in findings} <= {"error"}
