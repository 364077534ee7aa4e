"""What the local cluster promises to the machine that it runs on."""

from __future__ import annotations

import socket

import pytest

from e2e import environment
from e2e.shell import run

UNSERVED = "10.96.255.250"
"""Of the cluster's Service range; no Service has it."""


local_only = pytest.mark.skipif(not environment.is_local(), reason="routes and containers are the local cluster's")


@local_only
def test_what_nothing_serves_is_refused_at_once_and_stays_on_this_machine() -> None:
    with pytest.raises(OSError) as refused, socket.create_connection((UNSERVED, 80), timeout=20):
        pass
    assert not isinstance(refused.value, TimeoutError), "silence would cost everybody who calls too early a time-out"


@local_only
def test_the_nodes_stay_down_when_only_the_engine_comes_back() -> None:
    """An engine that was killed brings back what it thinks has crashed: whole clusters, beside an image build."""
    nodes = run(("docker", "ps", "--quiet", "--filter", "label=io.x-k8s.kind.cluster=litevoice")).split()
    policies = run(("docker", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", *nodes)).split()
    assert policies == ["no"] * 3
