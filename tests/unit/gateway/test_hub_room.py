"""Whom a gateway that has as many sessions as it may still lets in."""

from __future__ import annotations

from typing import Any

from litevoice_contracts.settings import BrokerSettings, GatewaySettings
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.settings import Keys


def test_a_session_that_is_still_here_takes_its_own_place_again() -> None:
    """Its client's connection may be gone, and the gateway not know it: nobody else loses a place."""
    broker = BrokerSettings(
        endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down", partitions=1
    )
    settings = GatewaySettings(broker=broker, api_keys_dir="/", keys_dir="/", max_sessions=2)
    hub: Any = Hub(settings, Keys(b"k" * 32, b"t" * 16), Metrics(), "gateway-0", "10.0.0.1")
    hub.sessions.update(s_here=None, s_other=None)
    assert hub.state_for("s_here").full == ""
    assert [hub.state_for(name).full for name in ("s_elsewhere", "")] == ["sessions", "sessions"]
    assert hub.full == "sessions"
    assert hub.metrics.registry.get_sample_value("litevoice_gateway_capacity_sessions") == 2
