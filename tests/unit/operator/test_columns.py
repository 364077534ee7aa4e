"""What `kubectl get vgw` shows answers at a glance whether all is right: from what is seen to the cells."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport
from litevoice_operator.api.conditions import RECONCILING
from litevoice_operator.api.definitions import definitions
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus
from litevoice_operator.decide.conditions import Finding, Problem
from litevoice_operator.decide.gateway_status import gateway_status
from litevoice_operator.decide.pausing import paused_finding
from litevoice_operator.decide.rollout import taken_over
from litevoice_operator.observe.rollouts import Rollout
from litevoice_operator.observe.voice_gateway import Observed
from tests.unit.operator.test_gateway_status import DONE, METADATA, ONE_MISSING, answer, of, pod, replica_set

VERSIONS = {name: definition["spec"]["versions"][0] for name, definition in definitions().items()}
SELECTED = re.compile(r'(\w+)\[\?\(@\.type=="(\w+)"\)\]')
"""The one filter of JSONPath that columns use."""


def columns(file: str, *, wide: bool = False) -> dict[str, str]:
    return {
        column["name"]: column["jsonPath"]
        for column in VERSIONS[file]["additionalPrinterColumns"]
        if wide or not column.get("priority")
    }


def cell(content: Any, path: str) -> Any:
    """What kubectl shows; "" for nothing."""
    for step in re.findall(r"\.((?:\w+\[[^]]+\])|\w+)", path):
        selected = SELECTED.fullmatch(step)
        if selected:
            rows = content.get(selected[1], [])
            content = next((row for row in rows if row["type"] == selected[2]), {})
        else:
            content = content.get(step, "")
        if content in ("", {}):
            return ""
    return content


@pytest.mark.parametrize("file", sorted(VERSIONS))
def test_each_column_shows_a_field_of_the_schema_as_its_type(file: str) -> None:
    schema = VERSIONS[file]["schema"]["openAPIV3Schema"]
    for column in VERSIONS[file]["additionalPrinterColumns"]:
        node = schema
        for step in re.findall(r"\.((?:\w+\[[^]]+\])|\w+)", column["jsonPath"]):
            selected = SELECTED.fullmatch(step)
            if step == "creationTimestamp":
                node = {"type": "string", "format": "date-time"}
                continue
            node = node.get("properties", {}).get(selected[1] if selected else step, {})
            node = node["items"] if selected else node
        # The API server does not look it up: a column of a field that is not there stays empty for ever.
        shown = "date" if node.get("format") == "date-time" else node.get("type")
        assert shown == column["type"], (
            column["name"] if node else f"{column['name']}: {column['jsonPath']} is no field"
        )


def row(*parts: Any) -> dict[str, Any]:
    names = ("Ready", "State", "Gateways", "Desired", "Workers", "Sessions", "Capacity", "Full")
    return dict(zip(names, parts, strict=True))


FINE = [replica_set("new", 2)]
PODS = [of("new", "g-1"), of("new", "g-2")]
ANSWERS = {name: answer(name) for name in ("g-1", "g-2")}
SETTLED = Observed(gateways=DONE, workers=DONE, pods=PODS, answers=ANSWERS, sets=FINE, newest="new")
ROLLING = Finding(RECONCILING, "True", "RolloutWithoutRoom", "the next 90 sessions wait for room: there is some for 3")
CASES: list[tuple[str, Observed, Problem | None, Finding | None, bool, dict[str, Any]]] = [
    ("all is right", SETTLED, None, None, False, row("True", "Settled", 2, 2, 2, 6, 200, "")),
    ("nothing is to be there", Observed(gateways=Rollout(settled=True), workers=Rollout(settled=True)), None, None,
     False, row("True", "Settled", 0, 0, 0, 0, 0, "")),
    ("one is missing",
     dataclasses.replace(SETTLED, gateways=ONE_MISSING, pods=[PODS[0], of("new", "g-2", ready=False)]),
     None, None, False, row("False", "GatewaysNotReady", 1, 2, 2, 6, 100, "")),
    ("workers are missing", dataclasses.replace(SETTLED, workers=Rollout(wanted=2)), None, None, False,
     row("False", "WorkersNotReady", 2, 2, 0, 6, 200, "")),
    ("the broker is away", SETTLED, Problem("BrokerUnavailable", "no broker at x:9876", lasting=False), None, False,
     row("False", "BrokerUnavailable", 2, 2, 2, 6, 200, "")),
    ("a field is wrong", SETTLED, Problem("InvalidSpec", "spec.rocketmq.endpoints: …", lasting=True), None, False,
     row("False", "InvalidSpec", 2, 2, 2, 6, 200, "")),
    ("a rollout that stands still: sessions are served, and yet not all is right", SETTLED, None, ROLLING, False,
     row("True", "RolloutWithoutRoom", 2, 2, 2, 6, 200, "")),
    ("what an earlier release has left is taken over", SETTLED, None, taken_over(), False,
     row("True", "TakingOver", 2, 2, 2, 6, 200, "")),
    ("paused", SETTLED, None, None, True, row("True", "Paused", 2, 2, 2, 6, 200, "")),
    ("full", dataclasses.replace(SETTLED, answers={n: answer(n, sessions=100, full="sessions") for n in ANSWERS}),
     None, None, False, row("True", "Settled", 2, 2, 2, 200, 200, "sessions")),
    ("one drains", dataclasses.replace(SETTLED, answers=ANSWERS | {
        "g-2": answer("g-2", ready=False, drain=DrainReport(state="draining"))}),
     None, None, False, row("True", "Settled", 2, 2, 2, 6, 100, "")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("description", "seen", "problem", "rolling", "paused", "expected"), CASES, ids=[case[0] for case in CASES]
)
def test_a_glance_tells(
    description: str,
    seen: Observed,
    problem: Problem | None,
    rolling: Finding | None,
    paused: bool,
    expected: dict[str, Any],
) -> None:
    more = [paused_finding(paused)]
    status = gateway_status(
        METADATA, seen, problem, VoiceGatewayStatus(), 0.0, more, paused=paused, rolling=rolling
    ).to_object()
    shown = columns("voicegateways.yaml")
    assert {name: cell({"status": status}, shown[name]) for name in expected} == expected


def test_only_what_is_right_reads_as_right() -> None:
    """Whoever watches a wall of fleets needs one rule: Ready True, Settled, nothing in Full."""

    def right(cells: dict[str, Any]) -> bool:
        return (cells["Ready"], cells["State"], cells["Full"]) == ("True", "Settled", "")

    assert [case[0] for case in CASES if right(case[5])] == ["all is right", "nothing is to be there", "one drains"]


def test_who_drains_is_counted_for_a_wide_terminal() -> None:
    pods: Sequence[Any] = [of("new", "g-1"), of("old", "g-2", terminating=True), pod("w-1", component="worker")]
    status = gateway_status(METADATA, Observed(pods=pods, newest="new"), None, VoiceGatewayStatus(), 0.0).to_object()
    assert cell({"status": status}, columns("voicegateways.yaml", wide=True)["Draining"]) == 1
    assert "Draining" not in columns("voicegateways.yaml")
