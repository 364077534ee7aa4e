"""What the operator's token is not good for: each row is refused, by RBAC or by the policies of the chart."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from litevoice_operator.api.labels import ACCEPTING_LABEL
from tests.integration.apiserver import ApiServer, Json, Refused, wait_until
from tests.integration.operator.process import Namespace, OperatorProcess, voice_gateway

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

USER = "operator"
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture(scope="module")
def home(operator_server: ApiServer, operator: OperatorProcess) -> Namespace:
    """With a VoiceGateway whose objects the operator has made, under the policies, and with things of others."""
    namespace = Namespace.new(operator_server)
    namespace.server.create(namespace.gateways, voice_gateway("web", rocketmq={"partitions": 1}))
    namespace.wait_condition(f"{namespace.gateways}/web", "Ready", "False", "GatewaysNotReady")
    secret = {"metadata": {"name": "others"}, "stringData": {"password": "secret"}}
    namespace.server.create(namespace.path("v1", "secrets"), secret)
    namespace.server.create(namespace.path("v1", "configmaps"), {"metadata": {"name": "web-others"}})
    return namespace


def owned(namespace: Namespace, kind: str, api: str, name: str, **content: Any) -> Json:
    """As the operator would make it for the VoiceGateway."""
    uid = (namespace.server.get(f"{namespace.gateways}/web") or {})["metadata"]["uid"]
    reference = {"apiVersion": "litevoice.dev/v1alpha1", "kind": "VoiceGateway", "name": "web", "uid": uid}
    owner = {**reference, "controller": True, "blockOwnerDeletion": True}
    labels = {"app.kubernetes.io/managed-by": "litevoice-operator"}
    metadata = {"name": name, "namespace": namespace.name, "labels": labels, "ownerReferences": [owner]}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}


def refused(namespace: Namespace, method: str, path: str, body: Json | None, text: str, kind: str = "") -> None:
    """`text`: of the policy that says so; of several that do, the API server tells of any."""
    with pytest.raises(Refused) as caught:
        namespace.server.request(method, path, body, kind or "application/json", user=USER)
    assert caught.value.status in (403, 422)
    assert any(one in str(caught.value) for one in text.split(" | ")), str(caught.value)


def test_it_reads_and_changes_no_secret(home: Namespace) -> None:
    for method, name, body in (
        ("GET", "/others", None), ("GET", "", None), ("DELETE", "/others", None),
        ("PATCH", "/others", {"metadata": {"labels": {"a": "b"}}}),
        ("PATCH", f"/{home.keys_secret('web')['metadata']['name']}", {"metadata": {"labels": {"a": "b"}}}),
    ):  # fmt: skip
        kind = "application/merge-patch+json" if method == "PATCH" else ""
        refused(home, method, home.path("v1", "secrets") + name, body, "cannot", kind)


CREATED: list[tuple[str, str, str, str, str, dict[str, Any], bool, str]] = [
    ("a Secret that carries a token", "v1", "Secret", "secrets", "web-token",
     {"type": "kubernetes.io/service-account-token"}, True, "Opaque"),
    ("a Secret of nobody", "v1", "Secret", "secrets", "web-mine", {}, False, "a VoiceGateway controls"),
    ("a Secret that is named after nothing", "v1", "Secret", "secrets", "other", {}, True, "named after"),
    ("a Service that leads elsewhere", "v1", "Service", "services", "web-away",
     {"spec": {"type": "ExternalName", "externalName": "evil.example.com"}}, True, "lead traffic elsewhere"),
    ("a Service that takes an address", "v1", "Service", "services", "web-away",
     {"spec": {"ports": [{"port": 80}], "externalIPs": ["10.0.0.1"]}}, True, "lead traffic elsewhere"),
    ("a Role to make Secrets", f"{RBAC}/v1", "Role", "roles", "web-secrets",
     {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]}, True, "EndpointSlices"),
    ("a RoleBinding for a person", f"{RBAC}/v1", "RoleBinding", "rolebindings", "web-worker-2",
     {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "web-worker"},
      "subjects": [{"kind": "User", "name": "eve", "apiGroup": RBAC}]}, True, "binds a worker's Role"),
    ("a ConfigMap of nobody", "v1", "ConfigMap", "configmaps", "web-mine", {}, False, "a VoiceGateway controls"),
    ("a ServiceAccount of nobody", "v1", "ServiceAccount", "serviceaccounts", "web-mine", {}, False, "controls"),
]  # fmt: skip


@pytest.mark.parametrize(("description", "api", "kind", "plural", "name", "content", "by_gateway", "text"), CREATED,
                         ids=[row[0] for row in CREATED])  # fmt: skip
def test_it_makes_no(
    home: Namespace, description: str, api: str, kind: str, plural: str, name: str, content: dict[str, Any],
    by_gateway: bool, text: str,
) -> None:  # fmt: skip
    body = owned(home, kind, api, name, **content)
    body["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    if not by_gateway:
        del body["metadata"]["ownerReferences"]
    refused(home, "POST", home.path(api, plural), body, text)


def volume(**source: Any) -> Json:
    return {"name": "more", **source}


PODS: list[tuple[str, str, Any, str]] = [
    ("a Secret that the VoiceGateway does not name", "volumes", [volume(secret={"secretName": "others"})],
     "their VoiceGateway names"),
    ("the keys of a VoiceGateway called web-keys", "volumes",
     [volume(secret={"secretName": "web-keys-keys-0123456789"})], "their VoiceGateway names"),
    ("a folder of the node", "volumes", [volume(hostPath={"path": "/"})], "nothing of the node"),
    ("a projected token", "volumes", [volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]})],
     "nothing of the node"),
    ("a ConfigMap of others", "volumes", [volume(configMap={"name": "web-others"})], "only their own ConfigMap"),
    ("a claim of others", "volumes", [volume(persistentVolumeClaim={"claimName": "others"})], "claims that their"),
    ("another ServiceAccount", "serviceAccountName", "default", "their own ServiceAccount | only their own ConfigMap"),
    ("the workers' ServiceAccount", "serviceAccountName", "web-worker",
     "their own ServiceAccount | only their own ConfigMap"),
    ("the node's network", "hostNetwork", True, "share nothing with their node"),
    ("an init container", "initContainers", [{"name": "i", "image": "i"}], "one container"),
    ("a second container", "containers", [{"name": "i", "image": "i"}, {"name": "j", "image": "j"}], "no privileges"),
    ("an environment from a Secret", "containers",
     [{"name": "g", "image": "g", "securityContext": {"allowPrivilegeEscalation": False},
       "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "others", "key": "password"}}}]}],
     "environment only from"),
    ("an environment that is a Secret", "containers",
     [{"name": "g", "image": "g", "securityContext": {"allowPrivilegeEscalation": False},
       "envFrom": [{"secretRef": {"name": "others"}}]}], "environment only from"),
    ("an environment that is a ConfigMap", "containers",
     [{"name": "g", "image": "g", "securityContext": {"allowPrivilegeEscalation": False},
       "envFrom": [{"configMapRef": {"name": "web-others"}}]}], "environment only from"),
    ("a root user", "securityContext", {"runAsNonRoot": None}, "not root"),
]  # fmt: skip


@pytest.mark.parametrize(("description", "field", "value", "text"), PODS, ids=[row[0] for row in PODS])
def test_its_pods_have_no(home: Namespace, description: str, field: str, value: Any, text: str) -> None:
    made = home.gateway_set("web")
    path = home.path("apps/v1", "replicasets", made["metadata"]["name"])
    if field == "volumes":  # beside those that it has
        value = [*made["spec"]["template"]["spec"]["volumes"], *value]
    patch = {"spec": {"template": {"spec": {field: value}}}}
    refused(home, "PATCH", f"{path}?dryRun=All", patch, text, "application/merge-patch+json")


def test_what_it_makes_is_accepted_and_a_forged_owner_is_not(home: Namespace) -> None:
    """Under the same policies, so the rows above are refused for what they say."""
    found = home.gateway_set("web")
    path = home.path("apps/v1", "replicasets", found["metadata"]["name"]) + "?dryRun=All"
    harmless = {"spec": {"replicas": 3}}
    home.server.request("PATCH", path, harmless, "application/merge-patch+json", user=USER)
    forged = copy.deepcopy(owned(home, "ReplicaSet", "apps/v1", "web-gateway-2", spec=found["spec"]))
    posted = home.path("apps/v1", "replicasets")
    home.server.request("POST", f"{posted}?dryRun=All", forged, user=USER)  # it is refused for its owner alone
    forged["metadata"]["ownerReferences"][0]["uid"] = "00000000-0000-0000-0000-000000000000"
    refused(home, "POST", posted, forged, "their VoiceGateway names")


def test_it_keeps_gateways_by_replica_sets_and_workers_by_a_deployment(home: Namespace) -> None:
    """Nothing else may it make of them."""
    gateways, workers = home.gateway_set("web"), home.get("apps/v1", "deployments", "web-worker") or {}
    for kind, plural, name, spec in (
        ("Deployment", "deployments", "web-gateway", gateways["spec"]),
        ("ReplicaSet", "replicasets", "web-worker-2", workers["spec"]),
        ("ReplicaSet", "replicasets", "web-others", gateways["spec"]),
    ):
        of_pods = {name: spec[name] for name in ("replicas", "selector", "template")}
        body = owned(home, kind, "apps/v1", name, spec=of_pods)
        refused(home, "POST", home.path("apps/v1", plural), body, "their own ServiceAccount")


@pytest.fixture
def asleep(operator: OperatorProcess) -> Iterator[None]:
    """What it would do itself does not come in between."""
    os.kill(operator.pid, signal.SIGSTOP)
    yield
    os.kill(operator.pid, signal.SIGCONT)


@pytest.mark.usefixtures("asleep")
def test_it_adopts_only_what_its_own_deployment_has_left(home: Namespace) -> None:
    merge, found = "application/merge-patch+json", home.gateway_set("web")
    path = home.path("apps/v1", "replicasets")
    mine = {"metadata": {"ownerReferences": owned(home, "", "", "")["metadata"]["ownerReferences"]}}

    def left(name: str, **labels: str) -> str:
        marks = {**found["metadata"]["labels"], **labels}
        body = {"metadata": {"name": name, "labels": marks}, "spec": {**found["spec"], "replicas": 0}}
        home.server.create(path, body)
        return f"{path}/{name}"

    good = left("web-gateway-left")
    either = "a VoiceGateway controls | their own ServiceAccount"
    refused(home, "PATCH", good, {"spec": {"replicas": 1}}, either, merge)
    refused(home, "PATCH", good, {**mine, "spec": {"replicas": 1}}, "a VoiceGateway controls", merge)
    home.server.request("PATCH", f"{good}?dryRun=All", mine, merge, user=USER)
    for name, labels, text in (
        ("web-gateway-b", {"app.kubernetes.io/managed-by": "others"}, "a VoiceGateway controls | are its own"),
        ("web-gateway-c", {"app.kubernetes.io/instance": "shop"}, "a VoiceGateway controls"),
    ):
        refused(home, "PATCH", left(name, **labels), mine, text, merge)
    for name in ("web-gateway-left", "web-gateway-b", "web-gateway-c"):
        home.server.request("DELETE", f"{path}/{name}")


def test_it_takes_over_and_deletes_nothing_of_others(home: Namespace) -> None:
    labels = {"app": "others"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    path = home.path("apps/v1", "deployments")
    home.server.create(path, {"metadata": {"name": "web-others"}, "spec": spec})
    refused(home, "DELETE", f"{path}/web-others", None, "a VoiceGateway controls")
    home.server.create(home.path("apps/v1", "replicasets"), {"metadata": {"name": "web-others"}, "spec": spec})
    for api, plural in (("v1", "configmaps"), ("apps/v1", "deployments"), ("apps/v1", "replicasets")):
        adopt = {"metadata": owned(home, "", "", "web-others")["metadata"]}
        refused(home, "PATCH", home.path(api, plural, "web-others"), adopt, "", "application/merge-patch+json")


def test_of_pods_it_writes_what_their_deletion_costs_and_whether_they_accept(home: Namespace) -> None:
    merge, cost = "application/merge-patch+json", "controller.kubernetes.io/pod-deletion-cost"
    home.make_pod("web-gateway-1", "web", "gateway", "node-1")
    path = home.path("v1", "pods", "web-gateway-1")
    for value in ("-1", None):
        home.server.request("PATCH", path, {"metadata": {"annotations": {cost: value}}}, merge, user=USER)
    for label in ("false", "true"):
        home.server.request("PATCH", path, {"metadata": {"labels": {ACCEPTING_LABEL: label}}}, merge, user=USER)
    for patch in (
        {"metadata": {"labels": {ACCEPTING_LABEL: "maybe"}}},
        {"metadata": {"labels": {ACCEPTING_LABEL: None}}},
        {"metadata": {"labels": {"other": "x"}}},
        {"metadata": {"annotations": {"other": "x"}}},
        {"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}},
        {"metadata": {"finalizers": ["example.com/x"]}},
        {"spec": {"containers": [{"name": "gateway", "image": "evil"}]}},
    ):
        refused(home, "PATCH", path, patch, "how much their deletion costs", merge)
    foreign = {"metadata": {"name": "foreign"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    home.server.create(home.path("v1", "pods"), foreign)
    mark = {"metadata": {"annotations": {cost: "-1"}}}
    refused(home, "PATCH", home.path("v1", "pods", "foreign"), mark, "how much their deletion costs", merge)


def test_it_writes_no_spec_of_users(home: Namespace) -> None:
    path, merge = f"{home.gateways}/web", "application/merge-patch+json"
    refused(home, "PATCH", path, {"spec": {"auth": {"apiKeysSecret": "others"}}}, "what users write is theirs", merge)
    home.server.request("PATCH", path, {"metadata": {"annotations": {"a": "b"}}}, merge, user=USER)


def test_the_policies_are_for_the_operator_only(home: Namespace) -> None:
    """Others make what they like, where there are VoiceGateways and where there are none."""
    labels = {"app": "others"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    body = {"metadata": {"name": "free"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    for namespace in (home, Namespace.new(home.server)):
        namespace.server.create(namespace.path("apps/v1", "deployments"), body)


def test_its_deployments_and_replica_sets_bear_its_label(home: Namespace) -> None:
    """Without it, the policy that looks at VoiceGateways would not be asked."""
    patch = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
    for plural, name in (("deployments", "web-worker"), ("replicasets", home.gateway_set("web")["metadata"]["name"])):
        path = f"{home.path('apps/v1', plural, name)}?dryRun=All"
        refused(home, "PATCH", path, patch, "say that they are its own", "application/merge-patch+json")


def test_what_the_spec_names_later_is_used(home: Namespace) -> None:
    """The policies learn of a changed VoiceGateway a moment later than the operator: it tries again."""
    mounts = [{"name": name, "mountPath": f"/models/{name}"} for name in ("texts", "data")]
    pod: dict[str, Any] = {
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "others", "key": "password"}}}],
        "envFrom": [{"configMapRef": {"name": "web-others"}, "prefix": "MORE_"}],
        "volumes": [{"name": "texts", "configMap": {"name": "web-others"}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "volumeMounts": mounts,
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}}},
        "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "imagePullPolicy": "Always",
    }  # fmt: skip
    home.server.merge(f"{home.gateways}/web", {"spec": {"auth": {"apiKeysSecret": "others"}, "pod": pod}})

    def template() -> Json:
        found: Json = home.gateway_sets("web")[-1]["spec"]["template"]["spec"]
        return found

    def mounted() -> bool:
        return any(v.get("secret", {}).get("secretName") == "others" for v in template()["volumes"])

    wait_until(mounted, "the Secret to be mounted")
    made = template()
    (container,) = made["containers"]
    assert container["env"][-1] == pod["env"][0]
    assert (container["envFrom"], container["imagePullPolicy"]) == (pod["envFrom"], "Always")
    assert container["volumeMounts"][-2:] == mounts
    assert made["affinity"] == pod["affinity"]
    assert [spread["topologyKey"] for spread in made["topologySpreadConstraints"]] == ["zone"]
    assert home.condition(f"{home.gateways}/web", "Ready")["reason"] != "ApplyFailed"
