"""The PrometheusRule that the chart makes for who alerts on metrics."""

from __future__ import annotations

import re

from litevoice_dev.reference.metrics import named
from tests.unit.chart.charts import Chart, Manifest

RULE = ("alerts.prometheusRule.enabled=true", "alerts.prometheusRule.runbookUrl=https://wiki/litevoice")


def test_static_alerts_are_off_unless_asked_for(chart: Chart, defaults: dict[tuple[str, str], Manifest]) -> None:
    assert not [kind for kind, _ in defaults if kind == "PrometheusRule"]
    result = chart.template("alerts.prometheusRule.enabled=true")
    assert result.returncode != 0
    assert "alerts.prometheusRule.runbookUrl: give the address" in result.stderr


def test_static_alerts_ask_for_metrics_that_exist_and_name_their_runbook(chart: Chart) -> None:
    manifests = chart.render(
        *RULE, "alerts.prometheusRule.labels.release=prom", 'alerts.prometheusRule.fleetLabels=["namespace","vgw"]'
    )
    rule = manifests["PrometheusRule", "lv-litevoice-operator"]
    assert rule["metadata"]["labels"]["release"] == "prom"
    (group,) = rule["spec"]["groups"]
    alerts = {one["alert"]: one for one in group["rules"]}
    assert sorted(alerts) == [
        "LitevoiceBacklog", "LitevoiceBacklogBlind", "LitevoiceFleetFull", "LitevoiceOperatorAbsent"
    ]  # fmt: skip
    for name, alert in alerts.items():
        (metric,) = set(re.findall(r"litevoice_\w+", alert["expr"]))
        assert metric in named()
        assert alert["annotations"]["runbook_url"] == f"https://wiki/litevoice#{name.lower()}"
        assert alert["annotations"]["summary"]
        assert "severity" in alert["expr"] or alert["labels"]["severity"] in ("warning", "critical")
    full = alerts["LitevoiceFleetFull"]
    assert full["expr"] == "min by (namespace, vgw) (max by (namespace, vgw, instance) (litevoice_gateway_full)) == 1"
    assert full["annotations"]["description"].startswith("namespace {{ $labels.namespace }}, vgw {{ $labels.vgw }}; ")
    assert "{{ $labels.namespace }}/{{ $labels.alert }}" in alerts["LitevoiceBacklog"]["annotations"]["summary"]
