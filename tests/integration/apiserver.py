"""A real Kubernetes API server with its etcd on 127.0.0.1, from the programs of our node image: for the tests of what
only an API server can tell (schemas, CEL rules, server-side apply, watches, outages)."""

from __future__ import annotations

import base64
import json
import os
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from litevoice_dev import processes
from litevoice_dev.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY / "crds"
HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 120.0

GROUP = "litevoice.dev"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

Json = dict[str, Any]


def programs() -> Path:
    """The program that is all Kubernetes programs in one; built once (minutes), then taken from the cache."""
    build = subprocess.run(
        [REPOSITORY / "e2e" / "node-image" / "build-program"], check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(build.stdout.strip())


class Refused(Exception):  # noqa: N818 - reads as what it is
    """The API server said no; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiServer:
    """Blocking: async tests call it through asyncio.to_thread, where it takes long.

    Attributes:
        kubeconfig: file that makes its reader the cluster's administrator.
        operator_kubeconfig: the same for the user `operator`, who may do nothing but what a test grants.
    """

    def __init__(self, folder: Path, program: Path, *more: str) -> None:
        """`more`: arguments for kube-apiserver."""
        self._folder = folder
        self._program = program
        self._more = more
        self._etcd_port, self._etcd_peer_port, self._port = free_port(), free_port(), free_port()
        self._token, operator_token = secrets.token_hex(16), secrets.token_hex(16)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._controllers: subprocess.Popen[bytes] | None = None
        self.url = f"https://{HOST}:{self._port}"
        self.kubeconfig, self.operator_kubeconfig = folder / "kubeconfig", folder / "operator.kubeconfig"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokens.csv").write_text(
            f'{self._token},admin,admin,"system:masters"\n{operator_token},operator,operator\n'
        )
        subprocess.run(
            ["openssl", "genrsa", "-out", folder / "service-account.key", "2048"], check=True, capture_output=True
        )
        self.kubeconfig.write_text(json.dumps(self._kubeconfig(self._token)))
        self.operator_kubeconfig.write_text(json.dumps(self._kubeconfig(operator_token)))

    def start(self) -> None:
        """etcd and API server, in 5 to 20 s."""
        if self._etcd is None:
            self._etcd = self._spawn(
                "etcd",
                f"--data-dir={self._folder}/etcd",
                f"--listen-client-urls=http://{HOST}:{self._etcd_port}",
                f"--advertise-client-urls=http://{HOST}:{self._etcd_port}",
                f"--listen-peer-urls=http://{HOST}:{self._etcd_peer_port}",
                "--unsafe-no-fsync",
            )
        if self._server is None:
            self._server = self._spawn(
                "kube-apiserver",
                f"--etcd-servers=http://{HOST}:{self._etcd_port}",
                f"--bind-address={HOST}",
                f"--secure-port={self._port}",
                f"--cert-dir={self._folder}/certs",
                f"--token-auth-file={self._folder}/tokens.csv",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self._folder}/service-account.key",
                f"--service-account-signing-key-file={self._folder}/service-account.key",
                "--service-cluster-ip-range=10.96.0.0/24",
                "--endpoint-reconciler-type=none",  # nobody has to find it
                "--disable-admission-plugins=ServiceAccount",  # no controller makes their tokens here
                *self._more,
            )
        self._wait(self._ready, self._server, "kube-apiserver")

    @property
    def pid(self) -> int:
        """Of the API server alone."""
        assert self._server is not None
        return self._server.pid

    def start_garbage_collector(self, *more: str) -> None:
        """The controllers that remove what a deleted owner leaves behind, and `more` by name."""
        self._controllers = self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--controllers={','.join(('garbage-collector-controller', *more))}",
            "--leader-elect=false",
            f"--bind-address={HOST}",
            f"--secure-port={free_port()}",
            f"--cert-dir={self._folder}/certs",
        )

    def kill_server(self) -> None:
        """kill -9 of the API server alone; `start` brings it back with everything it knew."""
        if self._server is not None:
            processes.kill(self._server)
            self._server = None

    def stop(self) -> None:
        for process in (self._controllers, self._server, self._etcd):
            if process is not None:
                processes.kill(process)  # an API server's orderly end waits a minute for its watches

    # --- objects, as an administrator with curl would handle them

    def request(
        self, method: str, path: str, body: Json | None = None, content_type: str = "application/json", user: str = ""
    ) -> Json:
        """Raises Refused with the API server's message. `user`: impersonated."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": content_type,
                **({"Impersonate-User": user} if user else {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._tls) as response:
                answer: Json = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise Refused(error.code, str(json.load(error).get("message", ""))) from error

    def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """With fieldValidation=Strict, as `kubectl apply` does: an unknown field is an error."""
        return self.request("POST", f"{path}?fieldValidation=Strict", dict(body))

    def merge(self, path: str, body: Json) -> Json:
        return self.request("PATCH", f"{path}?fieldValidation=Strict", body, "application/merge-patch+json")

    def get(self, path: str) -> Json | None:
        try:
            return self.request("GET", path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def kubectl(self, *arguments: str) -> str:
        """Its standard output, as the cluster's administrator; raises AssertionError with what it said."""
        cache = f"--cache-dir={self._folder}/kubectl"  # the usual one goes by the address, and ports come again
        command = [str(self._program), "kubectl", f"--kubeconfig={self.kubeconfig}", cache, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=REPOSITORY)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def install_definitions(self, folder: Path = CRDS) -> None:
        """As users do, also to upgrade them; returns when their resources are served."""
        self.kubectl("apply", "--server-side", "-f", str(folder))
        for file in sorted(folder.glob("*.yaml")):
            definition = yaml.safe_load(file.read_text())
            wait_until(partial(self._established, definition["metadata"]["name"]), f"{file.name} to be served")

    def _established(self, name: str) -> bool:
        definition = self.request("GET", f"{DEFINITIONS}/{name}")
        conditions = {c["type"]: c["status"] for c in definition.get("status", {}).get("conditions") or []}
        group, version = definition["spec"]["group"], definition["spec"]["versions"][0]["name"]
        return conditions.get("Established") == "True" and any(
            resource["name"] == definition["spec"]["names"]["plural"]
            for resource in (self.get(f"/apis/{group}/{version}") or {}).get("resources", [])
        )

    def definitions(self) -> dict[str, Json]:
        """Our CRDs by name."""
        items = self.request("GET", DEFINITIONS)["items"]
        return {item["metadata"]["name"]: item for item in items if item["spec"]["group"] == GROUP}

    def remove_definitions(self) -> None:
        """Returns when our CRDs are gone. One that is deleted in the moments after it was made may find its storage
        `(re)initializing`; Kubernetes 1.37 then tries again only after minutes, or as soon as its metadata change."""
        for name in self.definitions():
            self.request("DELETE", f"{DEFINITIONS}/{name}")
        wait_until(self._removed, "the CRDs to be gone")

    def _removed(self) -> bool:
        left = self.definitions()
        for name, definition in left.items():
            reasons = {c["type"]: c["reason"] for c in definition["status"].get("conditions") or []}
            if reasons.get("Terminating") == "InstanceDeletionFailed":
                with suppress(Refused):  # gone by now
                    self.merge(f"{DEFINITIONS}/{name}", {"metadata": {"annotations": {"again": str(time.monotonic())}}})
        return not left

    @property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname = False  # the API server makes its own certificate
        context.verify_mode = ssl.CERT_NONE
        return context

    def _ready(self) -> bool:
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self._token}"})
        try:
            with urllib.request.urlopen(request, timeout=2, context=self._tls) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return processes.spawn([str(self._program), name, *arguments], log=self._folder / f"{name}.log")

    def _wait(self, condition: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
        def check() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended:\n{processes.last_lines(self._folder / f'{name}.log')}")
            return condition()

        wait_until(check, f"{name} to be ready", START_TIMEOUT_SECONDS)

    def _kubeconfig(self, token: str) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[ApiServer]:
    """A started API server, without our resources; `flags`: more of its own."""
    server = ApiServer(folder, programs(), *flags)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for each file of tests, without our resources."""
    with running(tmp_path_factory.mktemp("api")) as server:
        yield server


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_seconds:.0f} s for {what}")
        time.sleep(0.1)


def decoded(secret: Json) -> dict[str, str]:
    """The data of a Secret."""
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what points at some cluster, and with `extra`."""
    return {**{key: value for key, value in os.environ.items() if not key.startswith("KUBE")}, **extra}
