"""Ports of this machine, for the processes of `make dev` and the tests."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence

HOST = "127.0.0.1"
_SHARES = 8
_PORTS_PER_SHARE = 2000
_FIRST_PORT = 15_500
_handed_out: set[int] = set()


def listens(port: int) -> bool:
    """Whether somebody accepts connections on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def free_port(also: Sequence[int] = ()) -> int:
    """A port below the kernel's ephemeral range, so that no outgoing connection takes it during a restart.

    `also`: offsets whose ports must be free too. Processes that take ports at the same time each have a share of their
    own when LITEVOICE_PORT_SHARE tells them apart (0, 1, 2 …): what one of them restarts is not bound for a moment.
    """
    first = _FIRST_PORT + _PORTS_PER_SHARE * (int(os.environ.get("LITEVOICE_PORT_SHARE", "0")) % _SHARES)
    for _ in range(1000):
        port = random.randrange(first, first + _PORTS_PER_SHARE)
        wanted = {port, *(port + offset for offset in also)}
        if wanted & _handed_out or not all(_bindable(number) for number in wanted):
            continue
        _handed_out.update(wanted)
        return port
    raise RuntimeError(f"no free port from {first} on")


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
