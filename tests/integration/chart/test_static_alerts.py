"""The chart's PrometheusRule in Debian's own Prometheus: by promtool in no time, then with the parts' own metrics."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from litevoice_dev.ports import HOST, free_port
from litevoice_gateway.metrics import Metrics
from litevoice_operator.metrics import ACTING, ALERTS_BLIND, ALERTS_FIRING
from tests.integration.alerting import WIKI, active, alertmanager, chart_rules, evaluated, program, prometheus
from tests.integration.apiserver import wait_until

pytestmark = pytest.mark.timeout(600)  # Prometheus may have to be fetched first
TOLD: dict[str, tuple[str, str]] = {
    "LitevoiceBacklog": (
        "BacklogAlert voice/late fires",
        "kubectl describe bla late -n voice names the sessions, their pods and clients",
    ),
    "LitevoiceBacklogBlind": (
        "BacklogAlert voice/late cannot see its backlog",
        "Broker or gateways do not answer, so the alert stays as it was",
    ),
    "LitevoiceOperatorAbsent": (
        "No operator of litevoice acts",
        "Sessions go on; nobody scales, drains, places or watches, and BacklogAlerts stay as they were",
    ),
    "LitevoiceFleetFull": (
        "Every gateway is full, and new callers are refused",
        "namespace voice; litevoice_gateway_full says of what",
    ),
}
"""Alert → summary and description, of the alert `late` in the namespace `voice`."""
LATE = {"namespace": "voice", "alert": "late"}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chart_rules(tmp_path_factory.mktemp("rules"))


def at(moment: str, alert: str, /, **labels: str) -> dict[str, Any]:
    """Whether the alert fires then, with these labels; none: it does not."""
    summary, description = TOLD[alert]
    annotations = {"summary": summary, "description": description, "runbook_url": f"{WIKI}#{alert.lower()}"}
    expected = [{"exp_labels": labels, "exp_annotations": annotations}] if labels else []
    return {"eval_time": moment, "alertname": alert, "exp_alerts": expected}


def series(name: str, values: str, /, **labels: str) -> dict[str, str]:
    """A value every 15 seconds."""
    listed = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{listed}}}", "values": values}


CASES: dict[str, tuple[list[dict[str, str]], list[dict[str, Any]]]] = {
    "a BacklogAlert is told at once, with its severity, and once though two operators say so": (
        [
            series("litevoice_alerts_firing", "_x3 1x20", **LATE, severity="critical", instance="a"),
            series("litevoice_alerts_firing", "_x3 1x20", **LATE, severity="critical", instance="b"),
        ],
        [at("30s", "LitevoiceBacklog"), at("1m", "LitevoiceBacklog", **LATE, severity="critical")],
    ),
    "who is blind for a moment is not told of": (
        [series("litevoice_alerts_blind", "1x3 stale _x19 1x20", **LATE, instance="a")],
        [
            at("1m15s", "LitevoiceBacklogBlind"),
            at("6m45s", "LitevoiceBacklogBlind"),
            at("8m", "LitevoiceBacklogBlind", **LATE, severity="warning"),
        ],
    ),
    "an operator that stands by does not act": (
        [
            series("litevoice_operator_acting", "1x20 stale", instance="a"),
            series("litevoice_operator_acting", "0x60", instance="b"),
        ],
        [
            at("5m", "LitevoiceOperatorAbsent"),
            at("7m", "LitevoiceOperatorAbsent"),
            at("8m", "LitevoiceOperatorAbsent", severity="warning"),
        ],
    ),
    "a fleet is full when its last gateway is, of whatever": (
        [
            series("litevoice_gateway_full", "1x60", namespace="voice", instance="g1", reason="sessions"),
            series("litevoice_gateway_full", "0x60", namespace="voice", instance="g1", reason="memory"),
            series("litevoice_gateway_full", "0x60", namespace="voice", instance="g2", reason="sessions"),
            series("litevoice_gateway_full", "0x20 1x40", namespace="voice", instance="g2", reason="memory"),
            series("litevoice_gateway_full", "1x60", namespace="other", instance="g3", reason="sessions"),
            series("litevoice_gateway_full", "0x60", namespace="other", instance="g4", reason="sessions"),
        ],
        [
            at("5m", "LitevoiceFleetFull"),
            at("5m45s", "LitevoiceFleetFull"),
            at("7m", "LitevoiceFleetFull", namespace="voice", severity="critical"),
        ],
    ),
}


def test_each_fires_when_it_should_and_not_before(rules: Path, tmp_path: Path) -> None:
    tests = [
        {"name": name, "interval": "15s", "input_series": inputs, "alert_rule_test": expected}
        for name, (inputs, expected) in CASES.items()
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "15s", "tests": tests}))
    promtool = program("promtool")
    for command in (["check", "rules", str(rules)], ["test", "rules", str(file)]):
        result = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
    assert {one["alertname"] for _, expected in CASES.values() for one in expected} == TOLD.keys()


def serve(registry: CollectorRegistry) -> tuple[Any, str]:
    """A port as the parts have it, and where it is."""
    port = free_port()
    server, _ = start_http_server(port, HOST, registry)
    return server, f"{HOST}:{port}"


@pytest.fixture
def fleet() -> Iterator[tuple[Metrics, str, str]]:
    """A gateway's metrics, and where they and the operator's are."""
    metrics = Metrics()
    (gateway, gateway_at), (operator, operator_at) = serve(metrics.registry), serve(REGISTRY)
    yield metrics, gateway_at, operator_at
    ALERTS_FIRING.clear()
    ALERTS_BLIND.clear()
    ACTING.set(0)
    for server in (gateway, operator):
        server.shutdown()
        server.server_close()


def test_prometheus_asks_the_parts_and_tells_alertmanager(
    rules: Path, tmp_path: Path, fleet: tuple[Metrics, str, str]
) -> None:
    metrics, gateway, operator = fleet
    ACTING.set(1)
    ALERTS_FIRING.labels("voice", "late", "critical").set(1)
    with alertmanager(tmp_path / "alertmanager") as told:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [told.removeprefix("http://")]}]}]},
            "scrape_configs": [
                {
                    "job_name": "litevoice",
                    "honor_labels": True,
                    "static_configs": [
                        {"targets": [operator], "labels": {"namespace": "litevoice-system"}},
                        {"targets": [gateway], "labels": {"namespace": "voice"}},
                    ],
                }
            ],
        }
        with prometheus(tmp_path / "prometheus", config) as url:

            def states() -> dict[str, str]:
                return {one["labels"]["alertname"]: one["state"] for one in evaluated(url)}

            def known() -> list[tuple[dict[str, str], str]]:
                try:
                    return [(one["labels"], one["annotations"]["runbook_url"]) for one in active(told)]
                except OSError:
                    return []

            backlog = {"alertname": "LitevoiceBacklog", **LATE, "severity": "critical"}
            wait_until(lambda: states() == {"LitevoiceBacklog": "firing"}, "Prometheus to see that the alert fires")
            wait_until(lambda: known() == [(backlog, f"{WIKI}#litevoicebacklog")], "Alertmanager to be told")
            ALERTS_FIRING.remove("voice", "late", "critical")
            ALERTS_BLIND.labels("voice", "late").set(1)
            ACTING.set(0)
            metrics.full.labels("sessions").set(1)
            waiting = dict.fromkeys(TOLD.keys() - {"LitevoiceBacklog"}, "pending")
            wait_until(lambda: states() == waiting, "Prometheus to see the rest, none of it for long enough")
            wait_until(lambda: known() == [], "Alertmanager to know that it is over")
