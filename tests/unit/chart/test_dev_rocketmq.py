"""The RocketMQ that the chart brings along for development."""

from __future__ import annotations

import json
from pathlib import Path

from litevoice_contracts.settings import BrokerSettings
from tests.unit.chart.charts import CHART, DEV, ROOT, Chart, Manifest, environment, operator_container, pods


def test_rocketmq_runs_as_the_user_who_can_read_the_images_jars(chart: Chart) -> None:
    rendered = chart.render(*DEV, "rocketmq.dev.userId=3000")
    users = [pod["securityContext"] for pod in pods(rendered)]
    assert sorted((u["runAsUser"], u["runAsGroup"], u["fsGroup"]) for u in users) == [(3000,) * 3, (65532,) * 3]


def test_operator_finds_the_development_rocketmq(with_rocketmq: dict[tuple[str, str], Manifest]) -> None:
    given = environment(operator_container(with_rocketmq))
    service = with_rocketmq["Service", "lv-litevoice-rocketmq"]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert ports == {"grpc": 8081, "proxy-remoting": 8080, "namesrv": 9876, "broker": 10911}
    assert given["ROCKETMQ_ENDPOINTS"] == f"lv-litevoice-rocketmq.ns.svc:{ports['grpc']}"
    assert given["ROCKETMQ_NAME_SERVER"] == f"lv-litevoice-rocketmq.ns.svc:{ports['namesrv']}"
    BrokerSettings(
        endpoints=given["ROCKETMQ_ENDPOINTS"],
        name_server=given["ROCKETMQ_NAME_SERVER"],
        request_topic="x",
        reply_topic="y",
        partitions=1,
    )


def test_service_ports_exist_in_the_pod(with_rocketmq: dict[tuple[str, str], Manifest]) -> None:
    template = with_rocketmq["StatefulSet", "lv-litevoice-rocketmq"]["spec"]["template"]
    named = {p["name"]: p["containerPort"] for c in template["spec"]["containers"] for p in c["ports"]}
    service = with_rocketmq["Service", "lv-litevoice-rocketmq"]["spec"]
    assert {p["targetPort"]: p["port"] for p in service["ports"]} == named
    assert service["selector"].items() <= template["metadata"]["labels"].items()


def test_rocketmq_does_not_restart_for_a_new_chart_version(with_rocketmq: dict[tuple[str, str], Manifest]) -> None:
    template = with_rocketmq["StatefulSet", "lv-litevoice-rocketmq"]["spec"]["template"]
    assert "helm.sh/chart" not in template["metadata"]["labels"]
    assert "app.kubernetes.io/version" not in template["metadata"]["labels"]


def test_heap_size_storage_class_and_size(chart: Chart) -> None:
    manifests = chart.render(
        *DEV,
        "rocketmq.dev.broker.heap=1g",
        "rocketmq.dev.persistence.size=20Gi",
        "rocketmq.dev.persistence.storageClass=fast",
    )
    spec = manifests["StatefulSet", "lv-litevoice-rocketmq"]["spec"]
    broker = next(c for c in spec["template"]["spec"]["containers"] if c["name"] == "broker")
    assert environment(broker)["ROCKETMQ_HEAP"] == "1g"
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"


def properties(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_same_broker_settings_as_in_development() -> None:
    """Tests on this machine must say something about the pod."""
    development = ROOT / "dev" / "litevoice_dev" / "rocketmq_files"
    chart_files = CHART / "files" / "rocketmq"
    assert properties(development / "broker.conf").items() <= properties(chart_files / "broker.conf").items()
    assert json.loads((development / "rmq-proxy.json").read_text()) == json.loads(
        (chart_files / "rmq-proxy.json").read_text()
    )
