"""The nodes of the local cluster from outside, as Docker containers: what works while no API server is there, or while
a node cannot be reached."""

from __future__ import annotations

import subprocess
from pathlib import Path

from e2e.shell import run
from litevoice_dev import processes

CONTROL_PLANE = "litevoice-control-plane"
_MANIFESTS = "/etc/kubernetes/manifests"
_AWAY = "/etc/kubernetes/kube-apiserver.yaml.away"
_CUTS = ("INPUT -i", "OUTPUT -o", "FORWARD -i", "FORWARD -o")
"""What comes, and what goes: the node's own, and its pods'."""


def in_node(node: str, *command: str) -> str:
    return run(("docker", "exec", node, *command), timeout_seconds=60)


def cut_off(node: str) -> None:
    """Nothing reaches it, or leaves it, but for Docker's own commands."""
    for rule in _CUTS:
        in_node(node, "iptables", "-I", *rule.split(), "eth0", "-j", "DROP")


def mend(node: str) -> None:
    for rule in _CUTS:
        in_node(node, "iptables", "-D", *rule.split(), "eth0", "-j", "DROP")


def stop_api_server() -> None:
    """Its kubelet does not start it again, because its manifest is gone. By SIGTERM it would wait for its watches."""
    in_node(CONTROL_PLANE, "mv", f"{_MANIFESTS}/kube-apiserver.yaml", _AWAY)
    in_node(CONTROL_PLANE, "bash", "-c", "pkill -KILL -f '[k]ube-apiserver --' || true")


def start_api_server() -> None:
    in_node(CONTROL_PLANE, "mv", _AWAY, f"{_MANIFESTS}/kube-apiserver.yaml")


def follow(node: str, pod: str, container: str, log: Path) -> subprocess.Popen[bytes]:
    """Copies what the container prints, as its node keeps it (see `fleet.cri`): all of it, up to the size at which the
    kubelet begins another file (see `cluster/kind.yaml`)."""
    path = f"/var/log/pods/*_{pod}_*/{container}/0.log"
    return processes.spawn(["docker", "exec", node, "bash", "-c", f"exec tail -n +1 -F {path}"], log=log)
