"""The client protocols that the gateway speaks."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from litevoice_gateway.protocols import ProtocolFactory, UpgradeRequest
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtimeFactory

PROTOCOLS: tuple[ProtocolFactory, ...] = (OpenAIRealtimeFactory(lambda: f"item_{secrets.token_hex(10)}"),)
"""Asked in this order; the first one also answers requests that are meant for none."""


def choose(protocols: Sequence[ProtocolFactory], request: UpgradeRequest) -> ProtocolFactory | None:
    """The first protocol that the request is meant for."""
    return next((protocol for protocol in protocols if protocol.accepts(request)), None)
