"""What the chart grants: to whom, in which namespaces, and who may reach what over the network."""

from __future__ import annotations

import json

import pytest
import yaml

from litevoice_operator.decide.permissions import NEEDED
from tests.unit.chart.charts import DEV, Chart, Manifest


def test_watched_namespaces_get_roles_instead_of_a_cluster_role(
    chart: Chart, defaults: dict[tuple[str, str], Manifest]
) -> None:
    result = chart.template('watchNamespaces=["a","b"]')
    documents = [d for d in yaml.safe_load_all(result.stdout) if d]
    roles = [d for d in documents if d["kind"] == "Role" and d["metadata"]["namespace"] != "ns"]
    bindings = [d for d in documents if d["kind"] == "RoleBinding" and d["metadata"]["namespace"] != "ns"]
    finalizer = [{"apiGroups": ["litevoice.dev"], "resources": ["voicegateways"], "verbs": ["patch"]}]
    everywhere = {d["metadata"]["name"]: d["rules"] for d in documents if d["kind"] == "ClusterRole"}
    assert everywhere.pop("ns-lv-litevoice-operator-finalizer") == finalizer
    assert sorted(everywhere) == [
        f"ns-lv-litevoice-operator-{role}" for role in ("manager", "nodes", "reviews", "viewer")
    ]
    assert [d["metadata"]["namespace"] for d in roles] == [d["metadata"]["namespace"] for d in bindings] == ["a", "b"]
    for role in roles:
        assert role["rules"] == defaults["ClusterRole", "ns-lv-litevoice-operator"]["rules"]
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "lv-litevoice-operator", "namespace": "ns"}]


@pytest.mark.parametrize(("role", "verbs"), [("viewer", ["get"]), ("manager", ["get", "update"])])
def test_who_sees_sessions_or_changes_them_may_do_nothing_else(
    defaults: dict[tuple[str, str], Manifest], role: str, verbs: list[str]
) -> None:
    account = {"kind": "ServiceAccount", "name": f"lv-litevoice-operator-{role}", "namespace": "ns"}
    bound = [
        name
        for (kind, name), manifest in defaults.items()
        if kind.endswith("RoleBinding") and account in manifest["subjects"]
    ]
    assert bound == [f"ns-lv-litevoice-operator-{role}"]
    (rule,) = defaults["ClusterRole", bound[0]]["rules"]
    assert rule == {"apiGroups": ["litevoice.dev"], "resources": ["voicegateways/sessions"], "verbs": verbs}


def test_the_operator_only_asks_who_somebody_is(defaults: dict[tuple[str, str], Manifest]) -> None:
    (operator,) = defaults["ClusterRoleBinding", "ns-lv-litevoice-operator-reviews"]["subjects"]
    assert operator["name"] == "lv-litevoice-operator"
    reviews = defaults["ClusterRole", "ns-lv-litevoice-operator-reviews"]["rules"]
    assert {verb for rule in reviews for verb in rule["verbs"]} == {"create"}


def test_network_policies(chart: Chart) -> None:
    prometheus = '{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}'
    made = chart.render(*DEV, 'watchNamespaces=["a"]', f"networkPolicies.metricsFrom=[{prometheus}]")
    policies = {name: made["NetworkPolicy", name]["spec"] for kind, name in made if kind == "NetworkPolicy"}
    (broker,) = policies["lv-litevoice-rocketmq"]["ingress"]
    assert {port["port"] for port in broker["ports"]} == {8080, 8081, 9876, 10911}
    components = [peer["podSelector"]["matchLabels"].get("app.kubernetes.io/component") for peer in broker["from"]]
    assert components == ["operator", None, "rocketmq"]
    assert broker["from"][1]["podSelector"]["matchLabels"] == {"app.kubernetes.io/managed-by": "litevoice-operator"}
    assert broker["from"][1]["namespaceSelector"] == {}
    clients, sealed, admin = policies["ns-lv-litevoice-operator"]["ingress"]
    assert sealed == {"ports": [{"port": 9443}], "from": admin["from"][:1]}
    assert clients == {"ports": [{"port": 8080}]}
    assert admin["ports"] == [{"port": 9090}]
    operator, scraper = admin["from"]
    assert operator["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "ns"}}
    assert operator["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    assert scraper == json.loads(prometheus)
    assert policies["lv-litevoice-operator"]["ingress"] == [{"ports": [{"port": 9090}], "from": [scraper]}]
    without = chart.render(*DEV, "networkPolicies.enabled=false")
    assert not [name for kind, name in without if kind == "NetworkPolicy"]


def test_what_doctor_asks_for_is_what_is_granted(defaults: dict[tuple[str, str], Manifest]) -> None:
    granted = {
        (group, resource): tuple(rule["verbs"])
        for rule in defaults["ClusterRole", "ns-lv-litevoice-operator"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted == NEEDED


def test_nothing_is_granted_by_wildcard(defaults: dict[tuple[str, str], Manifest]) -> None:
    granted = {
        (resource, verb)
        for rule in defaults["ClusterRole", "ns-lv-litevoice-operator"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert not [g for g in granted if "*" in "".join(g)]
    assert {verb for resource, verb in granted if resource == "secrets"} == {"create"}
    assert {verb for resource, verb in granted if resource == "pods"} == {"get", "list", "watch", "patch"}
    assert not {verb for _, verb in granted} & {"escalate", "bind", "impersonate", "deletecollection"}
