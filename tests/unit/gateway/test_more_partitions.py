"""A gateway that was not told of more partitions yet, and a client with a session of one that was."""

from __future__ import annotations

import pytest

from litevoice_contracts.names import new_session_id
from litevoice_contracts.settings import BrokerSettings, GatewaySettings
from litevoice_gateway.homes import Homes
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.protocols import UpgradeRequest
from litevoice_gateway.protocols.registry import PROTOCOLS
from litevoice_gateway.settings import Keys
from litevoice_gateway.upgrade import Admitted, admit
from tests.early_ids import early_session_id

KEY = b"k" * 32
OF_TWO, OF_FOUR = new_session_id(KEY, "alice", 2), new_session_id(KEY, "alice", 4)
EARLY = early_session_id(KEY, "alice")


class Answering:
    unready = ""


WHO = [  # session, partitions that the gateway knows, status, error code
    ("its own", OF_TWO, 2, 0, ""),
    ("of a gateway that was told of more", OF_FOUR, 2, 503, "unavailable"),
    ("it was told of them, too", OF_FOUR, 4, 0, ""),
    ("of before there were more", OF_TWO, 4, 0, ""),
    ("of the first release", EARLY, 4, 0, ""),
    ("of so many that there can never be", OF_FOUR.replace("s4_", "s400_"), 4, 403, "session_not_yours"),
    ("forged", OF_TWO.replace("s2_", "s4_"), 2, 403, "session_not_yours"),
    ("somebody else's", new_session_id(KEY, "bob", 4), 2, 403, "session_not_yours"),
    ("a new one", "", 2, 0, ""),
]


@pytest.mark.parametrize(
    ("description", "session_id", "partitions", "status", "code"), WHO, ids=[row[0] for row in WHO]
)
def test_who_gets_in(
    monkeypatch: pytest.MonkeyPatch, description: str, session_id: str, partitions: int, status: int, code: str
) -> None:
    """503 sends it to another gateway; 403 would tell it that its session is none."""
    monkeypatch.setattr(Homes, "of", lambda self, session_id: Answering())
    monkeypatch.setattr(Homes, "unready", "")
    broker = BrokerSettings(
        endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down",
        partitions=partitions,
    )  # fmt: skip
    settings = GatewaySettings(broker=broker, api_keys_dir="/", keys_dir="/")
    hub = Hub(settings, Keys(KEY, b"t" * 16), Metrics(), "gateway-0", "10.0.0.1")
    query = f"?session_id={session_id}" if session_id else ""
    request = UpgradeRequest.parse(f"/v1/realtime{query}", {"authorization": "Bearer alices-key"})
    answer = admit(request, hub.state_for, PROTOCOLS, {"alices-key": "alice"}.get, KEY)
    if isinstance(answer, Admitted):
        assert not status, description
        return
    assert answer.status == status, description
    assert code.encode() in answer.body
    assert ("Retry-After" in answer.headers) == (status == 503)
