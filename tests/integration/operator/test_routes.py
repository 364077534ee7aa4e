"""Alerts with real Alertmanagers, a webhook that is not always there, a Prometheus that has the chart's rules, a real
broker, and an operator that is killed."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from litevoice_contracts.names import Names
from litevoice_dev.ports import HOST
from litevoice_operator.adapters.channels import signature
from litevoice_operator.api.times import from_text, to_text
from tests.integration.alerting import active, alertmanager, chart_rules, evaluated, prometheus
from tests.integration.apiserver import ApiServer, wait_until
from tests.integration.conftest import BrokerKit
from tests.integration.operator.process import Namespace, OperatorProcess, backlog_alert, voice_gateway
from tests.integration.sending import send_fifo
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

KEY = b"the key that the webhook knows"


@dataclass
class Hook:
    """A webhook: refuses as often as told, and keeps what it takes."""

    server: ThreadingHTTPServer
    refusals: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    attempts: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server.server_port}/hook"

    def statuses(self, alert: str) -> list[str]:
        """What was told of an alert, in order."""
        return [
            " ".join(filter(None, (body["status"], body["commonLabels"].get("severity"))))
            for body in self.taken
            if body["commonLabels"]["alert"] == alert
        ]


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.attempts += 1
            signed = self.headers["Litevoice-Signature"] == signature(KEY, self.headers["Litevoice-Timestamp"], body)
            refused = found.refusals > 0 or not signed
            found.refusals -= 1
            if not refused:
                found.taken.append(json.loads(body))
                found.identities.append(self.headers["Idempotency-Key"])
            self.send_response(503 if refused else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    found = Hook(ThreadingHTTPServer((HOST, 0), Handler))
    threading.Thread(target=found.server.serve_forever, daemon=True).start()
    yield found
    found.server.shutdown()


@pytest.fixture(scope="module")
def alertmanagers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Base URLs of two replicas that do not know each other."""
    folder = tmp_path_factory.mktemp("alertmanagers")
    with alertmanager(folder / "0") as first, alertmanager(folder / "1") as second:
        yield [first, second]


def firing(url: str, namespace: str) -> dict[str, dict[str, Any]]:
    """Alerts of the namespace that the Alertmanager takes for firing, by severity; {} while it does not answer."""
    try:
        alerts = active(url)
    except OSError:
        return {}
    return {one["labels"]["severity"]: one for one in alerts if one["labels"]["namespace"] == namespace}


@pytest.fixture(scope="module")
def operator(
    operator_server: ApiServer,
    rocketmq: SharedRocketMQ,
    tmp_path_factory: pytest.TempPathFactory,
    hook: Hook,
    alertmanagers: list[str],
) -> Iterator[OperatorProcess]:
    folder: Path = tmp_path_factory.mktemp("operator")
    (folder / "chat").mkdir()
    (folder / "chat" / "hmac-key").write_bytes(KEY)
    channels = [
        {"name": "oncall", "alertmanager": {"urls": alertmanagers}},
        {"name": "chat", "webhook": {"url": hook.url, "signed": True}},
    ]
    operator = OperatorProcess(
        operator_server,
        rocketmq,
        folder,
        ALERT_CHANNELS=json.dumps(channels),
        ALERT_KEYS_DIR=str(folder),
        ALERT_RESEND_SECONDS="5",
    )
    try:
        operator.start()
        yield operator
    finally:
        operator.kill()


async def test_each_transition_is_told_once_and_alertmanagers_know_what_fires(
    namespace: Namespace, operator: OperatorProcess, rocketmq: SharedRocketMQ, hook: Hook, alertmanagers: list[str]
) -> None:
    server, path, quiet = namespace.server, f"{namespace.alerts}/loud", f"{namespace.alerts}/quiet"
    thresholds = [{"severity": "warning", "messages": 10}, {"severity": "critical", "messages": 20}]
    server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))
    silence = {
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-02T00:00:00Z", "author": "ann", "reason": "long ago",
    }  # fmt: skip
    for name, changes in (
        ("loud", {"routes": ["oncall", "chat"], "silences": [silence], "runbookUrl": "https://runbooks/requests"}),
        ("quiet", {"routes": ["chat", "nobody"], "dryRun": True}),
    ):
        alert = backlog_alert(name, "demo", "Requests", thresholds=thresholds, forSeconds=0, **changes)
        server.create(namespace.alerts, alert)
    await asyncio.to_thread(namespace.wait_condition, path, "Ready", "True", "Measuring")
    unknown = await asyncio.to_thread(namespace.wait_condition, quiet, "Routed", "False", "ChannelUnknown")
    assert "spec.routes[1]: nobody" in unknown["message"]
    kit = BrokerKit(rocketmq, Names.default(namespace.name, "demo", 1))
    producer = await kit.producer()

    async def wait_requests(count: int) -> None:
        for _ in range(count):
            await send_fifo(producer, kit.names.partition_topic(0), "s_1", {}, b"waits")

    def fires(severity: str) -> bool:
        return all(firing(url, namespace.name).keys() == {severity} for url in alertmanagers)

    def told() -> list[str]:
        known = (server.get(path) or {}).get("status", {}).get("told", [])
        return [entry["recipient"] for entry in known if entry["transition"].startswith("Firing")]

    hook.refusals = 2
    await wait_requests(12)
    await asyncio.to_thread(wait_until, lambda: fires("warning"), "both Alertmanagers to know")
    await asyncio.to_thread(wait_until, lambda: hook.statuses("loud") == ["firing warning"], "the webhook to know")
    assert hook.attempts == 3
    found = firing(alertmanagers[0], namespace.name)["warning"]
    assert found["annotations"]["runbook_url"] == "https://runbooks/requests"
    await asyncio.to_thread(wait_until, lambda: told() == ["chat", "events", "oncall"], "the status to say so")

    operator.kill()
    await asyncio.to_thread(operator.start)
    await wait_requests(10)
    await asyncio.to_thread(wait_until, lambda: fires("critical"), "both Alertmanagers to know the worse")
    await asyncio.to_thread(wait_until, lambda: len(hook.statuses("loud")) > 1, "the webhook to know the worse")

    async def taken(_: object) -> None:
        """A worker that takes what it is given."""

    await kit.consumer(0, taken)
    await asyncio.to_thread(
        wait_until, lambda: not any(firing(url, namespace.name) for url in alertmanagers), "the end"
    )
    await asyncio.to_thread(wait_until, lambda: "resolved" in hook.statuses("loud"), "the webhook to know the end")
    await asyncio.to_thread(namespace.wait_condition, quiet, "Firing", "False")
    await kit.close()
    assert hook.statuses("loud") == ["firing warning", "firing critical", "resolved"]
    assert hook.statuses("quiet") == []
    assert len(set(hook.identities)) == 3
    assert [event["reason"] for event in namespace.events("loud")] == ["Firing", "Firing", "Resolved"]
    assert namespace.events("quiet") == []


@pytest.fixture(scope="module")
def watching(operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prometheus that asks the operator every second, and has the chart's static alerts."""
    folder = tmp_path_factory.mktemp("prometheus")
    job = {"job_name": "operator", "honor_labels": True, "static_configs": [{"targets": [f"{HOST}:{operator.port}"]}]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(chart_rules(folder))],
        "scrape_configs": [job],
    }
    with prometheus(folder / "own", config) as url:
        yield url


async def test_what_fires_in_a_drain_or_a_silence_is_neither_over_nor_told_twice(
    namespace: Namespace,
    operator: OperatorProcess,
    rocketmq: SharedRocketMQ,
    hook: Hook,
    alertmanagers: list[str],
    watching: str,
) -> None:
    server, late = namespace.server, f"{namespace.alerts}/late"
    thresholds = [{"severity": "warning", "messages": 10}, {"severity": "critical", "messages": 20}]
    server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))

    def make(name: str, thresholds: list[dict[str, Any]]) -> None:
        changes = {"routes": ["oncall", "chat"], "suppressDuringDrain": True, "forSeconds": 0}
        server.create(namespace.alerts, backlog_alert(name, "demo", "Requests", thresholds=thresholds, **changes))

    make("late", thresholds)
    await asyncio.to_thread(namespace.wait_condition, late, "Ready", "True", "Measuring")
    kit = BrokerKit(rocketmq, Names.default(namespace.name, "demo", 1))
    producer = await kit.producer()

    async def wait_requests(count: int) -> None:
        for _ in range(count):
            await send_fifo(producer, kit.names.partition_topic(0), "s_1", {}, b"waits")

    def known(url: str) -> set[tuple[str, str]]:
        """Alert and severity that the Alertmanager takes for firing."""
        own = [one["labels"] for one in active(url) if one["labels"]["namespace"] == namespace.name]
        return {(labels["alert"], labels["severity"]) for labels in own}

    async def all_know(*expected: tuple[str, str]) -> None:
        what = f"the Alertmanagers to know {expected}"
        await asyncio.to_thread(wait_until, lambda: all(known(url) == {*expected} for url in alertmanagers), what)

    def seen(alert: str) -> list[str]:
        """By Prometheus: severities of those that fire."""
        own = {"alertname": "LitevoiceBacklog", "namespace": namespace.name, "alert": alert}
        labels = [one["labels"] for one in evaluated(watching) if one["state"] == "firing"]
        return [found["severity"] for found in labels if own.items() <= found.items()]

    def absent() -> list[str]:
        return [one["state"] for one in evaluated(watching) if one["labels"]["alertname"] == "LitevoiceOperatorAbsent"]

    await wait_requests(12)
    await all_know(("late", "warning"))
    await asyncio.to_thread(wait_until, lambda: seen("late") == ["warning"], "Prometheus to see it")

    # A drain: what was told before it goes on, also when the operator is killed; what is new is told if it is critical.
    namespace.make_pod("demo-gateway-0", "demo", "gateway", "node-a")
    server.request("DELETE", namespace.path("v1", "pods", "demo-gateway-0"))
    muted = await asyncio.to_thread(namespace.wait_condition, late, "Routed", "False", "Muted")
    assert muted["message"] == "a gateway is being drained"
    make("new", [{"severity": "warning", "messages": 11}])
    await asyncio.to_thread(namespace.wait_condition, f"{namespace.alerts}/new", "Firing", "True")
    operator.kill()
    await asyncio.to_thread(wait_until, lambda: absent() == ["pending"], "Prometheus to miss the operator")
    await asyncio.to_thread(operator.start)
    started = time.time()

    def sent_since(url: str) -> bool:
        own = {"namespace": namespace.name, "alert": "late"}
        found = next((one for one in active(url) if own.items() <= one["labels"].items()), None)
        return found is not None and (from_text(found["updatedAt"][:19] + "Z") or 0.0) > started

    await asyncio.to_thread(wait_until, lambda: all(map(sent_since, alertmanagers)), "it to be told still")
    await asyncio.to_thread(wait_until, lambda: (seen("late"), absent()) == (["warning"], []), "Prometheus, too")
    await all_know(("late", "warning"))
    assert (hook.statuses("late"), hook.statuses("new")) == (["firing warning"], [])
    await wait_requests(10)
    await all_know(("late", "critical"))
    await asyncio.to_thread(wait_until, lambda: seen("late") == ["critical"], "Prometheus to see the worse")
    server.request("DELETE", f"{namespace.path('v1', 'pods', 'demo-gateway-0')}?gracePeriodSeconds=0")
    await all_know(("late", "critical"), ("new", "warning"))
    await asyncio.to_thread(wait_until, lambda: hook.statuses("new") == ["firing warning"], "the webhook to know")

    # A silence: it is told no longer, and fires nevertheless; told again when the silence is over.
    hour = {"startsAt": to_text(time.time() - 60), "endsAt": to_text(time.time() + 3600), "author": "ann"}
    server.merge(late, {"spec": {"silences": [hour]}})
    await all_know(("new", "warning"))
    assert namespace.condition(late, "Firing")["status"] == "True"
    assert seen("late") == ["critical"]
    server.merge(late, {"spec": {"silences": []}})
    await all_know(("late", "critical"), ("new", "warning"))

    async def taken(_: object) -> None:
        """A worker that takes what it is given."""

    await kit.consumer(0, taken)
    await all_know()
    await asyncio.to_thread(wait_until, lambda: "resolved" in hook.statuses("late"), "the webhook to know the end")
    await asyncio.to_thread(wait_until, lambda: seen("late") == [], "Prometheus to see the end")
    await kit.close()
    assert hook.statuses("late") == ["firing warning", "firing critical", "resolved"]
    assert [event["reason"] for event in namespace.events("late")] == ["Firing", "Firing", "Resolved"]
