"""The audit as a pod of the worker image: an independent reader of the broker, inside the cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from e2e.environment import GATEWAY, NAMESPACE
from e2e.shell import ROOT, kubectl, kubectl_json, wait_until

_SCRIPT = ROOT / "dev" / "litevoice_dev" / "audit.py"


class AuditPod:
    """Runs `audit.py`; `lines` are what it has printed so far. `sessions`: whose replies; several in one run
    (see `audit.py`). `node`: where; empty for any."""

    def __init__(self, what: str, *sessions: str, node: str = "") -> None:
        self.name = f"audit-{what}"
        self._sessions: Sequence[str] = sessions
        self._node = node
        self._arguments = [what, "/etc/litevoice/config/settings.json", *(["@/audit/sessions"] if sessions else [])]

    def start(self) -> None:
        """Creates the pod; `requests` returns when every partition is being read."""
        self.remove(wait=True)  # one of the same name may still be ending
        worker = self._worker_pod_spec()
        container = worker["containers"][0]
        script = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "data": {"audit.py": _SCRIPT.read_text(), "sessions": "\n".join(self._sessions)},
        }
        config = next(
            v
            for v in worker["volumes"]
            if v["name"] in {m["name"] for m in container["volumeMounts"]} and "configMap" in v
        )
        mount = next(m for m in container["volumeMounts"] if m["name"] == config["name"])
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/name": "litevoice-audit"},
            },
            "spec": {
                "restartPolicy": "Never",
                **({"nodeName": self._node} if self._node else {}),
                "automountServiceAccountToken": False,
                "securityContext": worker.get("securityContext", {}),
                "containers": [
                    {
                        "name": "audit",
                        "image": container["image"],
                        "imagePullPolicy": container["imagePullPolicy"],
                        "command": ["python3", "/audit/audit.py", *self._arguments],
                        "env": [{"name": "HOME", "value": "/tmp"}],
                        "securityContext": container.get("securityContext", {}),
                        "volumeMounts": [
                            {"name": "script", "mountPath": "/audit"},
                            {"name": "tmp", "mountPath": "/tmp"},
                            {"name": config["name"], "mountPath": mount["mountPath"]},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "script", "configMap": {"name": self.name}},
                    {"name": "tmp", "emptyDir": {}},
                    config,
                ],
            },
        }
        kubectl("create", "-f", "-", text="\n---\n".join(map(json.dumps, (script, pod))))

    def wait_ready(self) -> None:
        wait_until(lambda: any(line.get("ready") for line in self.lines()), 120, f"{self.name} reads")

    def wait_started(self) -> None:
        """Its node has a log of it."""

        def started() -> bool:
            status = kubectl_json("get", "pod", "-n", NAMESPACE, self.name)["status"]
            states = [container["state"] for container in status.get("containerStatuses", [])]
            return bool(states) and not any("waiting" in state for state in states)

        wait_until(started, 120, f"{self.name} runs")

    def wait_complete(self) -> list[dict[str, Any]]:
        """All lines of a finished audit. Raises RuntimeError with its output when it failed."""
        self.wait_over(120)
        return self.lines()

    def wait_over(self, seconds: float) -> None:
        """Raises RuntimeError with its output when it failed."""

        def phase() -> str:
            found = kubectl_json("get", "pod", "-n", NAMESPACE, self.name)["status"]["phase"]
            return str(found) if found in {"Succeeded", "Failed"} else ""

        if wait_until(phase, seconds, f"{self.name} has read everything") == "Failed":
            raise RuntimeError(kubectl("logs", "-n", NAMESPACE, self.name))

    def lines(self) -> list[dict[str, Any]]:
        output = kubectl("logs", "-n", NAMESPACE, self.name)
        return [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")]

    def remove(self, *, wait: bool = False) -> None:
        """`wait`: until it is gone."""
        what = (f"pod/{self.name}", f"configmap/{self.name}")
        kubectl(
            "delete", *what, "-n", NAMESPACE, "--ignore-not-found", "--grace-period=1", f"--wait={str(wait).lower()}"
        )

    @staticmethod
    def _worker_pod_spec() -> dict[str, Any]:
        selector = f"app.kubernetes.io/instance={GATEWAY},app.kubernetes.io/component=worker"
        deployments = kubectl_json("get", "deployments", "-n", NAMESPACE, "-l", selector)["items"]
        return dict(deployments[0]["spec"]["template"]["spec"])
