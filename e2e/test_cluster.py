"""What the local cluster promises to the machine that it runs on."""

from __future__ import annotations

import socket

import pytest

from e2e import environment

UNSERVED = "10.96.255.250"
"""Of the cluster's Service range; no Service has it."""


@pytest.mark.skipif(not environment.is_local(), reason="routes are the local cluster's")
def test_what_nothing_serves_is_refused_at_once_and_stays_on_this_machine() -> None:
    with pytest.raises(OSError) as refused, socket.create_connection((UNSERVED, 80), timeout=20):
        pass
    assert not isinstance(refused.value, TimeoutError), "silence would cost everybody who calls too early a time-out"
