"""Steps 3 to 7 of the demo, asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e import environment
from e2e.scenarios import backlogs, takeover
from e2e.shell import kubectl, kubectl_json

pytestmark = pytest.mark.timeout(600)


def condition(resource: dict[str, Any], kind: str) -> str:
    return next((str(c["status"]) for c in resource["status"]["conditions"] if c["type"] == kind), "absent")


def test_the_resources_are_ready(endpoint: environment.Endpoint) -> None:
    gateway = kubectl_json("get", "vgw", "-n", environment.NAMESPACE, environment.GATEWAY)
    assert condition(gateway, "Ready") == "True"
    assert gateway["status"]["readyReplicas"] == 2
    for alert in kubectl_json("get", "bla", "-n", environment.NAMESPACE)["items"]:
        assert condition(alert, "Ready") == "True"
    shown = kubectl("get", "vgw,bla", "-n", environment.NAMESPACE)
    assert environment.GATEWAY in shown


async def test_a_call_survives_the_deletion_of_its_pod(endpoint: environment.Endpoint, tmp_path: Path) -> None:
    call = await takeover.hold(endpoint, tmp_path, print)
    assert [a.question for a in call.answers] == [q.lower() for q in takeover.QUESTIONS]
    assert [a.status for a in call.answers] == ["completed"] * 3
    assert takeover.QUESTIONS[0].lower() in call.answers[2].text.lower(), "the memory of the conversation"
    assert call.pod_before != call.pod_after
    assert call.close_code == 1012
    assert call.packets.clean, call.packets
    assert call.events.clean, call.events


def assert_top(status: dict[str, Any], session_id: str) -> None:
    top = next(entry for entry in status["top"] if entry.get("session") == session_id)
    gateways = {p["metadata"]["name"]: p for p in kubectl_json("get", "pods", "-n", environment.NAMESPACE)["items"]}
    assert top["backlog"] > 0
    assert top["node"] == gateways[top["pod"]]["spec"]["nodeName"]
    assert top["client"].count(":") == 1


async def test_a_reader_that_stops_is_an_alert_and_loses_nothing(endpoint: environment.Endpoint) -> None:
    outcome = await backlogs.slow_reader(endpoint, print)
    assert_top(outcome.firing, outcome.session_id)
    assert any(outcome.session_id in event for event in outcome.kubernetes_events)
    assert outcome.cleared["state"] == "Inactive"
    assert outcome.answer.status == "completed"
    assert outcome.lost.clean, outcome.lost


async def test_missing_workers_are_an_alert_and_nothing_is_lost(endpoint: environment.Endpoint) -> None:
    outcome = await backlogs.no_workers(endpoint, print)
    assert_top(outcome.firing, outcome.session_id)
    assert outcome.cleared["state"] == "Inactive"
    assert outcome.answer.question == backlogs.SHORT_QUESTION.lower()
    assert outcome.answer.status == "completed"
    assert outcome.lost.clean, outcome.lost
