"""The one RocketMQ of a test run. With several jobs, pytest's controller starts it: it outlives each of them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from litevoice_dev.rocketmq import START_TIMEOUT_SECONDS, LocalRocketMQ
from tests.integration.apiserver import wait_until

CONTROLLERS_PORT_SHARE = "7"


@dataclass(frozen=True, slots=True)
class SharedRocketMQ:
    """What a test may know of it: it cannot stop or freeze a part, which other jobs use at the same time.

    Attributes:
        certificate: PEM file of its TLS servers, which also speak plain text.
        folder: configuration, logs and store.
    """

    endpoints: str
    name_server: str
    certificate: str
    folder: str

    @property
    def name_server_port(self) -> int:
        return int(self.name_server.rpartition(":")[2])


AnyRocketMQ = SharedRocketMQ | LocalRocketMQ


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Key and self-signed certificate for 127.0.0.1, which is its own authority."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return key, certificate


@contextmanager
def running(folder: Path) -> Iterator[SharedRocketMQ]:
    """Started with everything in `folder`."""
    key, certificate = make_certificate(folder)
    cluster = LocalRocketMQ(folder, tls_key=key, tls_certificate=certificate)
    try:
        cluster.start()
        yield SharedRocketMQ(cluster.endpoints, cluster.name_server, str(certificate), str(folder))
    finally:
        cluster.kill()  # nobody needs the store any more


class OneForAllJobs:
    """In the controller: starts it beside the collection of the tests, and writes where it is, or what went wrong."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="litevoice-rocketmq-")
        self._over = threading.Event()
        os.environ["LITEVOICE_PORT_SHARE"] = CONTROLLERS_PORT_SHARE
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def folder(self) -> str:
        return self._folder.name

    def _run(self) -> None:
        try:
            with running(Path(self.folder)) as shared:
                self._tell(asdict(shared))
                self._over.wait()
        except Exception as error:
            self._tell({"error": str(error)})

    def _tell(self, facts: dict[str, str]) -> None:
        unfinished = Path(self.folder) / "unfinished"
        unfinished.write_text(json.dumps(facts))
        unfinished.rename(Path(self.folder) / "where")

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._folder.cleanup()


def of_all_jobs(folder: Path) -> SharedRocketMQ:
    """In a job: waits until the controller has started it."""
    where = folder / "where"
    wait_until(where.exists, "the controller's RocketMQ", 3 * START_TIMEOUT_SECONDS)
    facts = json.loads(where.read_text())
    if "error" in facts:
        pytest.fail(f"the run's RocketMQ did not start: {facts['error']}", pytrace=False)
    return SharedRocketMQ(**facts)
