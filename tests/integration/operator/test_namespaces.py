"""`kubectl delete ns` ends: of a VoiceGateway's namespace, and of one that holds the operator as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from litevoice_contracts.names import Names
from tests.integration.apiserver import ApiServer, running, wait_until
from tests.integration.operator.at_the_broker import missing
from tests.integration.operator.process import Namespace, OperatorProcess, grant_chart_rules, voice_gateway
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

FINALIZER = "litevoice.dev/operator"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("api")) as server:
        server.install_definitions()
        server.start_garbage_collector("namespace-controller")
        grant_chart_rules(server)
        yield server


def finalizers(namespace: Namespace) -> list[str]:
    return list((namespace.server.get(f"{namespace.gateways}/demo") or {})["metadata"].get("finalizers", []))


def test_namespaces_can_be_deleted(server: ApiServer, rocketmq: SharedRocketMQ, tmp_path: Path) -> None:
    home, other = Namespace.new(server), Namespace.new(server)
    for namespace in (home, other):
        server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))
    # As an operator that did not know its namespace left it.
    server.merge(f"{home.gateways}/demo", {"metadata": {"finalizers": [FINALIZER]}})
    operator = OperatorProcess(server, rocketmq, tmp_path / "operator", POD_NAMESPACE=home.name)
    try:
        operator.start()
        for namespace in (home, other):
            namespace.wait_condition(f"{namespace.gateways}/demo", "Ready", "False", "GatewaysNotReady")
        wait_until(lambda: finalizers(other) == [FINALIZER], "the finalizer elsewhere")
        wait_until(lambda: finalizers(home) == [], "no finalizer beside the operator")

        server.request("DELETE", f"/api/v1/namespaces/{other.name}")
        wait_until(lambda: server.get(f"/api/v1/namespaces/{other.name}") is None, "the namespace to be gone", 120)
        wait_until(lambda: missing(rocketmq, Names.default(other.name, "demo", 1)) != [], "its topics to be gone")

        server.create(home.gateways, voice_gateway("second", rocketmq={"partitions": 1}))
        second = Names.default(home.name, "second", 1)
        wait_until(lambda: missing(rocketmq, second) == [], "the topics of a second VoiceGateway")
        server.request("DELETE", f"{home.gateways}/second")
        wait_until(lambda: missing(rocketmq, second) != [], "they go, although there was no finalizer")
    finally:
        operator.kill()  # as its own pod's end would be
    server.request("DELETE", f"/api/v1/namespaces/{home.name}")
    wait_until(lambda: server.get(f"/api/v1/namespaces/{home.name}") is None, "the namespace to be gone", 120)
