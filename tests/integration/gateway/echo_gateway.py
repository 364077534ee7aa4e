"""A gateway that also speaks the echo protocol of the unit tests: nothing but its entry point differs."""

from __future__ import annotations

import sys

from litevoice_gateway.__main__ import main
from litevoice_gateway.protocols.registry import PROTOCOLS
from tests.unit.gateway.echo_protocol import EchoFactory

if __name__ == "__main__":
    sys.exit(main((EchoFactory(), *PROTOCOLS)))
