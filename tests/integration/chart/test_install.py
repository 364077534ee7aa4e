"""The chart on a real API server: install, upgrade, removal, what becomes of the CRDs, what the operator may do."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.apiserver import (
    CRDS,
    ApiServer,
    Json,
    Refused,
    clean_environment,
    decoded,
    programs,
)
from tests.integration.operator.process import RESOURCES, voice_gateway

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "litevoice"
NAMESPACE = "litevoice-system"
GATEWAYS = "voicegateways.litevoice.dev"
INSTALL_CRDS = "kubectl apply --server-side -f crds/"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:litevoice-operator"

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("chart-api"), programs())
    try:
        server.start()
        server.start_garbage_collector()
        for namespace in ("one", "two"):
            server.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield server
    finally:
        server.stop()


class Helm:
    def __init__(self, server: ApiServer, folder: Path) -> None:
        found = subprocess.run([ROOT / "scripts" / "install-helm"], stdout=subprocess.PIPE, text=True, check=True)
        self._program = found.stdout.strip()
        self._environment = clean_environment(KUBECONFIG=str(server.kubeconfig), HELM_CACHE_HOME=str(folder))

    def __call__(self, *arguments: str, namespace: str = NAMESPACE) -> str:
        """Standard output; raises AssertionError with what helm said."""
        command = [self._program, *arguments, "--namespace", namespace]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def install(self, *values: str, release: str = "litevoice", namespace: str = NAMESPACE, chart: Path = CHART) -> str:
        settings = [part for value in ("watchNamespaces={*}", *values) for part in ("--set", value)]
        return self("upgrade", "--install", "--create-namespace", release, str(chart), *settings, namespace=namespace)


@pytest.fixture
def helm(server: ApiServer, tmp_path: Path) -> Iterator[Helm]:
    """Everything that the releases leave behind on purpose is removed after the test."""
    helm = Helm(server, tmp_path)
    yield helm
    for release in json.loads(helm("list", "--all-namespaces", "--output", "json")):
        helm("uninstall", release["name"], namespace=release["namespace"])
    server.remove_definitions()
    if server.get(root_key_path()):
        server.request("DELETE", root_key_path())


def root_key_path(namespace: str = NAMESPACE) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/litevoice-root-key"


def root_key(server: ApiServer) -> str:
    secret = server.get(root_key_path())
    assert secret
    return decoded(secret)["root-key"]


# ---- CRDs ------------------------------------------------------------------------------------------------------


def test_missing_crds_are_told_with_the_command(server: ApiServer, helm: Helm) -> None:
    notes = helm.install()
    assert "THE CRDs ARE MISSING" in notes
    assert INSTALL_CRDS in notes
    server.install_definitions()
    assert "MISSING" not in helm.install()


def chart_that_carries_crds(folder: Path) -> Path:
    """As it was before the CRDs had one way in: in a template, with the annotation that keeps them. Its CRD lacks a
    field."""
    chart = Path(shutil.copytree(CHART, folder / "litevoice"))
    crds = [yaml.safe_load(file.read_text()) for file in CRDS.glob("*.yaml")]
    for crd in crds:
        crd["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
        if crd["metadata"]["name"] == GATEWAYS:
            del spec_fields(crd)["audio"]
    (chart / "templates" / "crds.yaml").write_text(yaml.safe_dump_all(crds))
    return chart


def spec_fields(crd: Json) -> Json:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields: Json = schema["properties"]["spec"]["properties"]
    return fields


def test_an_upgrade_from_a_chart_that_carried_the_crds(server: ApiServer, helm: Helm, tmp_path: Path) -> None:
    helm.install(chart=chart_that_carries_crds(tmp_path))
    path = f"{RESOURCES}/one/voicegateways"
    server.kubectl("wait", "--for=condition=Established", f"crd/{GATEWAYS}", "--timeout=60s")
    uid = server.create(path, voice_gateway("demo"))["metadata"]["uid"]

    def kept() -> bool:
        return bool(server.request("GET", f"{path}/demo")["metadata"]["uid"] == uid)

    helm.install()
    assert "audio" not in spec_fields(server.definitions()[GATEWAYS]), "helm neither removes nor changes it"
    assert kept()
    with pytest.raises(AssertionError, match="conflict with"):
        server.install_definitions()
    server.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    assert "audio" in spec_fields(server.definitions()[GATEWAYS])
    server.install_definitions()  # once is enough
    assert kept()
    helm("uninstall", "litevoice")
    assert kept()


# ---- root key --------------------------------------------------------------------------------------------------


def test_the_root_key_outlives_the_release(server: ApiServer, helm: Helm) -> None:
    helm.install()
    key = root_key(server)
    helm("uninstall", "litevoice")
    helm.install()
    assert root_key(server) == key


def test_an_upgrade_keeps_the_root_key(server: ApiServer, helm: Helm) -> None:
    helm.install()
    key = root_key(server)
    assert len(key) == 64
    helm.install("operator.logLevel=debug")
    assert root_key(server) == key


# ---- what the API server says to the objects -------------------------------------------------------------------


def test_pods_are_admitted_where_only_restricted_ones_are(server: ApiServer, helm: Helm) -> None:
    helm.install("rocketmq.dev.enabled=true")
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    server.merge(f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"labels": level}})
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldValidation=Strict"
    with pytest.raises(Refused, match="violates PodSecurity"):  # the level is really in force
        server.request("POST", pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    for path in ("deployments/litevoice-operator", "statefulsets/litevoice-rocketmq"):
        template = server.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/{path}")["spec"]["template"]
        spec = template["spec"]
        for claim in {m["name"] for c in spec["containers"] for m in c["volumeMounts"]} - {
            v["name"] for v in spec["volumes"]
        }:
            spec["volumes"].append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
        server.request("POST", pods, {"metadata": {"name": "probe", **template["metadata"]}, "spec": spec})


# ---- RBAC ------------------------------------------------------------------------------------------------------


def may(server: ApiServer, verb: str, resource: str, namespace: str, user: str = OPERATOR) -> bool:
    """`resource` is `name.group`; the API server's own answer."""
    name, _, group = resource.partition(".")
    attributes = {"verb": verb, "resource": name, "group": group, "namespace": namespace}
    review = {"spec": {"user": user, "resourceAttributes": attributes}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(server.request("POST", path, review)["status"]["allowed"])


def test_operator_may_what_it_needs_everywhere(server: ApiServer, helm: Helm) -> None:
    helm.install()
    for verb, resource in [
        ("watch", GATEWAYS),
        ("patch", "deployments.apps"),
        ("create", "secrets"),
        ("list", "pods"),
    ]:
        assert may(server, verb, resource, "one"), (verb, resource)
    for verb, resource in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("patch", "secrets"),
        ("update", "secrets"),
        ("delete", "secrets"),
        ("create", "pods"),
        ("get", "customresourcedefinitions.apiextensions.k8s.io"),
        ("delete", "nodes"),
        ("escalate", "roles.rbac.authorization.k8s.io"),
    ]:
        assert not may(server, verb, resource, "one"), (verb, resource)


def test_operator_of_one_namespace_may_nothing_in_another(server: ApiServer, helm: Helm) -> None:
    helm.install("watchNamespaces={one}")
    assert may(server, "watch", GATEWAYS, "one")
    assert may(server, "patch", "deployments.apps", "one")
    for verb, resource in [("watch", GATEWAYS), ("patch", "deployments.apps"), ("create", "secrets"), ("list", "pods")]:
        for namespace in ("two", NAMESPACE, ""):
            assert not may(server, verb, resource, namespace), (verb, resource, namespace)
