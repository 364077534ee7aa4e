"""Steps 3 to 7 of the demo, asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e import environment, no_workers
from e2e.alerts import REPLIES_ALERT, REQUESTS_ALERT, AlertWatch
from e2e.cluster_place import DELETE_POD, ClusterPlace
from e2e.shell import kubectl, kubectl_json
from litevoice_dev.scenarios import slow_reader, takeover

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
    call = await takeover.hold(ClusterPlace(endpoint), DELETE_POD, takeover.SHORT, tmp_path, print)
    assert len(call.answers) == len(takeover.SHORT.questions)
    assert call.problems == []
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
    alert = AlertWatch(REPLIES_ALERT, print)
    outcome = await slow_reader.stop_reading(ClusterPlace(endpoint), alert, print)
    assert_top(alert.firing, outcome.session_id)
    assert any(outcome.session_id in event for event in alert.kubernetes_events)
    assert alert.cleared["state"] == "Inactive"
    assert outcome.problems == []
    assert outcome.events.clean, outcome.events


async def test_missing_workers_are_an_alert_and_nothing_is_lost(endpoint: environment.Endpoint) -> None:
    alert = AlertWatch(REQUESTS_ALERT, print)
    outcome = await no_workers.starve(ClusterPlace(endpoint), alert, print)
    assert_top(alert.firing, outcome.session_id)
    assert alert.cleared["state"] == "Inactive"
    assert outcome.answer.question == no_workers.QUESTION.lower()
    assert outcome.answer.status == "completed"
    assert outcome.packets.clean, outcome.packets
