"""What is written down of a gateway, and when a step has come about: told by the operator's own status."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus
from litevoice_dev.fleet.records import PodSeen
from litevoice_dev.fleet.seen import seen, settled
from litevoice_operator.api.conditions import RECONCILING
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.gateway_status import gateway_status
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.voice_gateway import Observed
from tests.unit.operator.test_gateway_status import DONE, METADATA, ONE_MISSING, answer, of, replica_set

PODS = [of("new", "g-1"), of("new", "g-2")]
ANSWERS = {name: answer(name) for name in ("g-1", "g-2")}
RUNS = Observed(gateways=DONE, workers=DONE, pods=PODS, answers=ANSWERS, sets=[replica_set("new", 2)], newest="new")
ROLLING = Finding(RECONCILING, "True", "RollingOut", "1 of 3 gateways are to be replaced")
GOING = {**ANSWERS, "g-2": answer("g-2", drain=DrainReport(state="draining"))}
OLD = [replica_set("new", 2), replica_set("old", 1)]

CASES: list[tuple[str, Observed, Finding | None, int, int, int, bool]] = [
    ("all is there", RUNS, None, 4, 2, 2, True),
    ("not what was asked for", RUNS, None, 4, 2, 3, False),
    ("the operator has not seen the change", RUNS, None, 5, 2, 2, False),
    ("one still ends", RUNS, None, 4, 3, 2, False),
    ("one is not ready", dataclasses.replace(RUNS, gateways=ONE_MISSING), None, 4, 2, 2, False),
    ("one drains", dataclasses.replace(RUNS, answers=GOING), None, 4, 2, 2, False),
    ("a rollout", RUNS, ROLLING, 4, 2, 2, False),
    ("one of an older version", dataclasses.replace(RUNS, sets=OLD), None, 4, 2, 2, False),
]


@pytest.mark.parametrize(
    ("description", "observed", "rolling", "generation", "pods", "replicas", "expected"),
    CASES,
    ids=[case[0] for case in CASES],
)
def test_settled(
    description: str,
    observed: Observed,
    rolling: Finding | None,
    generation: int,
    pods: int,
    replicas: int,
    expected: bool,
) -> None:
    status = gateway_status(METADATA, observed, None, VoiceGatewayStatus(), 0.0, rolling=rolling)
    gateway: dict[str, Any] = {"metadata": {"generation": generation}, "status": status.to_object()}
    assert settled(gateway, pods, replicas) is expected


def test_nothing_is_settled_before_the_operator_has_looked() -> None:
    assert not settled({"metadata": {"generation": 1}}, 2, 2)


SEEN: list[tuple[str, Pod, GatewayStatus | None, bool, int | None]] = [
    ("works", of("new", "g"), answer("g", in_turn=2), False, 3),
    ("silent", of("new", "g"), None, False, None),
    ("marked", of("new", "g", goes_first=True), answer("g"), True, 3),
    ("ends", of("new", "g", terminating=True), answer("g"), True, 3),
    ("drains", of("new", "g"), answer("g", drain=DrainReport(state="draining")), True, 3),
    ("is empty", of("new", "g"), answer("g", sessions=0, drain=DrainReport(state="drained")), True, 0),
]


@pytest.mark.parametrize(("description", "pod", "said", "going", "sessions"), SEEN, ids=[row[0] for row in SEEN])
def test_what_is_written_down_of_a_gateway(
    description: str, pod: Pod, said: GatewayStatus | None, going: bool, sessions: int | None
) -> None:
    in_turn = said.in_turn if said else 0
    expected = PodSeen("g", "node-1", "new", ready=True, going=going, cordoned=True, sessions=sessions, in_turn=in_turn)
    assert seen(pod, said, {"node-1"}) == expected
    assert not seen(pod, said, {"node-2"}).cordoned
