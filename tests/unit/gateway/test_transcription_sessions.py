"""Sessions that only transcribe, as OpenAI's clients ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.packets import Update
from litevoice_contracts.positions import START
from litevoice_gateway.protocols import Refusal, UpgradeRequest
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.protocols.openai_realtime.upgrade import OpenAIRealtimeFactory

MODELS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
FACTORY = OpenAIRealtimeFactory(lambda: "item_new")


def connect(query: dict[str, str]) -> SessionConfig:
    request = UpgradeRequest(path="/v1/realtime", query=query, headers={}, subprotocols=())
    return FACTORY.connect(request).config


def test_the_intent_of_a_connection() -> None:
    assert connect({"intent": "transcription"}).transcription_only
    assert not connect({"model": "m"}).transcription_only
    with pytest.raises(Refusal) as refusal:
        connect({"intent": "translation"})
    assert refusal.value.problem.param == "intent"


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("session", "only"), [({"type": "transcription"}, True), ({"type": "realtime"}, False), ({}, None)]
)
def test_the_type_of_a_session(session: dict[str, str], only: bool | None, before: bool) -> None:
    protocol = OpenAIRealtime(lambda: "item_new")
    message = json.dumps({"type": "session.update", "session": session})
    (event,) = protocol.decode(message, SessionConfig(transcription_only=before))
    assert isinstance(event.packet, Update)
    assert event.packet.config.transcription_only is (before if only is None else only)


def test_a_transcription_session_is_shown_as_one() -> None:
    protocol = OpenAIRealtime(lambda: "item_new", session_id="s_1")
    (created,) = protocol.opened("s_1", SessionConfig(transcription_only=True), START, [], None)
    parsed = MODELS.validate_json(created.data)
    assert (parsed.type, parsed.session.type, parsed.session.id) == ("session.created", "transcription", "s_1")
    assert parsed.session.audio.input.turn_detection.type == "server_vad"
