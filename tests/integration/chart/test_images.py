"""The images as a strict cluster runs them: not root, read-only root file system, no capability, no network."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from litevoice_dev.rocketmq_jars import version

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("gateway", "worker", "operator", "rocketmq")
STRICT = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")

pytestmark = pytest.mark.timeout(1800)


def run_build(*names: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "images" / "build", *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LITEVOICE_ROCKETMQ_IMAGE": "own", **settings},
    )


def build(*names: str, **settings: str) -> dict[str, str]:
    result = run_build(*names, **settings)
    assert result.returncode == 0, result.stderr
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """References by name; built when they are not there yet."""
    return build(*NAMES)


def run(image: str, *arguments: str, entrypoint: str = "") -> subprocess.CompletedProcess[str]:
    options = [*STRICT, *([f"--entrypoint={entrypoint}"] if entrypoint else [])]
    return subprocess.run(
        ["docker", "run", "--rm", *options, image, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_second_build_keeps_the_references(images: dict[str, str]) -> None:
    assert set(images) == set(NAMES)
    assert build(*NAMES) == images


def test_unknown_image_is_refused() -> None:
    result = run_build("gatewy")
    assert result.returncode == 1
    assert 'no image "gatewy"; there are: gateway, worker, operator, rocketmq' in result.stderr


def test_a_given_rocketmq_image_is_taken_as_it_is(images: dict[str, str]) -> None:
    official = f"apache/rocketmq:{version()}"
    given, in_registry = f"litevoice-test/{official}", f"registry.test/team/{official}"
    subprocess.run(["docker", "tag", images["rocketmq"], given], check=True)
    try:
        assert build("rocketmq", LITEVOICE_ROCKETMQ_IMAGE=given) == {"rocketmq": given}
        chosen = {"LITEVOICE_ROCKETMQ_IMAGE": given, "LITEVOICE_IMAGE_REGISTRY": "registry.test/team"}
        assert build("rocketmq", **chosen) == {"rocketmq": in_registry}
    finally:
        subprocess.run(["docker", "rmi", given, in_registry], check=False, capture_output=True)


@pytest.mark.parametrize("variable", ["LITEVOICE_ROCKETMQ_IMAGE", "LITEVOICE_BASE_JAVA"])
def test_a_given_image_that_cannot_be_had_is_named(images: dict[str, str], variable: str) -> None:
    result = run_build("rocketmq", **{variable: "127.0.0.1:1/none:1"})
    assert (result.returncode, result.stdout) == (1, "")
    assert f"{variable}: cannot pull 127.0.0.1:1/none:1: " in result.stderr
    assert "connection refused" in result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_help_under_strict_settings(images: dict[str, str], name: str) -> None:
    result = run(images[name], "--help")
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout.lower()


@pytest.mark.parametrize("name", NAMES)
def test_user_and_labels(images: dict[str, str], name: str) -> None:
    described = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{json .Config}}", images[name]],
        capture_output=True,
        text=True,
        check=True,
    )
    config = json.loads(described.stdout)
    assert config["User"] == "65532:65532"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert images[name].split(":")[-1].startswith(config["Labels"]["org.opencontainers.image.version"] + "-")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_gives_more_rights_and_nothing_can_be_changed(images: dict[str, str], name: str) -> None:
    script = """
    test "$(id -u)" = 65532 || echo "runs as $(id -u)"
    find / -xdev -type f -perm /6000 2>/dev/null
    find /opt /usr /etc -xdev -writable -not -type l 2>/dev/null
    if touch /probe 2>/dev/null; then echo "the root file system is writable"; fi
    touch /tmp/probe
    """
    result = run(images[name], "-c", script, entrypoint="sh")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["gateway", "worker", "operator"])
def test_packages_come_with_byte_code_and_without_leftovers(images: dict[str, str], name: str) -> None:
    script = """
    for folder in app site; do
      cd /opt/litevoice/$folder
      find . -name '*.py' | grep -q . || echo "no packages in $folder"
      find . -name tests -type d
      find . -name direct_url.json
    done
    cd /opt/litevoice/app
    find . -name '*.py' | while read -r file; do
      name=${file##*/}
      test -f "${file%/*}/__pycache__/${name%.py}.cpython-311.pyc" || echo "no byte code for $file"
    done
    """
    result = run(images[name], "-c", script, entrypoint="sh")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["gateway", "worker", "operator"])
def test_what_is_imported_is_there_with_its_byte_code(images: dict[str, str], name: str) -> None:
    """images/build-image leaves out what the programs never load of their dependencies; bases have no byte code."""
    script = f"""
import importlib, importlib.util, os, pkgutil, sys
for name in ("litevoice_contracts", "litevoice_broker", "litevoice_{name}"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        importlib.import_module(module.name)
files = [module.__file__ or "" for module in list(sys.modules.values()) if hasattr(module, "__file__")]
for file in files:
    if file.endswith(".py") and not os.path.exists(importlib.util.cache_from_source(file)):
        print("no byte code for", file)
"""
    result = run(images[name], "-c", script, entrypoint="python3")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_operator_logs_in_and_asks_with_what_its_image_has(images: dict[str, str]) -> None:
    """kopf's Kubernetes client and the operator's own are there without their models."""
    script = """
import asyncio, json, logging, os, pathlib
cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
users = [{"name": "u", "user": {"token": "secret"}}]
config = {"current-context": "x", "contexts": [context], "clusters": [cluster], "users": users}
pathlib.Path("/tmp/kubeconfig").write_text(json.dumps(config))
os.environ["KUBECONFIG"] = "/tmp/kubeconfig"

import kopf
from litevoice_operator.adapters.cluster import Cluster, ClusterError

async def ask():
    async with await Cluster.connect("operator-0") as cluster:
        try:
            await cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": "b"}})
        except ClusterError as error:
            print(error)

print(kopf.login_via_client(logger=logging.getLogger(), settings=kopf.OperatorSettings()).server)
asyncio.run(ask())
"""
    result = run(images["operator"], "-c", script, entrypoint="python3")
    assert (result.returncode, result.stderr) == (0, "")
    server, answer = result.stdout.splitlines()
    assert server == "http://127.0.0.1:1"
    assert answer.startswith("PATCH /api/v1/namespaces/a/pods/b: ClientConnectorError: ")


def test_worker_speaks_and_listens_without_a_network(images: dict[str, str]) -> None:
    """espeak-ng and the models of the two wheels are in the image."""
    script = """
import subprocess
import numpy
from pocketsphinx import Decoder
from litevoice_worker.stages.vad import SileroNetwork
from litevoice_worker.opening import Stream
speech = subprocess.run(["espeak-ng", "--stdout", "hello"], capture_output=True, check=True).stdout
assert len(speech) > 10_000, len(speech)
Decoder(samprate=16000, loglevel="FATAL")
assert 0 <= SileroNetwork().advance([Stream()], [numpy.zeros((1, 512), numpy.int16)])[0][0] < 0.5
"""
    result = run(images["worker"], "-c", script, entrypoint="python3")
    assert result.returncode == 0, result.stderr


def test_broker_names_the_folder_that_it_cannot_write(images: dict[str, str]) -> None:
    result = run(images["rocketmq"], "broker")  # no volume at the store
    assert result.returncode == 1
    assert "ROCKETMQ_STORE: /var/lib/rocketmq is no writable folder for user 65532" in result.stderr


def test_rocketmq_checks_fail_while_nothing_runs(images: dict[str, str]) -> None:
    for part in ("namesrv", "broker", "proxy"):
        assert run(images["rocketmq"], "check", part).returncode == 1
    assert "one of namesrv, broker, proxy" in run(images["rocketmq"], "check", "brokr").stderr
