"""What the Helm chart makes of its values, through helm itself, without a cluster."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from litevoice_contracts.settings import BrokerSettings

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "litevoice"
DEV = ("rocketmq.dev.enabled=true",)
OWN = ("rocketmq.endpoints=p:8081", "rocketmq.nameServer=n:9876")

Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def helm() -> str:
    """The helm that our scripts use; built once where it is missing."""
    found = subprocess.run([ROOT / "scripts" / "install-helm"], stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()


class Chart:
    def __init__(self, helm: str) -> None:
        self._helm = helm

    def template(self, *values: str) -> subprocess.CompletedProcess[str]:
        command = [self._helm, "template", "lv", str(CHART), "--namespace", "ns", "--kube-version", "1.37.0"]
        arguments = [part for value in values for part in ("--set-json" if "=[" in value else "--set", value)]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)

    def render(self, *values: str) -> dict[tuple[str, str], Manifest]:
        """Manifests by kind and name."""
        result = self.template(*values)
        assert result.returncode == 0, result.stderr
        documents = [d for d in yaml.safe_load_all(result.stdout) if d]
        return {(d["kind"], d["metadata"]["name"]): d for d in documents}

    def lint(self) -> subprocess.CompletedProcess[str]:
        command = [self._helm, "lint", "--strict", "--kube-version", "1.37.0", str(CHART)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def chart(helm: str) -> Chart:
    return Chart(helm)


@pytest.fixture(scope="session")
def defaults(chart: Chart) -> dict[tuple[str, str], Manifest]:
    return chart.render()


@pytest.fixture(scope="session")
def with_rocketmq(chart: Chart) -> dict[tuple[str, str], Manifest]:
    return chart.render(*DEV)


def test_lint(chart: Chart) -> None:
    result = chart.lint()
    assert result.returncode == 0, result.stdout


def test_crds_are_not_the_charts() -> None:
    """They have one way in. Helm would install this folder's once and never upgrade them."""
    assert not (CHART / "crds").exists()


def test_default_objects(defaults: dict[tuple[str, str], Manifest]) -> None:
    assert set(defaults) == {
        ("ServiceAccount", "lv-litevoice-operator"),
        ("Secret", "lv-litevoice-root-key"),
        ("ClusterRole", "ns-lv-litevoice-operator"),
        ("ClusterRoleBinding", "ns-lv-litevoice-operator"),
        ("Service", "lv-litevoice-operator-metrics"),
        ("Deployment", "lv-litevoice-operator"),
    }


# ---- values that are refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "field"),
    [
        pytest.param("gatewy.image.tag=1", "'gatewy' not allowed", id="unknown name"),
        pytest.param("operator.imge=1", "/operator", id="unknown name further down"),
        pytest.param("operator.logLevel=loud", "/operator/logLevel", id="unknown level"),
        pytest.param("imagePullPolicy=Sometimes", "/imagePullPolicy", id="unknown pull policy"),
        pytest.param("operator.image.repository=Foo", "/operator/image/repository", id="upper case repository"),
        pytest.param("worker.image.repository=a/b:1", "/worker/image/repository", id="tag in the repository"),
        pytest.param("gateway.image.tag=a b", "/gateway/image/tag", id="space in a tag"),
        pytest.param("rocketmq.endpoints=proxy", "/rocketmq/endpoints", id="endpoint without a port"),
        pytest.param("rocketmq.endpoints=::1:8081", "/rocketmq/endpoints", id="IPv6 without brackets"),
        pytest.param("rocketmq.nameServer=http://a:9876", "/rocketmq/nameServer", id="URL as a name server"),
        pytest.param("rocketmq.adminTls=yes please", "/rocketmq/adminTls", id="TLS not a boolean"),
        pytest.param("rocketmq.credentialsSecret=A", "/rocketmq/credentialsSecret", id="illegal credentials Secret"),
        pytest.param("rocketmq.caSecret=a b", "/rocketmq/caSecret", id="illegal authority Secret"),
        pytest.param("rocketmq.dev.enabled=maybe", "/rocketmq/dev/enabled", id="not a boolean"),
        pytest.param("rocketmq.dev.broker.heap=512Mi", "/rocketmq/dev/broker/heap", id="Kubernetes unit for Java"),
        pytest.param("rocketmq.dev.persistence.size=5", "/rocketmq/dev/persistence/size", id="size without unit"),
        pytest.param("operator.resources.limits.memory=lots", "/operator/resources/limits/memory", id="no quantity"),
        pytest.param('watchNamespaces=["A"]', "/watchNamespaces/0", id="illegal namespace"),
        pytest.param('watchNamespaces=["a","a"]', "/watchNamespaces", id="namespace twice"),
        pytest.param("fullnameOverride=-a", "/fullnameOverride", id="illegal name"),
        pytest.param("rootKey.existingSecret=A", "/rootKey/existingSecret", id="illegal Secret name"),
    ],
)
def test_wrong_value_is_refused_and_the_field_named(chart: Chart, value: str, field: str) -> None:
    result = chart.template(value)
    assert result.returncode != 0
    assert field in result.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            (*DEV, "rocketmq.endpoints=a:1", "rocketmq.nameServer=a:2"),
            "rocketmq.endpoints and rocketmq.nameServer must be empty",
            id="own RocketMQ and another one",
        ),
        pytest.param(("rocketmq.endpoints=a:1",), "rocketmq.nameServer belong together", id="no name server"),
        pytest.param(("rocketmq.nameServer=a:1",), "rocketmq.endpoints and", id="no proxy"),
        pytest.param(
            (*DEV, "rocketmq.credentialsSecret=mq"),
            "rocketmq.credentialsSecret needs rocketmq.nameServer",
            id="credentials for the development RocketMQ",
        ),
        pytest.param(("rocketmq.adminTls=true",), "rocketmq.adminTls needs rocketmq.nameServer", id="TLS to nobody"),
        pytest.param((*OWN, "rocketmq.caSecret=mq-ca"), "rocketmq.caSecret needs rocketmq.adminTls", id="no TLS"),
    ],
)
def test_contradicting_values(chart: Chart, values: tuple[str, ...], message: str) -> None:
    result = chart.template(*values)
    assert result.returncode != 0
    assert message in result.stderr


def test_schema_knows_every_value_and_no_other() -> None:
    """A value without a schema would not be checked; one in the schema alone would do nothing."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def described(node: Manifest) -> Manifest:
        reference = node.get("$ref", "")
        return dict(schema["$defs"][reference.removeprefix("#/$defs/")]) if reference else node

    def compare(path: str, node: Manifest, value: object) -> Iterator[str]:
        node = described(node)
        if not isinstance(value, dict) or "properties" not in node:
            return
        assert node["additionalProperties"] is False, path
        yield from (f"{path}.{name}" for name in node["properties"].keys() ^ value.keys())
        for name in node["properties"].keys() & value.keys():
            yield from compare(f"{path}.{name}", node["properties"][name], value[name])

    # Helm itself adds `global` when the chart is part of another one.
    assert set(compare("", schema, values)) == {".global"}


def test_every_value_is_commented() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    resources = {"requests", "limits", "cpu", "memory", "resources"}
    bare = []
    for before, line in itertools.pairwise(lines):
        name, colon, content = line.strip().partition(":")
        is_leaf = bool(colon) and content.strip() != "" and not line.strip().startswith("#")
        if is_leaf and name not in resources and not before.strip().startswith("#"):
            bare.append(line)
    assert bare == []


# ---- operator --------------------------------------------------------------------------------------------------


def environment(container: Manifest) -> dict[str, str]:
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}


def operator_container(manifests: dict[tuple[str, str], Manifest]) -> Manifest:
    (container,) = manifests["Deployment", "lv-litevoice-operator"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def test_operator_gets_what_it_asks_for(chart: Chart) -> None:
    manifests = chart.render(
        "operator.image.tag=v7",
        "gateway.image.repository=registry.example.com:5000/team/gateway",
        "gateway.image.tag=v8",
        "rocketmq.endpoints=p1:8081;[fd00::1]:8081",
        "rocketmq.nameServer=n:9876",
        "operator.logLevel=debug",
        'watchNamespaces=["a","b"]',
    )
    container = operator_container(manifests)
    assert container["image"] == "litevoice/operator:v7"
    assert environment(container) == {
        "GATEWAY_IMAGE": "registry.example.com:5000/team/gateway:v8",
        "WORKER_IMAGE": f"litevoice/worker:{yaml.safe_load((CHART / 'Chart.yaml').read_text())['appVersion']}",
        "ROCKETMQ_ENDPOINTS": "p1:8081;[fd00::1]:8081",
        "ROCKETMQ_NAME_SERVER": "n:9876",
        "ROCKETMQ_ADMIN_TLS": "false",
        "WATCH_NAMESPACES": "a,b",
        "ROOT_KEY_FILE": "/etc/litevoice/root-key/root-key",
        "LOG_LEVEL": "debug",
    }


def test_operator_gets_the_broker_secrets_as_files_and_no_right_to_read_any(chart: Chart) -> None:
    plain = chart.render(*OWN)
    manifests = chart.render(*OWN, "rocketmq.credentialsSecret=mq", "rocketmq.adminTls=true", "rocketmq.caSecret=mq-ca")
    container = operator_container(manifests)
    given = environment(container)
    assert given["ROCKETMQ_ADMIN_TLS"] == "true"
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {
        v["name"]: v for v in manifests["Deployment", "lv-litevoice-operator"]["spec"]["template"]["spec"]["volumes"]
    }
    files: dict[str, tuple[str, str]] = {}
    for name in ("broker", "broker-ca"):
        assert mounts[name]["readOnly"] is True
        secret = volumes[name]["secret"]
        files |= {
            f"{mounts[name]['mountPath']}/{item['path']}": (secret["secretName"], item["key"])
            for item in secret["items"]
        }
    assert files == {
        f"{given['ROCKETMQ_CREDENTIALS_DIR']}/accessKey": ("mq", "accessKey"),
        f"{given['ROCKETMQ_CREDENTIALS_DIR']}/secretKey": ("mq", "secretKey"),
        given["ROCKETMQ_CA_FILE"]: ("mq-ca", "ca.crt"),
    }
    assert {mount["name"] for mount in operator_container(plain)["volumeMounts"]} == {"root-key", "tmp"}
    role = ("ClusterRole", "ns-lv-litevoice-operator")
    assert manifests[role] == plain[role]
    verbs = [verb for rule in plain[role]["rules"] if "secrets" in rule["resources"] for verb in rule["verbs"]]
    assert sorted(verbs) == ["create", "patch"]


def test_only_one_operator_at_a_time(defaults: dict[tuple[str, str], Manifest]) -> None:
    spec = defaults["Deployment", "lv-litevoice-operator"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def pods(manifests: dict[tuple[str, str], Manifest]) -> list[Manifest]:
    return [
        m["spec"]["template"]["spec"] for (kind, _), m in manifests.items() if kind in ("Deployment", "StatefulSet")
    ]


def test_rocketmq_runs_as_the_user_who_can_read_the_images_jars(chart: Chart) -> None:
    rendered = chart.render(*DEV, "rocketmq.dev.userId=3000")
    users = [pod["securityContext"] for pod in pods(rendered)]
    assert sorted((u["runAsUser"], u["runAsGroup"], u["fsGroup"]) for u in users) == [(3000,) * 3, (65532,) * 3]


def test_pods_are_restricted(with_rocketmq: dict[tuple[str, str], Manifest]) -> None:
    """The Pod Security Standard `restricted`, and a read-only root file system on top."""
    assert len(pods(with_rocketmq)) == 2
    for pod in pods(with_rocketmq):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_pull_secrets(chart: Chart) -> None:
    manifests = chart.render(*DEV, 'imagePullSecrets=["one","two"]')
    wanted = [{"name": "one"}, {"name": "two"}]
    assert manifests["ServiceAccount", "lv-litevoice-operator"]["imagePullSecrets"] == wanted
    assert manifests["StatefulSet", "lv-litevoice-rocketmq"]["spec"]["template"]["spec"]["imagePullSecrets"] == wanted


def test_root_key_is_random_and_kept(chart: Chart) -> None:
    secrets = [chart.render()["Secret", "lv-litevoice-root-key"] for _ in range(2)]
    keys = [base64.b64decode(s["data"]["root-key"]) for s in secrets]
    assert keys[0] != keys[1]
    assert all(len(base64.b64decode(key)) == 48 for key in keys)
    assert secrets[0]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_root_key_of_the_user(chart: Chart) -> None:
    manifests = chart.render("rootKey.existingSecret=mine")
    assert not [name for kind, name in manifests if kind == "Secret"]
    volumes = manifests["Deployment", "lv-litevoice-operator"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "root-key", "secret": {"secretName": "mine", "defaultMode": 0o440}} in volumes


# ---- RBAC ------------------------------------------------------------------------------------------------------


def test_watched_namespaces_get_roles_instead_of_a_cluster_role(
    chart: Chart, defaults: dict[tuple[str, str], Manifest]
) -> None:
    result = chart.template('watchNamespaces=["a","b"]')
    documents = [d for d in yaml.safe_load_all(result.stdout) if d]
    roles = [d for d in documents if d["kind"] == "Role"]
    bindings = [d for d in documents if d["kind"] == "RoleBinding"]
    assert not [d for d in documents if d["kind"].startswith("ClusterRole")]
    assert [d["metadata"]["namespace"] for d in roles] == [d["metadata"]["namespace"] for d in bindings] == ["a", "b"]
    for role in roles:
        assert role["rules"] == defaults["ClusterRole", "ns-lv-litevoice-operator"]["rules"]
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "lv-litevoice-operator", "namespace": "ns"}]


def test_nothing_is_granted_by_wildcard(defaults: dict[tuple[str, str], Manifest]) -> None:
    granted = {
        (resource, verb)
        for rule in defaults["ClusterRole", "ns-lv-litevoice-operator"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert not [g for g in granted if "*" in "".join(g)]
    assert {verb for resource, verb in granted if resource == "secrets"} == {"create", "patch"}
    assert {verb for resource, verb in granted if resource == "pods"} == {"get", "list", "watch"}
    assert not {verb for _, verb in granted} & {"escalate", "bind", "impersonate", "deletecollection"}


# ---- development RocketMQ --------------------------------------------------------------------------------------


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
