"""Several operators: one acts, another follows it; an outage of the API server changes nothing about that."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from litevoice_cli.__main__ import main
from tests.integration.apiserver import HOST, ApiServer, running, wait_until
from tests.integration.operator.process import (
    Namespace,
    OperatorProcess,
    grant_chart_rules,
    grant_reviews,
    voice_gateway,
)
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

HOME, LEASE = "operators", "litevoice-operator"
LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/{LEASE}"
DONE_SECONDS, OVER_SECONDS = 8.0, 30.0
"""How soon another acts: when the Lease was given up, and when it has to end by itself (15 s)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("api")) as server:
        server.install_definitions()
        grant_chart_rules(server)
        server.create("/api/v1/namespaces", {"metadata": {"name": HOME}})
        group = "rbac.authorization.k8s.io"
        path, named = f"/apis/{group}/v1/namespaces/{HOME}", {"metadata": {"name": "lease"}}
        leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
        rules = [{**leases, "verbs": ["create"]}, {**leases, "resourceNames": [LEASE], "verbs": ["get", "update"]}]
        server.create(f"{path}/roles", {**named, "rules": rules})
        subject = {"apiGroup": group, "kind": "User", "name": "operator"}
        role = {"apiGroup": group, "kind": "Role", "name": "lease"}
        server.create(f"{path}/rolebindings", {**named, "roleRef": role, "subjects": [subject]})
        yield server


@pytest.fixture
def operators(server: ApiServer, rocketmq: SharedRocketMQ, tmp_path: Path) -> Iterator[list[OperatorProcess]]:
    """Two, not started."""
    made = [
        OperatorProcess(server, rocketmq, tmp_path / name, POD_NAME=name, POD_NAMESPACE=HOME, LEASE_NAME=LEASE)
        for name in ("one", "two")
    ]
    yield made
    for operator in made:
        operator.kill()


def holder(server: ApiServer) -> str:
    return str((server.get(LEASE_PATH) or {}).get("spec", {}).get("holderIdentity", ""))


def acted(operator: OperatorProcess) -> list[bool]:
    """What it said of itself, in order."""
    lines = [json.loads(line) for line in operator.log.read_text().splitlines() if line.startswith("{")]
    said = {"this operator acts": True, "this operator does not act": False}
    return [said[line["message"]] for line in lines if line["message"] in said]


def served(namespace: Namespace, name: str, timeout_seconds: float) -> None:
    """Somebody acts: a new VoiceGateway is seen, by one operator only."""
    namespace.server.create(namespace.gateways, voice_gateway(name, rocketmq={"partitions": 1}))

    def made() -> bool:
        return namespace.get("apps/v1", "deployments", f"{name}-worker") is not None

    wait_until(made, f"VoiceGateway {name} to be served", timeout_seconds)


def token(server: ApiServer, *audiences: str) -> str:
    path = f"/api/v1/namespaces/{HOME}/serviceaccounts/viewer/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": list(audiences)}}
    return str(server.create(path, body)["status"]["token"])


def console(operator: OperatorProcess, namespace: str, token: str) -> http.client.HTTPResponse:
    url = f"http://{HOST}:{operator.port}/v1/console?namespace={namespace}"
    request = urllib.request.Request(url, headers={"Litevoice-Token": token})
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=20)
    return answer


def test_who_may_see_sessions_asks_the_one_that_acts(
    server: ApiServer, operators: list[OperatorProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = operators
    namespace = Namespace.new(server)
    server.create(f"/api/v1/namespaces/{HOME}/serviceaccounts", {"metadata": {"name": "viewer"}})
    grant_reviews(server, namespace.name, f"{HOME}/viewer")
    good, usual = token(server, "litevoice"), token(server)

    def litevoice(*arguments: str, operator: OperatorProcess = one, token: str = good) -> tuple[int, str]:
        code = main([*arguments, "--url", f"http://{HOST}:{operator.port}", "--token", token])
        said = capsys.readouterr()
        return code, said.out + said.err

    one.start()
    served(namespace, "seen", 20)
    two.start()
    mine = ("-n", namespace.name)
    wait_until(lambda: "NOBODY" in litevoice("partitions", *mine)[1], "the partitions of the new VoiceGateway")
    code, said = litevoice("doctor", *mine)
    assert code == 0, said
    assert "settings are as they should be" in said
    for part in ("RocketMQ 5.5.", "subscriptions (maxLiteSubscriptionCount) are in use", "may do all that it needs"):
        assert part in said
    assert "ERROR" not in said
    code, said = litevoice("why", "s_nobody", *mine)
    assert (code, said.partition(":")[0]) == (3, "UNKNOWN-SESSION"), said
    assert "in all namespaces: name one (HTTP 403)" in litevoice("sessions")[1]
    assert "(HTTP 401)" in litevoice("sessions", *mine, token=usual)[1]
    assert "this operator does not act" in litevoice("sessions", *mine, operator=two)[1]
    for operator in operators:
        assert operator.answers("/console"), "the page has no data, and is there for all"
    with pytest.raises(urllib.error.HTTPError, match="503"):
        console(two, namespace.name, good)
    with console(one, namespace.name, good) as stream:
        assert stream.readline() == b"event: state\n"
        state = json.loads(stream.readline().removeprefix(b"data: "))
        assert (state["operator"], state["gateways"]) == ("one", [f"{namespace.name}/seen"])
        assert [row["workers"] for row in state["partitions"]] == [[]]
        began = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - began < DONE_SECONDS, "who watches keeps no operator from ending"
        assert stream.read().endswith(b'event: end\ndata: {"message": "this operator does not act any more"}\n\n')


def test_one_acts_and_the_other_follows(server: ApiServer, operators: list[OperatorProcess]) -> None:
    one, two = operators
    namespace = Namespace.new(server)
    one.start()
    served(namespace, "first", 20)
    two.start()  # ready, although it only stands by: a rolling update goes on
    assert (holder(server), acted(one), acted(two)) == ("one", [True], [])

    assert one.stop() == 0
    wait_until(lambda: holder(server) == "two", "the Lease to be handed over", DONE_SECONDS)
    served(namespace, "second", 20)

    one.start()
    two.kill()
    wait_until(lambda: holder(server) == "one", "the Lease of a dead operator to end", OVER_SECONDS)
    served(namespace, "third", 20)
    assert server.request("GET", LEASE_PATH)["spec"]["leaseTransitions"] >= 2


def test_an_outage_of_the_api_server_pauses_it(server: ApiServer, operators: list[OperatorProcess]) -> None:
    one, two = operators
    namespace = Namespace.new(server)
    one.start()
    wait_until(lambda: holder(server) == "one", "the Lease", OVER_SECONDS)
    two.start()
    pids = one.pid, two.pid
    server.kill_server()
    wait_until(lambda: acted(one)[-1:] == [False], "it to stop acting", 20)
    time.sleep(10)  # longer than the Lease lasts
    server.start()
    served(namespace, "after", 60)
    assert (one.running, two.running, (one.pid, two.pid)) == (True, True, pids) or holder(server) == "two"
    assert sorted(acted(operator)[-1:] == [True] for operator in (one, two)) == [False, True]
