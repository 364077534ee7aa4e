"""Debian's own Alertmanager and Prometheus, as programs of this machine, and the chart's rules for the latter."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litevoice_dev import processes
from litevoice_dev.ports import HOST, free_port
from tests.integration.apiserver import REPOSITORY
from tests.unit.chart.charts import Chart

WIKI = "https://wiki/litevoice"


def program(name: str) -> str:
    """Path of `prometheus-alertmanager`, `prometheus` or `promtool`; fetched once where it is missing."""
    command = [str(REPOSITORY / "scripts" / "install-alerting"), name]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    """Its URL. It knows no other one, and tells nobody."""
    config = "{route: {receiver: nobody}, receivers: [{name: nobody}]}"
    flags = (f"--storage.path={folder}/data", "--cluster.listen-address=")
    with _serving("prometheus-alertmanager", folder, config, *flags) as url:
        yield url


@contextlib.contextmanager
def prometheus(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Its URL."""
    with _serving("prometheus", folder, json.dumps(config), f"--storage.tsdb.path={folder}/data") as url:
        yield url


@contextlib.contextmanager
def _serving(name: str, folder: Path, config: str, *flags: str) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config)
    address = f"{HOST}:{free_port()}"
    command = [program(name), f"--config.file={folder}/config.yaml", f"--web.listen-address={address}", *flags]
    process = processes.spawn(command, log=folder / f"{name}.log")
    try:
        yield f"http://{address}"
    finally:
        processes.kill(process)


def chart_rules(folder: Path) -> Path:
    """A file of the chart's static alerts, as the Prometheus operator makes it of the resource."""
    found = subprocess.run([REPOSITORY / "scripts/install-helm"], stdout=subprocess.PIPE, text=True, check=True)
    given = ("alerts.prometheusRule.enabled=true", f"alerts.prometheusRule.runbookUrl={WIKI}")
    manifests = Chart(found.stdout.strip()).render(*given)
    file = folder / "rules.yaml"
    file.write_text(json.dumps(manifests["PrometheusRule", "lv-litevoice-operator"]["spec"]))
    return file


def evaluated(prometheus_url: str) -> list[dict[str, Any]]:
    """Alerts of its rules, pending or firing; [] while it does not answer."""
    try:
        with urllib.request.urlopen(f"{prometheus_url}/api/v1/alerts", timeout=5) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]["alerts"]
    except OSError:
        return []
    return found


def active(alertmanager_url: str) -> list[dict[str, Any]]:
    """Alerts that the Alertmanager takes for firing. Raises OSError while it does not answer."""
    with urllib.request.urlopen(f"{alertmanager_url}/api/v2/alerts?active=true", timeout=5) as response:
        found: list[dict[str, Any]] = json.load(response)
    return found
