"""CRDs that come late, are older than the operator, and are upgraded: the same operator goes through all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from litevoice_contracts.names import Names
from tests.integration.apiserver import CRDS, ApiServer, running, wait_until
from tests.integration.operator.at_the_broker import pile_up
from tests.integration.operator.process import (
    Namespace,
    OperatorProcess,
    backlog_alert,
    grant_chart_rules,
    voice_gateway,
)
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

INSTALL = "kubectl apply --server-side -f crds/"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with running(tmp_path / "api") as server:
        yield server


@pytest.fixture
def operator(server: ApiServer, rocketmq: SharedRocketMQ, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Not started yet."""
    operator = OperatorProcess(server, rocketmq, tmp_path / "operator")
    yield operator
    operator.kill()


def fields(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The properties of the object at that path."""
    for name in path.split("."):
        schema = schema["properties"][name]
    properties: dict[str, Any] = schema["properties"]
    return properties


def older_definitions(folder: Path) -> Path:
    """What an earlier release could have shipped: fewer fields and values, in spec and status."""
    folder.mkdir()
    for file in CRDS.glob("*.yaml"):
        definition = yaml.safe_load(file.read_text())
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        if definition["spec"]["names"]["kind"] == "VoiceGateway":
            del fields(schema, "spec")["audio"]
            del fields(schema, "spec")["pod"]["properties"]["resources"]
            fields(schema, "spec")["logLevel"]["enum"].remove("debug")
            fields(schema, "status")["selector"]["maxLength"] = 10  # any status of this operator's is refused
        else:
            del fields(schema, "spec")["keepFiringForSeconds"]
            del fields(schema, "status")["top"]
            del fields(schema, "status")["since"]
        (folder / file.name).write_text(yaml.safe_dump(definition))
    return folder


def test_crds_that_come_late_are_older_and_are_upgraded(
    server: ApiServer, operator: OperatorProcess, rocketmq: SharedRocketMQ, tmp_path: Path
) -> None:
    grant_chart_rules(server)
    server.kill_server()
    operator.start(wait=False)
    wait_until(lambda: operator.answers("/healthz"), "the operator to live", 120)
    wait_until(lambda: operator.waits_for() == "the API server\n", "the operator to miss the API server")
    server.start()
    missing = "CRDs that serve v1alpha1: backlogalerts.litevoice.dev, voicegateways.litevoice.dev; install them: "
    wait_until(lambda: operator.waits_for() == f"{missing}{INSTALL}\n", "the operator to miss its CRDs")

    server.install_definitions(older_definitions(tmp_path / "older"))
    wait_until(lambda: operator.answers("/readyz"), "the operator to be ready")
    pid = operator.pid
    namespace = Namespace.new(server)
    gateway, alert = f"{namespace.gateways}/demo", f"{namespace.alerts}/requests"
    wanted = voice_gateway("demo", audio={"batchMilliseconds": 20}, rocketmq={"partitions": 1})
    created = server.request("POST", namespace.gateways, wanted)
    assert "audio" not in created["spec"], "the API server drops what the older CRD does not know"
    server.request("POST", namespace.alerts, backlog_alert("requests", "demo", "Requests"))
    told = namespace.wait_condition(gateway, "CRDOutdated", "True", "OlderThanOperator")["message"]
    assert "It drops spec.audio, spec.pod.resources." in told
    assert "It refuses spec.logLevel debug, status.selector longer than 10." in told
    assert INSTALL in told
    assert "sessions" not in (server.get(gateway) or {})["status"], "the CRD refused all but the conditions"
    told = namespace.wait_condition(alert, "CRDOutdated", "True", "OlderThanOperator")["message"]
    assert "It drops spec.keepFiringForSeconds, status.since, status.top." in told
    ready = namespace.wait_condition(alert, "Ready", "True", "CRDOutdated")
    assert "status.top" in ready["message"], "what older CRDs print with -o wide says it, too"
    pile_up(rocketmq, Names.default(namespace.name, "demo", 1))
    namespace.wait_condition(alert, "Firing", "True")
    assert (server.get(alert) or {})["status"]["state"] == "Firing", "the rest of the status is written"
    (logged,) = [line for line in log_lines(operator) if line.get("crd") == "voicegateways.litevoice.dev"]
    assert logged["lacks"] == ["spec.audio", "spec.pod.resources"]
    assert batch_milliseconds(namespace) == 100

    server.install_definitions()
    namespace.wait_condition(gateway, "CRDOutdated", "False", "UpToDate")
    namespace.wait_condition(alert, "CRDOutdated", "False", "UpToDate")
    wait_until(lambda: "sessions" in (server.get(gateway) or {})["status"], "the whole status")
    namespace.wait_condition(alert, "Ready", "True", "Measuring")
    assert namespace.condition(alert, "Firing")["status"] == "True", "the upgrade resolves nothing"
    assert (server.get(gateway) or {})["metadata"]["uid"] == created["metadata"]["uid"], (
        "an upgrade keeps what is there"
    )
    server.merge(gateway, {"spec": wanted["spec"]})
    wait_until(lambda: batch_milliseconds(namespace) == 20, "the gateways' setting")
    assert operator.pid == pid


def batch_milliseconds(namespace: Namespace) -> int:
    settings = namespace.get("v1", "configmaps", "demo-gateway") or {}
    return int(json.loads(settings["data"]["settings.json"])["batchMilliseconds"])


def log_lines(operator: OperatorProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in operator.log.read_text().splitlines() if line.startswith("{")]
