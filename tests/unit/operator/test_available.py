"""Conditions Available and BrokerReady."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.available import available_finding, broker_finding, needed
from litevoice_operator.decide.conditions import Finding, Problem
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.rollouts import Rollout
from litevoice_operator.observe.voice_gateway import Observed


@pytest.mark.parametrize(
    ("wanted", "percent", "expected"),
    [(0, None, 0), (1, None, 1), (2, None, 1), (10, None, 9), (1, 100, 1), (10, 25, 7), (10, 100, 1), (0, 50, 0)],
)
def test_how_many_are_needed(wanted: int, percent: int | None, expected: int) -> None:
    assert needed(wanted, percent) == expected


def spec(gateways: int | None = None, workers: int | None = None) -> VoiceGatewaySpec:
    return VoiceGatewaySpec.model_validate(
        {
            "auth": {"apiKeysSecret": "keys"},
            "pod": {"maxUnavailablePercent": gateways} if gateways else {},
            "workers": {"pod": {"maxUnavailablePercent": workers} if workers else {}},
        }
    )


def ready(count: int, wanted: int) -> Rollout:
    return Rollout(wanted=wanted, replicas=wanted, ready=count)


CASES: list[tuple[str, Rollout, Rollout, VoiceGatewaySpec | None, str, str]] = [
    ("all are", ready(4, 4), ready(2, 2), spec(), "True", "4 gateways and 2 workers are ready"),
    ("one gateway is missing", ready(3, 4), ready(2, 2), spec(), "True", "3 gateways"),
    ("two are", ready(2, 4), ready(2, 2), spec(), "False", "2 of 4 gateways are ready, 3 are needed"),
    ("as many may be", ready(2, 4), ready(2, 2), spec(gateways=50), "True", "2 gateways"),
    ("the only one", ready(0, 1), ready(2, 2), spec(), "False", "0 of 1 gateways are ready, 1 are needed"),
    ("no worker", ready(4, 4), ready(0, 2), spec(), "False", "0 of 2 workers are ready, 1 are needed"),
    ("half of the workers may", ready(4, 4), ready(2, 4), spec(workers=50), "True", "2 workers"),
    ("both", ready(0, 1), ready(0, 2), spec(), "False", "needed; 0 of 2 workers"),
    ("none are wanted", ready(0, 0), ready(0, 0), spec(), "True", "0 gateways"),
    ("the spec is invalid, and they go on", ready(3, 4), ready(2, 2), None, "True", "3 gateways"),
]


@pytest.mark.parametrize(
    ("description", "gateways", "workers", "wanted", "status", "text"), CASES, ids=[row[0] for row in CASES]
)
def test_available(
    description: str, gateways: Rollout, workers: Rollout, wanted: VoiceGatewaySpec | None, status: str, text: str
) -> None:
    found = available_finding(Observed(gateways=gateways, workers=workers), wanted)
    assert (found.type, found.status) == ("Available", status), description
    assert text in found.message, description
    assert found.reason == ("EnoughReady" if status == "True" else "TooFewReady")


def test_gateways_that_drain_because_fewer_are_enough_are_not_missed() -> None:
    fields: dict[str, Any] = {
        "namespace": "shop", "uid": "u", "instance": "demo", "component": "gateway", "node": "n", "ip": "10.0.0.1",
        "ready": False, "terminating": False, "created_at": 0.0, "starting": False, "trouble": "", "drained": None,
    }  # fmt: skip
    pods = [Pod(name=f"g-{number}", goes_first=True, **fields) for number in range(3)]
    drain = DrainReport(state="draining")
    answers = {pod.name: GatewayStatus(pod.name, False, "draining", 1, 100, 0, 0, drain) for pod in pods}
    seen = Observed(gateways=ready(1, 4), workers=ready(2, 2), pods=pods, answers=answers)
    assert available_finding(seen, spec()).status == "True"
    assert available_finding(replace(seen, answers={}), spec()).status == "False"


def test_broker() -> None:
    assert broker_finding(None) == Finding(
        "BrokerReady", "True", "NamesAtBroker", "topics and groups are at the broker"
    )
    away = Problem("BrokerUnavailable", "no broker at x:9876", lasting=False)
    assert broker_finding(away) == Finding("BrokerReady", "False", "BrokerUnavailable", "no broker at x:9876")
