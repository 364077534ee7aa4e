"""An operator in a cluster and at a broker that others use, too: it touches nothing of theirs, and says what it met."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from litevoice_contracts.names import Names
from litevoice_dev.ports import free_port
from tests.integration.apiserver import Json, Refused, wait_until
from tests.integration.operator.at_the_broker import ask, missing, pile_up
from tests.integration.operator.process import Namespace, OperatorProcess, backlog_alert, voice_gateway
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

ONE = {"partitions": 1}


def gone(namespace: Namespace, name: str) -> None:
    path = f"{namespace.gateways}/{name}"
    namespace.server.request("DELETE", path)
    wait_until(lambda: namespace.server.get(path) is None, f"VoiceGateway {name} to be gone")


def settings(namespace: Namespace, name: str) -> Json:
    found = namespace.get("v1", "configmaps", f"{name}-gateway") or {}
    broker: Json = json.loads(found["data"]["settings.json"])["broker"]
    return broker


def test_names_that_look_alike_are_two(namespace: Namespace, rocketmq: SharedRocketMQ) -> None:
    other = Namespace(namespace.server, f"{namespace.name}-prod")
    one, two = Names.default(namespace.name, "prod-eu", 1), Names.default(other.name, "eu", 1)
    assert one.request_topic != two.request_topic
    namespace.server.create(namespace.gateways, voice_gateway("prod-eu", rocketmq=ONE))
    namespace.server.create(other.gateways, voice_gateway("eu", rocketmq=ONE))
    wait_until(lambda: missing(rocketmq, one) == [] and missing(rocketmq, two) == [], "the topics of both")
    gone(namespace, "prod-eu")
    assert missing(rocketmq, one) != []
    assert missing(rocketmq, two) == []
    gone(other, "eu")


def test_a_voice_gateway_of_an_early_release_keeps_its_topics(
    namespace: Namespace, operator: OperatorProcess, rocketmq: SharedRocketMQ
) -> None:
    path, early = f"{namespace.gateways}/demo", f"lv-{namespace.name}-demo"
    names = Names.with_prefix(early, 1)
    assert operator.stop() == 0
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq=ONE))
    namespace.server.merge(f"{path}/status", {"status": {"observedGeneration": 1, "sessions": 3}})
    ask(rocketmq, lambda admin: admin.ensure_names(names, expiration_minutes=60))
    operator.start()
    wait_until(lambda: (namespace.server.get(path) or {})["status"].get("topicPrefix") == early, "its prefix")
    assert settings(namespace, "demo")["requestTopic"] == names.request_topic
    owner = names.owner_groups[0]
    wait_until(lambda: ask(rocketmq, lambda admin: admin.group_mark(owner)) != "", "the mark")
    gone(namespace, "demo")
    assert missing(rocketmq, names) != []
    assert ask(rocketmq, lambda admin: admin.group_mark(owner)) == ""


def test_topics_of_another_are_left_alone(namespace: Namespace, rocketmq: SharedRocketMQ) -> None:
    path, base = f"{namespace.gateways}/demo", namespace.name
    names = Names.with_prefix(base, 1)
    ask(rocketmq, lambda admin: admin.ensure_names(names, expiration_minutes=60))
    ask(rocketmq, lambda admin: admin.mark_group(names.owner_groups[1], "owner_some-uid_some-line"))
    topics = {"requestTopic": names.request_topic, "replyTopic": names.reply_topic}
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq={**ONE, **topics}))
    told = namespace.wait_condition(path, "Ready", "False", "NamesTaken")["message"]
    assert names.reply_topic in told
    assert "some-uid" in told
    assert namespace.condition(path, "Stalled")["status"] == "True"
    gone(namespace, "demo")
    assert missing(rocketmq, names) == []
    assert [event["reason"] for event in namespace.events("demo")] == ["NamesKept"]
    ask(rocketmq, lambda admin: admin.delete_names(names))


def test_topics_that_were_there_before_are_used_and_stay(namespace: Namespace, rocketmq: SharedRocketMQ) -> None:
    names = Names.with_prefix(namespace.name, 1)
    ask(rocketmq, lambda admin: admin.ensure_names(names, expiration_minutes=60))
    topics = {"requestTopic": names.request_topic, "replyTopic": names.reply_topic}
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq={**ONE, **topics}))
    namespace.wait_condition(f"{namespace.gateways}/demo", "Ready", "False", "GatewaysNotReady")
    assert ask(rocketmq, lambda admin: admin.group_mark(names.owner_groups[0])) == ""
    gone(namespace, "demo")
    assert missing(rocketmq, names) == []
    ask(rocketmq, lambda admin: admin.delete_names(names))


def foreign_deployment(namespace: Namespace, name: str) -> Json:
    labels = {"app": "somebody-else"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return namespace.server.create(namespace.path("apps/v1", "deployments"), {"metadata": {"name": name}, "spec": spec})


@pytest.mark.parametrize("valid", [False, True])
def test_a_deployment_of_somebody_else_stays(namespace: Namespace, valid: bool) -> None:
    made = foreign_deployment(namespace, "web-worker")
    long_topic = {} if valid else {"rocketmq": {"nameServer": "nowhere:1", "endpoints": "nowhere:1"}, "replicas": 1}
    if not valid:  # by then it has no valid names: never anything was made for it
        namespace = Namespace(namespace.server, f"{namespace.name}-{'x' * 45}")
        made = foreign_deployment(namespace, f"{'w' * 50}-worker")
    name = made["metadata"]["name"].removesuffix("-worker")
    gateways = foreign_deployment(namespace, f"{name}-gateway")  # nor is that an earlier release's
    namespace.server.create(namespace.gateways, voice_gateway(name, **long_topic))
    path = f"{namespace.gateways}/{name}"
    told = namespace.wait_condition(path, "Ready", "False", "ObjectTaken" if valid else "InvalidSpec")["message"]
    assert valid is (f"Deployment {name}-worker exists and was not made by the operator" in told)
    if valid:
        assert namespace.gateway_set(name), "the rest is there"
        assert namespace.condition(path, "Stalled")["status"] == "True"
    gone(namespace, name)
    for before in (made, gateways):
        left = namespace.get("apps/v1", "deployments", before["metadata"]["name"]) or {}
        assert (left["metadata"]["uid"], left["metadata"]["generation"]) == (before["metadata"]["uid"], 1)


def test_a_service_of_somebody_else_is_not_taken_over(namespace: Namespace) -> None:
    spec = {"selector": {"app": "somebody-else"}, "ports": [{"port": 80}]}
    made = namespace.server.create(
        namespace.path("v1", "services"), {"metadata": {"name": "web-gateway"}, "spec": spec}
    )
    namespace.server.create(namespace.gateways, voice_gateway("web", rocketmq=ONE))
    told = namespace.wait_condition(f"{namespace.gateways}/web", "Ready", "False", "ObjectTaken")["message"]
    assert "Service web-gateway exists and was not made by the operator" in told
    left = namespace.get("v1", "services", "web-gateway") or {}
    assert left["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    namespace.server.request("DELETE", namespace.path("v1", "services", "web-gateway"))
    namespace.wait_condition(f"{namespace.gateways}/web", "Ready", "False", "GatewaysNotReady")


@contextmanager
def failing_webhook(namespace: Namespace, group: str, resource: str) -> Iterator[None]:
    """One that does not answer, for what is written to that resource in the namespace: the API server says 500."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}
    webhook: dict[str, Any] = {
        "name": "nobody.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{free_port()}/"},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    namespace.server.create(path, {"metadata": {"name": namespace.name}, "webhooks": [webhook]})
    try:
        yield
    finally:
        namespace.server.request("DELETE", f"{path}/{namespace.name}")


def in_force(namespace: Namespace, method: str, path: str, body: Json) -> None:
    """Waits until the API server, which learns of a webhook a moment after it was made, asks it."""

    def asked() -> bool:
        try:
            kind = "application/json" if method == "POST" else "application/merge-patch+json"
            namespace.server.request(method, f"{path}?dryRun=All", body, kind)
        except Refused as error:
            return "nobody.example.com" in str(error)
        return False

    wait_until(asked, "the webhook to be in force")


def test_one_object_that_fails_stops_no_other_and_is_named(namespace: Namespace, rocketmq: SharedRocketMQ) -> None:
    path = f"{namespace.gateways}/demo"
    with failing_webhook(namespace, "", "services"):
        probe = {"metadata": {"name": "probe"}, "spec": {"ports": [{"port": 80}]}}
        in_force(namespace, "POST", namespace.path("v1", "services"), probe)
        namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq=ONE))
        told = namespace.wait_condition(path, "Ready", "False", "ApplyFailed")["message"]
        assert "Service demo-gateway: " in told
        assert "Service demo-worker: " in told
        assert namespace.condition(path, "Stalled")["status"] == "False", "it is tried again"
        assert namespace.gateway_set("demo"), "what comes after it is made"
        wait_until(lambda: missing(rocketmq, Names.default(namespace.name, "demo", 1)) == [], "the topics")
    namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")
    assert namespace.get("v1", "services", "demo-gateway")


def test_a_transition_is_told_once_though_its_status_is_refused(
    namespace: Namespace, operator: OperatorProcess, rocketmq: SharedRocketMQ
) -> None:
    alert = f"{namespace.alerts}/requests"
    namespace.server.create(namespace.gateways, voice_gateway("demo", rocketmq=ONE))
    namespace.server.create(namespace.alerts, backlog_alert("requests", "demo", "Requests", forSeconds=0))
    namespace.wait_condition(alert, "Ready", "True", "Measuring")

    def failures() -> int:
        lines = [json.loads(line) for line in operator.log.read_text().splitlines() if line.startswith("{")]
        return sum(line.get("object") == f"{namespace.name}/requests" for line in lines)

    with failing_webhook(namespace, "litevoice.dev", "backlogalerts/status"):
        in_force(namespace, "PATCH", f"{alert}/status", {"status": {"state": "Pending"}})
        pile_up(rocketmq, Names.default(namespace.name, "demo", 1))
        before = failures()
        wait_until(lambda: failures() >= before + 5, "five refused statuses", 120)
        assert [event["reason"] for event in namespace.events("requests")] == ["Firing"]
        assert namespace.condition(alert, "Firing")["status"] == "False"
        assert f'alert="requests",namespace="{namespace.name}"' in operator.metrics(), "what is told is shown"
    namespace.wait_condition(alert, "Firing", "True")
    assert [event["reason"] for event in namespace.events("requests")] == ["Firing"]
