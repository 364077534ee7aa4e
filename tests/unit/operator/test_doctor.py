"""A broker's settings → what they cost; its quotas, and what the operator may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from litevoice_broker.lag import BrokerUse, broker_use
from litevoice_contracts.operator_api import Level
from litevoice_operator.decide.doctor import broker_findings, clock_findings, permission_findings, use_findings
from litevoice_operator.decide.permissions import NEEDED, lacking

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


@pytest.mark.parametrize(
    ("version", "level", "says"),
    [
        ("V5_5_0", "ok", "RocketMQ 5.5.0"),
        ("V5_10_2", "ok", "RocketMQ 5.10.2"),
        ("V5_4_9", "error", "RocketMQ 5.4.9: LiteTopics have no exclusive owner"),
        ("V4_9_8_SNAPSHOT", "error", "RocketMQ 4.9.8.SNAPSHOT: "),
        ("", "ok", "RocketMQ of an unknown version"),
    ],
)
def test_a_brokers_version(version: str, level: Level, says: str) -> None:
    (finding,) = use_findings("broker-a", broker_use({}, {"table": {"brokerVersionDesc": version}}), {})
    assert (finding.level, finding.about) == (level, "broker broker-a")
    assert finding.says.startswith(says)


@pytest.mark.parametrize(
    ("used", "settings", "level", "says"),
    [
        (0, {"maxLiteSubscriptionCount": "100"}, "ok", "0 of 100 subscriptions (maxLiteSubscriptionCount) are in use"),
        (79, {"maxLiteSubscriptionCount": "100"}, "ok", "79 of 100"),
        (80, {"maxLiteSubscriptionCount": "100"}, "warning", "80 of 100"),
        (100, {"maxLiteSubscriptionCount": "100"}, "error", "100 of 100"),
        (5, {"enableLmqQuota": "true"}, "warning", "17 of 20 LiteTopics (maxLmqConsumeQueueNum) are in use"),
        (5, {"enableLmqQuota": "false"}, None, ""),
        (5, {"maxLiteSubscriptionCount": ""}, None, ""),
    ],
)
def test_quotas_in_use(used: int, settings: dict[str, str], level: Level | None, says: str) -> None:
    _, *quotas = use_findings("broker-a", BrokerUse("5.5.0", used, 17, 20), settings)
    assert [finding.level for finding in quotas] == ([level] if level else [])
    assert all(finding.says.startswith(says) for finding in quotas)
    assert all(bool(finding.todo) == (level != "ok") for finding in quotas)


RULES = [
    {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)} for (group, resource), verbs in NEEDED.items()
]


@pytest.mark.parametrize(
    ("description", "rules", "missing"),
    [
        ("as the chart grants it", RULES, {}),
        ("an administrator", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}], {}),
        ("one rule less", RULES[:-1], {"events": ["create", "list"]}),
        (
            "one verb less",
            [*RULES[:-1], {**RULES[-1], "verbs": ["list"]}],
            {"events": ["create"]},
        ),
        (
            "of one object only",
            [*RULES[:-1], {**RULES[-1], "resourceNames": ["one"]}],
            {"events": ["create", "list"]},
        ),
        (
            "of another API group",
            [RULES[0] | {"apiGroups": ["apps"]}, *RULES[1:]],
            {"voicegateways.litevoice.dev": ["get", "list", "watch", "patch"]},
        ),
    ],
)
def test_what_the_operator_may_not_do(
    description: str, rules: list[dict[str, list[str]]], missing: dict[str, list[str]]
) -> None:
    assert lacking(rules) == missing, description
    (finding,) = permission_findings("voice", lacking(rules))
    assert finding.level == ("error" if missing else "ok")
    assert all(f"{' '.join(verbs)} of {resource}" in finding.says for resource, verbs in missing.items())
    (unsure,) = permission_findings("voice", lacking(rules), complete=False)
    assert unsure.level == ("warning" if missing else "ok")
