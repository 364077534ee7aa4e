"""What the API server accepts and refuses, with the CRDs as they are shipped."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.integration.apiserver import REPOSITORY, ApiServer, Json, Refused
from tests.integration.operator.process import RESOURCES, backlog_alert, voice_gateway

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

GATEWAYS, ALERTS = f"{RESOURCES}/default/voicegateways", f"{RESOURCES}/default/backlogalerts"
MODEL = {"baseUrl": "http://models:8000/v1", "model": "m"}


@pytest.fixture(scope="module")
def server(server: ApiServer) -> ApiServer:
    server.install_definitions()
    return server


MODELS = {"name": "models", "emptyDir": {}}
BAD_GATEWAYS: list[tuple[str, dict[str, Any], str]] = [
    ("unknown field", {"replica": 3}, "spec.replica"),
    ("unknown nested field", {"session": {"maxSessions": 3}}, "spec.session.maxSessions"),
    ("no API keys", {"auth": {}}, "spec.auth.apiKeysSecret"),
    ("too many replicas", {"replicas": 1001}, "spec.replicas"),
    ("negative replicas", {"replicas": -1}, "spec.replicas"),
    ("text for a number", {"replicas": "two"}, "spec.replicas"),
    ("no partitions", {"rocketmq": {"partitions": 0}}, "spec.rocketmq.partitions"),
    ("too many partitions", {"rocketmq": {"partitions": 101}}, "spec.rocketmq.partitions"),
    ("brokers without partitions", {"rocketmq": {"partitions": 2, "brokers": 3}}, "brokers must not exceed partitions"),
    ("expiry longer than the broker can compute", {"rocketmq": {"expirationMinutes": 35_792}},
     "spec.rocketmq.expirationMinutes"),
    ("endpoints without a port", {"rocketmq": {"endpoints": "proxy"}}, "spec.rocketmq.endpoints"),
    ("endpoints with commas", {"rocketmq": {"endpoints": "a:1,b:2"}}, "spec.rocketmq.endpoints"),
    ("topic too long", {"rocketmq": {"requestTopic": "x" * 113}}, "spec.rocketmq.requestTopic"),
    ("reply topic too long", {"rocketmq": {"replyTopic": "x" * 112}}, "spec.rocketmq.replyTopic"),
    ("topic of odd characters", {"rocketmq": {"replyTopic": "a b"}}, "spec.rocketmq.replyTopic"),
    ("authority without TLS", {"rocketmq": {"caSecret": "ca"}}, "caSecret requires tls"),
    ("authority with TLS switched off", {"rocketmq": {"caSecret": "ca", "adminTls": False}}, "adminTls: true"),
    ("waiting longer than draining", {"drain": {"timeoutSeconds": 5, "turnWaitSeconds": 6}},
     "turnWaitSeconds must not exceed"),
    ("autoscaling without an end", {"autoscaling": {"sessionsPerPod": 100}}, "spec.autoscaling.maxReplicas"),
    ("the least above the most", {"autoscaling": {"minReplicas": 3, "maxReplicas": 2, "sessionsPerPod": 100}},
     "minReplicas must not exceed maxReplicas"),
    ("more than a gateway takes", {"autoscaling": {"maxReplicas": 2, "sessionsPerPod": 5001}},
     "must not exceed session.maxPerPod"),
    ("two buffers", {"autoscaling": {"maxReplicas": 2, "sessionsPerPod": 9, "buffer": 5, "bufferPercent": 5}},
     "exclude one another"),
    ("unknown policy", {"drain": {"policy": "Now"}}, "spec.drain.policy"),
    ("node port without NodePort", {"listen": {"nodePort": 30080}}, "nodePort requires serviceType"),
    ("traffic policy without NodePort", {"listen": {"externalTrafficPolicy": "Local"}}, "Policy requires"),
    ("port out of range", {"listen": {"port": 70000}}, "spec.listen.port"),
    ("endpoint without a model", {"workers": {"pipeline": {"responder": {"openai": {"baseUrl": "http://x"}}}}},
     "spec.workers.pipeline.responder.openai.model"),
    ("endpoint that is no URL",
     {"workers": {"pipeline": {"responder": {"openai": {**MODEL, "baseUrl": "models:8000"}}}}},
     "spec.workers.pipeline.responder.openai.baseUrl"),
    ("stages in both places",
     {"pipelines": [{"name": "a"}], "workers": {"pipeline": {"responder": {"openai": MODEL}}}},
     "workers.pipeline must not name stages, too"),
    ("two pipelines of one name", {"pipelines": [{"name": "a"}, {"name": "a"}]}, "spec.pipelines[1]"),
    ("a stage without a plug-in", {"pipelines": [{"name": "a", "responder": {"options": {}}}]},
     "spec.pipelines[0].responder.use"),
    ("resources that are no quantity", {"pod": {"resources": {"limits": {"memory": "much"}}}},
     "spec.pod.resources.limits.memory"),
    ("a folder of the node", {"pod": {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}}, "hostPath"),
    ("a volume without a source", {"workers": {"pod": {"volumes": [{"name": "a"}]}}},
     "spec.workers.pod.volumes[0]: Invalid value: volumes: each needs exactly one of"),
    ("a volume with two sources",
     {"pod": {"volumes": [{"name": "a", "emptyDir": {}, "secret": {"secretName": "s"}}]}}, "each needs exactly one of"),
    ("litevoice's own volume", {"pod": {"volumes": [{"name": "keys", "emptyDir": {}}]}}, "litevoice's own names"),
    ("litevoice's numbered volumes", {"pod": {"volumes": [{"name": "secret-3", "emptyDir": {}}]}},
     "litevoice's own names"),
    ("a mount of no volume", {"pod": {"volumeMounts": [{"name": "keys", "mountPath": "/x"}]}},
     "volumeMounts: each must name one of volumes"),
    ("a mount over litevoice's files",
     {"pod": {"volumes": [MODELS], "volumeMounts": [{"name": "models", "mountPath": "/etc/litevoice/keys"}]}},
     "mountPath must not be"),
    ("the same by a detour",
     {"pod": {"volumes": [MODELS], "volumeMounts": [{"name": "models", "mountPath": "/x/../etc/litevoice"}]}},
     "mountPath must not be"),
    ("a mount over everything",
     {"pod": {"volumes": [MODELS], "volumeMounts": [{"name": "models", "mountPath": "/"}]}}, "mountPath must not be"),
    ("a mount that covers them by another name",
     {"pod": {"volumes": [MODELS], "volumeMounts": [{"name": "models", "mountPath": "/etc/."}]}},
     "mountPath must not be"),
    ("litevoice's own variable", {"pod": {"env": [{"name": "LITEVOICE_CONFIG", "value": "/x"}]}}, "litevoice's own"),
    ("a variable of two sources",
     {"pod": {"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}},
     "env: each needs either value or valueFrom"),
    ("a variable from nowhere", {"pod": {"env": [{"name": "A", "valueFrom": {}}]}}, "valueFrom: exactly one of"),
    ("variables from nowhere", {"pod": {"envFrom": [{"prefix": "A_"}]}}, "envFrom: each needs exactly one of"),
    ("domains of a mere preference", {"pod": {"topologySpreadConstraints": [{"topologyKey": "zone", "minDomains": 2}]}},
     "minDomains requires whenUnsatisfiable DoNotSchedule"),
    ("a class of balancer for no balancer", {"listen": {"loadBalancerClass": "example.com/fast"}},
     "loadBalancerClass requires serviceType LoadBalancer"),
    ("workers' bounds in the wrong order", {"workers": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}},
     "minReplicas must not exceed maxReplicas"),
    ("expiry shorter than the broker allows", {"rocketmq": {"expirationMinutes": 14}},
     "spec.rocketmq.expirationMinutes"),
]  # fmt: skip


@pytest.mark.parametrize(("description", "spec", "field"), BAD_GATEWAYS, ids=[row[0] for row in BAD_GATEWAYS])
def test_bad_voice_gateways_are_refused(server: ApiServer, description: str, spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as caught:
        server.create(GATEWAYS, voice_gateway("bad", **spec))
    assert caught.value.status in (400, 422)
    assert field in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 51, "with.dots", "1st"])
def test_names_that_no_service_can_have(server: ApiServer, name: str) -> None:
    with pytest.raises(Refused, match=r"metadata\.name"):
        server.create(GATEWAYS, voice_gateway(name))


def test_the_smallest_voice_gateway_gets_every_default(server: ApiServer) -> None:
    spec = server.create(GATEWAYS, voice_gateway("smallest"))["spec"]
    assert (spec["replicas"], spec["workers"]["replicas"], spec["rocketmq"]["partitions"]) == (2, 2, 8)
    assert spec["drain"] == {"policy": "Auto", "timeoutSeconds": 60, "turnWaitSeconds": 2, "ratePerSecond": 200}
    assert spec["workers"]["pipeline"]["synthesizer"] == {"voice": "en"}
    assert spec["listen"] == {"port": 8080, "serviceType": "ClusterIP", "externalTrafficPolicy": "Cluster"}


def test_the_options_of_a_plug_in_are_kept_as_they_are(server: ApiServer) -> None:
    options = {"Database": "/data/x", "deep": {"list": [1, {"two": None}]}}
    pipelines = [{"name": "gpt-realtime", "responder": {"use": "bookings", "options": options}}, {"name": "a"}]
    spec = server.create(GATEWAYS, voice_gateway("with-pipelines", pipelines=pipelines))["spec"]
    assert spec["pipelines"] == pipelines


@pytest.mark.parametrize("tls", ["tls", "adminTls"])
def test_an_authority_is_for_proxies_or_brokers(server: ApiServer, tls: str) -> None:
    spec = server.create(GATEWAYS, voice_gateway(f"ca-for-{tls.lower()}", rocketmq={tls: True, "caSecret": "ca"}))[
        "spec"
    ]
    assert spec["rocketmq"]["caSecret"] == "ca"


IMMUTABLE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("partitions lowered", {"partitions": 4}, {"partitions": 3}, "partitions.*can be raised, never lowered"),
    ("partitions left out", {"partitions": 16}, {"partitions": None}, "partitions.*can be raised, never lowered"),
    ("brokers", {}, {"brokers": 2}, "brokers"),
    ("request topic changed", {"requestTopic": "a"}, {"requestTopic": "b"}, "requestTopic is immutable"),
    ("request topic added", {}, {"requestTopic": "b"}, "requestTopic is immutable"),
    ("reply topic removed", {"replyTopic": "a"}, {"replyTopic": None}, "replyTopic is immutable"),
]


@pytest.mark.parametrize(("description", "first", "then", "text"), IMMUTABLE, ids=[row[0] for row in IMMUTABLE])
def test_what_cannot_change(
    server: ApiServer, description: str, first: dict[str, Any], then: dict[str, Any], text: str
) -> None:
    name = description.replace(" ", "-")
    server.create(GATEWAYS, voice_gateway(name, rocketmq=first))
    with pytest.raises(Refused, match=text):
        server.merge(f"{GATEWAYS}/{name}", {"spec": {"rocketmq": then}})
    server.merge(f"{GATEWAYS}/{name}", {"spec": {"rocketmq": {"endpoints": "other:8081"}}})


def test_partitions_can_be_raised(server: ApiServer) -> None:
    server.create(GATEWAYS, voice_gateway("raised", rocketmq={"brokers": 2}))
    for number in (9, 9, 100):
        changed = server.merge(f"{GATEWAYS}/raised", {"spec": {"rocketmq": {"partitions": number}}})
        assert changed["spec"]["rocketmq"] == {**changed["spec"]["rocketmq"], "partitions": number, "brokers": 2}
    with pytest.raises(Refused, match="less than or equal to 100"):
        server.merge(f"{GATEWAYS}/raised", {"spec": {"rocketmq": {"partitions": 101}}})


def test_scale_subresource(server: ApiServer) -> None:
    server.create(GATEWAYS, voice_gateway("scaled"))
    server.merge(f"{GATEWAYS}/scaled/scale", {"spec": {"replicas": 7}})
    assert server.request("GET", f"{GATEWAYS}/scaled")["spec"]["replicas"] == 7


SILENCE = {"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-02T00:00:00Z", "author": "ann", "reason": "test"}
BAD_ALERTS: list[tuple[str, dict[str, Any], str]] = [
    ("no threshold", {"thresholds": []}, "spec.thresholds"),
    ("a threshold of nothing", {"thresholds": [{"severity": "info"}]}, "at least one of perSession, messages and age"),
    ("a bound of nothing for each session", {"thresholds": [{"severity": "info", "perSession": {}}]},
     "perSession: Invalid value"),
    ("a number of sessions over nothing", {"thresholds": [{"severity": "info", "messages": 1, "sessions": 3}]},
     "sessions counts those that are over perSession"),
    ("messages of a turn", {"target": "Turns"}, "spec: Invalid value: thresholds: with target Turns"),
    ("unknown severity", {"thresholds": [{"severity": "bad", "messages": 1}]}, "severity"),
    ("a severity twice",
     {"thresholds": [{"severity": "info", "messages": 1}, {"severity": "info", "messages": 2}]}, "Duplicate"),
    ("threshold zero", {"thresholds": [{"severity": "info", "messages": 0}]}, "messages"),
    ("unknown target", {"target": "Everything"}, "spec.target"),
    ("no gateway", {"gatewayRef": {}}, "spec.gatewayRef.name"),
    ("clearing above the threshold", {"clearBelowPercent": 101}, "spec.clearBelowPercent"),
    ("a list without end", {"top": 21}, "spec.top"),
    ("unknown field", {"route": []}, "spec.route"),
    ("a route that is no name", {"routes": ["https://chat"]}, "spec.routes[0]"),
    ("a silence without end", {"silences": [SILENCE | {"endsAt": None}]}, "endsAt"),
    ("a silence without an author", {"silences": [SILENCE | {"author": ""}]}, "spec.silences[0].author"),
    ("a silence of a year", {"silences": [SILENCE | {"endsAt": "2027-01-01T00:00:00Z"}]}, "at most 30 days later"),
    ("a silence that ends before it begins", {"silences": [SILENCE | {"endsAt": "2025-01-01T00:00:00Z"}]},
     "endsAt: after startsAt"),
    ("a runbook that is no URL", {"runbookUrl": "see the wiki"}, "spec.runbookUrl"),
]  # fmt: skip


@pytest.mark.parametrize(("description", "spec", "field"), BAD_ALERTS, ids=[row[0] for row in BAD_ALERTS])
def test_bad_alerts_are_refused(server: ApiServer, description: str, spec: dict[str, Any], field: str) -> None:
    alert = backlog_alert("bad", "demo", "Replies")
    alert["spec"] |= spec
    with pytest.raises(Refused) as caught:
        server.create(ALERTS, alert)
    assert caught.value.status in (400, 422)
    assert field in str(caught.value)


def test_everything_an_alert_may_have_is_accepted(server: ApiServer) -> None:
    alert = backlog_alert("full", "demo", "Turns", groupBy="Pod", maxAlerts=3, silences=[SILENCE], routes=["oncall"])
    alert["spec"] |= {
        "thresholds": [{"severity": "critical", "perSession": {"ageSeconds": 20}, "sessions": 5, "ageSeconds": 60}],
        "suppressDuringDrain": True,
        "runbookUrl": "https://runbooks/turns",
        "annotations": {"title": "{{session}} at {{pod}}"},
        "dryRun": True,
    }
    created = server.create(ALERTS, alert)
    assert created["spec"] == {**alert["spec"], "keepFiringForSeconds": 0, "clearBelowPercent": 80, "top": 5}


@pytest.mark.parametrize("file", sorted((REPOSITORY / "examples").rglob("*.yaml")), ids=lambda file: file.name)
def test_examples_are_accepted(server: ApiServer, file: Any) -> None:
    manifest: Json = yaml.safe_load(file.read_text())
    path = {"VoiceGateway": GATEWAYS, "BacklogAlert": ALERTS, "Secret": "/api/v1/namespaces/default/secrets"}
    assert server.create(path[manifest["kind"]], manifest)["metadata"]["uid"]


def test_kubectl_knows_short_names_category_and_columns(server: ApiServer) -> None:
    for plural, short_name, column in (("voicegateways", "vgw", "Gateways"), ("backlogalerts", "bla", "State")):
        names = next(
            resource
            for resource in server.request("GET", "/apis/litevoice.dev/v1alpha1")["resources"]
            if resource["name"] == plural
        )
        assert (names["shortNames"], names["categories"]) == ([short_name], ["litevoice"])
        definition = server.request(
            "GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.litevoice.dev"
        )
        columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        assert column in [entry["name"] for entry in columns]
