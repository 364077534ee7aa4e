"""The `litevoice` command as a single file, run by a Python that has none of its packages."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from litevoice_dev import single_file
from tests.unit.cli.test_command import served
from tests.unit.operator.test_admin_api import soon

__all__ = ["soon"]
PYTHON = sys._base_executable  # type: ignore[attr-defined]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "backlogalert-replies.yaml"


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    (folder / "parts").mkdir()
    single_file.build(folder / "parts", folder / "litevoice")
    return folder / "litevoice"


def run(command: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"XDG_CACHE_HOME": str(cache), "HOME": str(cache), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [PYTHON, "-I", command, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


async def test_it_asks_an_operator_as_the_command_does(command: Path, tmp_path: Path) -> None:
    async with served() as here:
        options = ("-n", "voice", "--url", here.url, "--token", "good")
        for _ in range(2):  # the second time nothing is unpacked
            found = await asyncio.to_thread(run, command, tmp_path, "find", "--client", "10.1.0.1", *options)
            assert (found.returncode, found.stderr) == (0, "")
            assert found.stdout.splitlines()[1].split()[:4] == ["s_1", "voice/demo", "gateway-0", "10.1.0.1:4711"]
            (unpacked,) = (tmp_path / "litevoice").iterdir()
            assert unpacked.name.startswith("command-")


def test_it_has_what_a_kubeconfig_takes(command: Path, tmp_path: Path) -> None:
    """An exec plugin that is missing, a server that nobody runs: as far as it gets."""
    config = tmp_path / ".kube" / "config"
    config.parent.mkdir()
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
        "clusters: [{name: here, cluster: {server: 'https://127.0.0.1:9'}}]\n"
        "users: [{name: me, user: {token: t}}]\ncontexts: [{name: here, context: {cluster: here, user: me}}]\n"
    )
    asked = run(command, tmp_path, "doctor")
    assert asked.returncode == 1
    assert "litevoice: --context: the API server does not answer" in asked.stderr


def test_it_tries_an_alert_without_an_operator(command: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples.yaml"
    samples.write_text(
        "- {at: 0, sessions: {s_a: {messages: 60}}, expect: Pending warning}\n- {at: 10, expect: Firing}\n"
    )
    tried = run(command, tmp_path, "alert", "test", str(EXAMPLE), str(samples))
    assert (tried.returncode, tried.stderr) == (1, "")
    first, second = tried.stdout.splitlines()
    assert first.split()[2:4] == ["Pending", "warning"]
    assert second.endswith("expected Firing")


def test_a_cache_that_cannot_be_written_is_named(command: Path) -> None:
    refused = run(command, Path("/dev/null/none"), "--help")
    assert refused.returncode == 1
    assert "litevoice: XDG_CACHE_HOME: expected a folder that can be written" in refused.stderr


def test_another_python_is_told_so(command: Path, tmp_path: Path) -> None:
    archive = tmp_path / "other"
    parts = tmp_path / "parts"
    subprocess.run([PYTHON, "-m", "zipfile", "-e", command, parts], check=True)
    main = parts / "__main__.py"
    main.write_text(main.read_text().replace(f"'{single_file.made_for()[1]}'", "'3.99'"))
    subprocess.run([PYTHON, "-m", "zipapp", parts, "-o", archive], check=True)
    refused = run(archive, tmp_path, "--help")
    assert refused.returncode == 1
    assert "this file is for cpython 3.99 linux" in refused.stderr
