"""Client events of OpenAI Realtime, and what the protocol makes of one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.packets import Packet
from litevoice_gateway.protocols import Problem, Refusal
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime

PROTOCOL = OpenAIRealtime(lambda: "item_new")
CONFIG = SessionConfig()
PCM = base64.b64encode(b"\1\2\3\4").decode()


def decode(event: object, config: SessionConfig = CONFIG) -> Packet:
    (decoded,) = PROTOCOL.decode(event if isinstance(event, str) else json.dumps(event), config)
    return decoded.packet


def refused(event: object, config: SessionConfig = CONFIG) -> Problem:
    with pytest.raises(Refusal) as refusal:
        decode(event, config)
    return refusal.value.problem


def session_update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "event_id": "mine", "session": session}
