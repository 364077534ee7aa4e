"""The operator as a process of its own, with the permissions of the chart and no others."""

from __future__ import annotations

import functools
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from litevoice_dev import processes
from litevoice_dev.ports import free_port
from litevoice_operator.api.labels import ADMIN_TLS, REVISION_LABEL
from litevoice_operator.manifests.paths import ADMIN_TLS_PORT
from tests.integration.apiserver import HOST, REPOSITORY, ApiServer, Json, clean_environment, wait_until
from tests.integration.shared_rocketmq import AnyRocketMQ, SharedRocketMQ

ROOT_KEY = b"integration tests' root key, 32+ bytes"
RESOURCES = "/apis/litevoice.dev/v1alpha1/namespaces"


def pod_ip(number: int) -> str:
    """An address for pods of a test: ports are the same in each, so no two jobs may use the same one."""
    job = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"127.0.{88 + int(job)}.{number}"


class OperatorProcess:
    """Attributes:
    module: what is run as the operator.
    """

    module = "litevoice_operator"

    def __init__(self, server: ApiServer, rocketmq: AnyRocketMQ, folder: Path, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "root-key").write_bytes(ROOT_KEY)
        self.log = folder / "operator.log"
        self.port = free_port()
        self._environment = {
            "KUBECONFIG": str(server.operator_kubeconfig),
            "ROOT_KEY_FILE": str(folder / "root-key"),
            "GATEWAY_IMAGE": "litevoice/gateway:test",
            "WORKER_IMAGE": "litevoice/worker:test",
            "LISTEN_PORT": str(self.port),
            "POD_NAME": "operator-0",
            "ROCKETMQ_ENDPOINTS": rocketmq.endpoints,
            "ROCKETMQ_NAME_SERVER": rocketmq.name_server,
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        # A stand-in for the whole environment of a pod: nothing of this machine's.
        environment = clean_environment(**self._environment)
        command = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        self._process = processes.spawn([*command, sys.executable, "-m", self.module], log=self.log)
        if wait:
            wait_until(lambda: self.answers("/readyz"), "the operator to be ready", 120)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def answers(self, path: str) -> bool:
        assert self.running, processes.last_lines(self.log)
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def waits_for(self) -> str:
        """What /readyz says as long as the operator is not ready."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/readyz", timeout=5):
                return ""
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/metrics", timeout=5) as response:
            text: str = response.read().decode()
            return text

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        processes.stop(self._process)
        return int(self._process.wait())

    def kill(self) -> None:
        if self._process is not None:
            processes.kill(self._process)


def grant_chart_rules(server: ApiServer, namespace: str = "") -> None:
    """The chart's rules for the user `operator`: in one namespace, or everywhere."""
    template = (REPOSITORY / "charts" / "litevoice" / "templates" / "rbac.yaml").read_text()
    begin, end = '{{- define "litevoice.rules" -}}', "{{- end -}}"
    rules = yaml.safe_load(template.split(begin)[1].split(end)[0])
    group = "rbac.authorization.k8s.io"
    path, kind = f"/apis/{group}/v1/", "ClusterRole"
    if namespace:
        path, kind = f"{path}namespaces/{namespace}/", "Role"
    server.create(f"{path}{kind.lower()}s", {"metadata": {"name": "operator"}, "rules": rules})
    server.create(
        f"{path}{kind.lower()}bindings",
        {
            "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": group, "kind": kind, "name": "operator"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "operator"}],
        },
    )
    nodes = next(d for d in chart_documents("rbac.yaml") if d["metadata"]["name"].endswith("-nodes"))
    subjects = [{"apiGroup": group, "kind": "User", "name": "operator"}]
    role = {"apiGroup": group, "kind": "ClusterRole", "name": "nodes"}
    cluster = f"/apis/{group}/v1/cluster"
    server.create(f"{cluster}roles", {"metadata": {"name": "nodes"}, "rules": nodes["rules"]})
    server.create(f"{cluster}rolebindings", {"metadata": {"name": "nodes"}, "roleRef": role, "subjects": subjects})
    for policy in chart_policies():
        plural = policy["kind"].lower() + "s" if policy["kind"].endswith("g") else "validatingadmissionpolicies"
        server.create(f"/apis/admissionregistration.k8s.io/v1/{plural}", policy)


def grant_reviews(server: ApiServer, namespace: str, viewer: str, manager: str = "") -> None:
    """The chart's rules for the user `operator` to ask who somebody is, and for these ServiceAccounts to see, and to
    change, the sessions of this namespace alone."""
    documents = (*chart_documents("rbac.yaml"), *chart_documents("manager.yaml"))
    rules = {d["metadata"]["name"]: d["rules"] for d in documents if d["kind"] == "ClusterRole"}
    group = "rbac.authorization.k8s.io"
    cluster, own = f"/apis/{group}/v1/cluster", f"/apis/{group}/v1/namespaces/{namespace}/"
    subjects = [{"apiGroup": group, "kind": "User", "name": "operator"}]
    grants = [(cluster, "reviews", "ClusterRole", rules["default-t-litevoice-operator-reviews"], subjects)]
    for granted_role, account in (("viewer", viewer), ("manager", manager)):
        if account:
            account_namespace, _, name = account.partition("/")
            accounts = [{"kind": "ServiceAccount", "namespace": account_namespace, "name": name}]
            allowed = rules[f"default-t-litevoice-operator-{granted_role}"]
            grants.append((own, granted_role, "Role", allowed, accounts))
    for path, name, kind, granted, to in grants:
        named = {"metadata": {"name": name}}
        server.create(f"{path}roles", {**named, "rules": granted})
        role = {"apiGroup": group, "kind": kind, "name": name}
        server.create(f"{path}rolebindings", {**named, "roleRef": role, "subjects": to})


@functools.cache
def chart_documents(template: str) -> tuple[Json, ...]:
    """What a template of the chart makes for the release `t` in the namespace `default`."""
    helm = subprocess.run([REPOSITORY / "scripts/install-helm"], stdout=subprocess.PIPE, text=True, check=True)
    chart, values = str(REPOSITORY / "charts/litevoice"), ("--set", "watchNamespaces={*}", "--kube-version", "1.37.0")
    command = [helm.stdout.strip(), "template", "t", chart, *values, "--show-only", f"templates/{template}"]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    text = text.replace("system:serviceaccount:default:t-litevoice-operator", "operator")
    return tuple(document for document in yaml.safe_load_all(text) if document)


def chart_policies() -> tuple[Json, ...]:
    """The chart's admission policies with their bindings, for the user `operator`."""
    return chart_documents("admission.yaml")


def voice_gateway(name: str, **spec: Any) -> Json:
    return {
        "apiVersion": "litevoice.dev/v1alpha1",
        "kind": "VoiceGateway",
        "metadata": {"name": name},
        "spec": {"auth": {"apiKeysSecret": "api-keys"}, **spec},
    }


def backlog_alert(name: str, gateway: str, target: str, **spec: Any) -> Json:
    return {
        "apiVersion": "litevoice.dev/v1alpha1",
        "kind": "BacklogAlert",
        "metadata": {"name": name},
        "spec": {
            "gatewayRef": {"name": gateway},
            "target": target,
            "thresholds": [{"severity": "warning", "messages": 10}],
            "forSeconds": 2,
            **spec,
        },
    }


class Namespace:
    """One namespace, as its users see it."""

    def __init__(self, server: ApiServer, name: str) -> None:
        self.server = server
        self.name = name
        server.create("/api/v1/namespaces", {"metadata": {"name": name}})
        self.gateways = f"{RESOURCES}/{name}/voicegateways"
        self.alerts = f"{RESOURCES}/{name}/backlogalerts"

    def path(self, api: str, plural: str, name: str = "") -> str:
        root = "/api" if api == "v1" else "/apis"
        return f"{root}/{api}/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def get(self, api: str, plural: str, name: str) -> Json | None:
        return self.server.get(self.path(api, plural, name))

    def gateway_sets(self, gateway: str) -> list[Json]:
        """The ReplicaSets of its gateways, the newest last."""
        selector = f"app.kubernetes.io/instance={gateway},app.kubernetes.io/component=gateway"
        path = f"{self.path('apps/v1', 'replicasets')}?labelSelector={urllib.parse.quote(selector)}"
        found: list[Json] = self.server.request("GET", path)["items"]
        return sorted(found, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def gateway_set(self, gateway: str) -> Json:
        """The only one; {} while there is none."""
        found = self.gateway_sets(gateway)
        assert len(found) <= 1, [one["metadata"]["name"] for one in found]
        return found[0] if found else {}

    def gateway_replicas(self, gateway: str) -> int:
        """Gateways that there are to be, of all revisions."""
        return sum(int(one["spec"]["replicas"]) for one in self.gateway_sets(gateway))

    def keys_secret(self, gateway: str, component: str = "gateway") -> Json:
        """The Secret that the operator made for the VoiceGateway's gateways, or workers."""
        listed = self.server.request("GET", self.path("v1", "secrets"))["items"]
        made = [one for one in listed if one["metadata"]["name"].startswith(f"{gateway}-keys-")]
        (found,) = [one for one in made if one["metadata"]["labels"]["app.kubernetes.io/component"] == component]
        return dict(found)

    def condition(self, path: str, kind: str) -> Json:
        """The condition, {} when there is none yet."""
        resource = self.server.get(path) or {}
        conditions: list[Json] = resource.get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def wait_condition(self, path: str, kind: str, status: str, reason: str = "", timeout_seconds: float = 60) -> Json:
        """The condition once it says so; fails with what it said last."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            found = self.condition(path, kind)
            if found.get("status") == status and reason in ("", found.get("reason")):
                return found
            assert time.monotonic() < deadline, f"{path}: {kind} never became {status} {reason}, last: {found}"
            time.sleep(0.2)

    def events(self, name: str) -> list[Json]:
        """Events about the object, oldest first."""
        listed = self.server.request("GET", self.path("v1", "events"))["items"]
        found = [event for event in listed if event["involvedObject"]["name"] == name]
        return sorted(found, key=lambda event: str(event["metadata"]["name"]))

    def make_pod(
        self, name: str, gateway: str, component: str, node: str, *, sealed: bool = False, **status: Any
    ) -> None:
        """A pod as its controllers and a kubelet would write it, of the newest revision; `sealed`: asked with TLS."""
        ports = [{"name": ADMIN_TLS, "containerPort": ADMIN_TLS_PORT}] if sealed else []
        sets = self.gateway_sets(gateway) if component == "gateway" else []
        revision = {REVISION_LABEL: sets[-1]["metadata"]["labels"][REVISION_LABEL]} if sets else {}
        labels = {
            **revision,
            "app.kubernetes.io/name": "litevoice",
            "app.kubernetes.io/instance": gateway,
            "app.kubernetes.io/component": component,
            "app.kubernetes.io/managed-by": "litevoice-operator",
        }
        self.server.create(
            self.path("v1", "pods"),
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {
                    "nodeName": node,
                    "containers": [{"name": component, "image": "none", "ports": ports}],
                    "terminationGracePeriodSeconds": 90,  # the API server's 30 would leave a drain no time
                },
            },
        )
        self.server.merge(self.path("v1", "pods", name) + "/status", {"status": status})

    @classmethod
    def new(cls, server: ApiServer) -> Namespace:
        """A namespace that no other test has."""
        return cls(server, f"t-{secrets.token_hex(4)}")


@pytest.fixture(scope="module")
def operator_server(server: ApiServer) -> ApiServer:
    """The file's API server with our resources and the operator's permissions."""
    server.install_definitions()
    grant_chart_rules(server)
    return server


@pytest.fixture(scope="module")
def operator(
    operator_server: ApiServer, rocketmq: SharedRocketMQ, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """One for each file of tests, beside an API server of its own."""
    operator = OperatorProcess(operator_server, rocketmq, tmp_path_factory.mktemp("operator"))
    try:
        operator.start()
        yield operator
    finally:
        operator.kill()


@pytest.fixture
def namespace(operator_server: ApiServer, operator: OperatorProcess) -> Namespace:
    return Namespace.new(operator_server)
