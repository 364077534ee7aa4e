"""An image with a team's plug-in (examples/own_agent), as far as it can be shown without Docker: the package as it is
installed into /opt/plugins, the worker's check of its settings, and the settings that the operator makes of the
VoiceGateway beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from litevoice_contracts.control import ADMIN_CERTIFICATE_FILE, ADMIN_KEY_FILE
from litevoice_contracts.settings import WorkerSettings
from litevoice_operator.api.resolved import Defaults, resolve
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.manifests.certificates import admin_certificate
from litevoice_operator.manifests.settings_files import worker_settings

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "own_agent"
DOCKERFILE = (EXAMPLE / "Dockerfile").read_text()
WORKER_IMAGE = (ROOT / "images" / "worker" / "Dockerfile").read_text()


def environment(dockerfile: str) -> str:
    found = re.findall(r"^ENV .*?\bPYTHONPATH=(\S+)", dockerfile, re.MULTILINE)
    return str(found[-1])


def settings() -> WorkerSettings:
    """What the operator gives the worker."""
    manifest = yaml.safe_load((EXAMPLE / "voicegateway.yaml").read_text())
    defaults = Defaults(
        endpoints="proxy:8081", name_server="namesrv:9876", gateway_image="gateway:1", worker_image="w:1"
    )
    metadata = Metadata(namespace="voice", name=manifest["metadata"]["name"], uid="1")
    return worker_settings(resolve(metadata, VoiceGatewaySpec.model_validate(manifest["spec"]), defaults))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its root, with what the Dockerfile adds to the worker's; our own packages come from .venv."""
    root = tmp_path_factory.mktemp("image")
    (uv,) = sorted(
        (Path(os.environ.get("LITEVOICE_CACHE") or Path.home() / ".cache" / "litevoice")).glob("uv-*/bin/uv")
    )
    command = [str(uv), "pip", "install", "--quiet", "--python", sys.executable, "--no-deps"]
    subprocess.run([*command, "--target", str(root / "opt" / "plugins"), str(EXAMPLE)], check=True)
    for source, target in re.findall(r"^COPY ([^-/.]\S*) (/\S+)$", DOCKERFILE, re.MULTILINE):
        (root / target.lstrip("/")).write_bytes((EXAMPLE / source).read_bytes())
    return root


def check(image: Path, tmp_path: Path, use: str = "bookings", **options: Any) -> subprocess.CompletedProcess[str]:
    """`--check-config` in that image, with these options more for the responder."""
    made = settings()
    [pipeline] = made.pipelines
    grammar = pipeline.transcriber.options["grammarFile"]
    pipeline.transcriber.options["grammarFile"] = str(image / grammar.lstrip("/"))
    certificate = admin_certificate("the workers' token")
    (tmp_path / ADMIN_CERTIFICATE_FILE).write_bytes(certificate.certificate)
    (tmp_path / ADMIN_KEY_FILE).write_bytes(certificate.key)
    pipeline.responder.options.update({"database": str(tmp_path / "bookings.db"), **options})
    written = made.model_dump(by_alias=True, mode="json")
    written["pipelines"][0]["responder"]["use"] = use
    written["adminTlsDir"] = str(tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps(written))
    return subprocess.run(
        [sys.executable, "-P", "-m", "litevoice_worker", "--check-config"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            **os.environ,
            "LITEVOICE_CONFIG": str(tmp_path / "settings.json"),
            "PYTHONPATH": str(image / "opt" / "plugins"),
        },
    )


def test_the_image_adds_a_place_to_the_workers_path_and_changes_nothing_else() -> None:
    assert environment(DOCKERFILE) == environment(WORKER_IMAGE) + ":/opt/plugins"
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert not re.findall(r"^(USER|ENTRYPOINT|CMD|RUN)\b", last_stage, re.MULTILINE), "not root, the worker's own start"
    assert (EXAMPLE / "Dockerfile").read_text() in (ROOT / "docs" / "own-agent.md").read_text()


def test_the_plug_in_is_found_by_its_name_and_starts(image: Path, tmp_path: Path) -> None:
    done = check(image, tmp_path)
    assert (done.returncode, done.stdout) == (0, "the settings are valid\n"), done.stderr
    assert (tmp_path / "bookings.db").exists(), "it has started"


def test_a_wrong_option_is_named_before_a_rollout(image: Path, tmp_path: Path) -> None:
    done = check(image, tmp_path, greting="Hello.")
    assert done.returncode == 2
    expected = "pipelines[0].responder.options.greting: expected what bookings wants: Extra inputs are not permitted"
    assert expected in done.stderr


def test_a_plug_in_that_is_in_no_package_is_missed_by_its_name(image: Path, tmp_path: Path) -> None:
    """Not `bookings` in an image without it: .venv may have the example, as docs/own-agent.md says."""
    done = check(image, tmp_path, use="bookings-of-nobody")
    assert done.returncode == 2
    expected = "pipelines[0].responder.use: expected a responder that is installed"
    assert expected in done.stderr
    assert done.stderr.rstrip().endswith("got 'bookings-of-nobody'")
