"""The chart as Helm renders it, and what tests look at in its manifests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "litevoice"
DEV = ("rocketmq.dev.enabled=true",)
OWN = ("rocketmq.endpoints=p:8081", "rocketmq.nameServer=n:9876")

Manifest = dict[str, Any]


class Chart:
    def __init__(self, helm: str) -> None:
        self._helm = helm

    def template(self, *values: str) -> subprocess.CompletedProcess[str]:
        command = [self._helm, "template", "lv", str(CHART), "--namespace", "ns", "--kube-version", "1.37.0"]
        command += ["--set-json", 'watchNamespaces=["*"]']
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


def environment(container: Manifest) -> dict[str, str]:
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}


def operator_container(manifests: dict[tuple[str, str], Manifest]) -> Manifest:
    (container,) = manifests["Deployment", "lv-litevoice-operator"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def pods(manifests: dict[tuple[str, str], Manifest]) -> list[Manifest]:
    return [
        m["spec"]["template"]["spec"] for (kind, _), m in manifests.items() if kind in ("Deployment", "StatefulSet")
    ]
