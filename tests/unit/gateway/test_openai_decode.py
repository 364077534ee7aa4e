"""Client events of OpenAI Realtime: what becomes a packet, and what is refused with which code and field."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litevoice_contracts.conversation import Item, SessionConfig, TurnDetection
from litevoice_contracts.packets import (
    Audio,
    CancelResponse,
    Clear,
    Commit,
    CreateItem,
    CreateResponse,
    Packet,
    Update,
)
from litevoice_gateway.protocols import Problem, Refusal
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.protocols.openai_realtime.decode import MAX_TOOLS_DEPTH

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


def update(session: dict[str, Any], config: SessionConfig = CONFIG) -> SessionConfig:
    packet = decode({"type": "session.update", "session": session}, config)
    assert isinstance(packet, Update)
    return packet.config


MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
ACCEPTED: list[tuple[dict[str, Any], Packet]] = [
    ({"type": "input_audio_buffer.append", "audio": PCM}, Audio(b"\1\2\3\4")),
    ({"type": "input_audio_buffer.commit", "event_id": "a"}, Commit("a")),
    ({"type": "input_audio_buffer.clear"}, Clear()),
    ({"type": "response.cancel", "response_id": "r1", "event_id": "a"}, CancelResponse("r1", "a")),
    ({"type": "response.create"}, CreateResponse()),
    ({"type": "response.create", "response": None}, CreateResponse()),
    (
        {
            "type": "response.create",
            "event_id": "a",
            "response": {"instructions": "short", "output_modalities": ["text"], "metadata": {"k": "v"}},
        },
        CreateResponse("a", "short", True, {"k": "v"}),
    ),
    ({"type": "conversation.item.create", "item": MESSAGE}, CreateItem(Item("item_new", "user", "hi"))),
    (
        {
            "type": "conversation.item.create",
            "previous_item_id": "x",
            "item": MESSAGE | {"id": "mine_1", "role": "system"},
        },
        CreateItem(Item("mine_1", "system", "hi")),
    ),
]


@pytest.mark.parametrize(("event", "packet"), ACCEPTED)
def test_accepted(event: dict[str, Any], packet: Packet) -> None:
    assert decode(event) == packet


def test_tools_as_deep_as_they_may_be() -> None:
    update = decode(session_update(tools=nested(MAX_TOOLS_DEPTH)))
    assert isinstance(update, Update)
    assert update.config.tools == nested(MAX_TOOLS_DEPTH)


def session_update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "event_id": "mine", "session": session}


def item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "event_id": "mine", "item": MESSAGE | fields}


def nested(levels: int) -> Any:
    """`levels` lists and objects within one another, counting the list of tools."""
    value: Any = 1
    for level in range(levels - 1):
        value = {"a": value} if level % 2 or level == levels - 2 else [value]
    return [value]


APPEND = {"type": "input_audio_buffer.append", "event_id": "mine"}
REFUSED: list[tuple[str, object, str, str | None]] = [
    ("no JSON", "hello", "invalid_json", None),
    ("half a message", '{"type":"input_audio_buffer.append","audio":"AA', "invalid_json", None),
    ("nothing", "", "invalid_json", None),
    ("no object", [1, 2], "invalid_json", None),
    ("tools too deep", session_update(tools=nested(MAX_TOOLS_DEPTH + 1)), "invalid_value", "session.tools"),
    ("tools far too deep", session_update(tools=nested(400)), "invalid_value", "session.tools"),
    ("too deep", "[" * 100_000, "invalid_json", None),
    ("no type", {"event_id": "mine"}, "missing_required_parameter", "type"),
    ("unknown event", {"type": "conversation.item.truncate", "event_id": "mine"}, "unknown_event", "type"),
    ("type is no string", {"type": 7, "event_id": "mine"}, "unknown_event", "type"),
    ("broken base64", APPEND | {"audio": "A*AA"}, "invalid_base64", "audio"),
    ("base64 without padding", APPEND | {"audio": "AAA"}, "invalid_base64", "audio"),
    ("no audio", APPEND, "missing_required_parameter", "audio"),
    ("empty audio", APPEND | {"audio": ""}, "invalid_value", "audio"),
    ("audio is a number", APPEND | {"audio": 5}, "invalid_type", "audio"),
    ("half a sample", APPEND | {"audio": "AAAA"}, "invalid_audio_length", "audio"),
    (
        "too much audio",
        APPEND | {"audio": base64.b64encode(b"\0" * ((1 << 20) + 2)).decode()},
        "audio_too_large",
        "audio",
    ),
    (
        "unknown format",
        session_update(audio={"input": {"format": {"type": "audio/opus"}}}),
        "invalid_audio_format",
        "session.audio.input.format.type",
    ),
    (
        "wrong rate",
        session_update(audio={"output": {"format": {"type": "audio/pcm", "rate": 16000}}}),
        "invalid_audio_format",
        "session.audio.output.format.rate",
    ),
    (
        "beta style format",
        session_update(input_audio_format="pcm16"),
        "unknown_parameter",
        "session.input_audio_format",
    ),
    ("no session", {"type": "session.update", "event_id": "mine"}, "missing_required_parameter", "session"),
    ("transcription session", session_update(type="transcription"), "invalid_value", "session.type"),
    ("instructions are a number", session_update(instructions=1), "invalid_type", "session.instructions"),
    ("long instructions", session_update(instructions="x" * 70_000), "invalid_value", "session.instructions"),
    (
        "both modalities",
        session_update(output_modalities=["audio", "text"]),
        "invalid_value",
        "session.output_modalities",
    ),
    ("unknown modality", session_update(output_modalities=["smell"]), "invalid_value", "session.output_modalities[0]"),
    ("large tools", session_update(tools=[{"a": "x" * 70_000}]), "invalid_value", "session.tools"),
    ("tool choice", session_update(tool_choice="mcp"), "invalid_value", "session.tool_choice"),
    ("speed", session_update(audio={"output": {"speed": 4}}), "invalid_value", "session.audio.output.speed"),
    ("no tokens", session_update(max_output_tokens=0), "invalid_value", "session.max_output_tokens"),
    (
        "unknown detection",
        session_update(audio={"input": {"turn_detection": {"type": "guess"}}}),
        "invalid_value",
        "session.audio.input.turn_detection.type",
    ),
    (
        "threshold",
        session_update(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}),
        "invalid_value",
        "session.audio.input.turn_detection.threshold",
    ),
    ("function output", item(type="function_call_output"), "invalid_value", "item.type"),
    (
        "no role",
        {"type": "conversation.item.create", "event_id": "mine", "item": {"type": "message"}},
        "missing_required_parameter",
        "item.role",
    ),
    ("no content", item(content=[]), "missing_required_parameter", "item.content"),
    ("image", item(content=[{"type": "input_image"}]), "invalid_value", "item.content[0].type"),
    ("text without text", item(content=[{"type": "input_text"}]), "missing_required_parameter", "item.content[0].text"),
    ("item id", item(id="a b"), "invalid_value", "item.id"),
    (
        "out of band response",
        {"type": "response.create", "event_id": "mine", "response": {"conversation": "none"}},
        "invalid_value",
        "response.conversation",
    ),
    (
        "metadata",
        {"type": "response.create", "event_id": "mine", "response": {"metadata": {str(n): "" for n in range(17)}}},
        "invalid_value",
        "response.metadata",
    ),
    ("event id", {"type": "response.create", "event_id": 4}, "invalid_type", "event_id"),
    (
        "too deep in a field that is not read",
        '{"type":"session.update","session":{"tracing":' + "[" * 100_000,
        "invalid_json",
        None,
    ),
    ("too deep behind a wrong field", '{"type":7,"x":' + "[" * 100_000, "invalid_json", None),
    ("broken behind a wrong field", '{"type":7,"x":', "invalid_json", None),
]


@pytest.mark.parametrize(("event", "code", "param"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_with_code_and_param(event: object, code: str, param: str | None) -> None:
    problem = refused(event)
    assert (problem.code, problem.param) == (code, param)
    assert len(problem.message) < 1000
    if isinstance(event, dict) and event.get("event_id") == "mine":
        assert problem.event_id == "mine"


def test_the_message_says_what_would_be_right() -> None:
    assert "audio/pcm (rate 24000), audio/pcmu, audio/pcma" in refused(REFUSED[17][1]).message
    assert "session.update" in refused({"type": "x"}).message


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    before = SessionConfig(voice="amy", instructions="old", turn_detection=TurnDetection(threshold=0.9))
    after = update(
        {
            "type": "realtime",
            "instructions": "new",
            "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 200}}},
        },
        before,
    )
    assert after == SessionConfig(
        voice="amy", instructions="new", turn_detection=TurnDetection(threshold=0.9, silence_duration_ms=200)
    )


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ({}, CONFIG),
        ({"audio": {"input": {"turn_detection": None}}}, SessionConfig(turn_detection=None)),
        ({"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}}, CONFIG),
        ({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, SessionConfig(input_codec="g711_ulaw/8000")),
        ({"audio": {"output": {"format": {"type": "audio/pcma"}}}}, SessionConfig(output_codec="g711_alaw/8000")),
        ({"audio": {"output": {"voice": {"id": "v1"}, "speed": 1.5}}}, SessionConfig(voice="v1", speed=1.5)),
        ({"audio": {"output": {"voice": "amy"}}}, SessionConfig(voice="amy")),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}}, CONFIG),
        ({"tools": [{"type": "function", "name": "f"}]}, SessionConfig(tools=[{"type": "function", "name": "f"}])),
        ({"output_modalities": ["text"], "max_output_tokens": 7}, SessionConfig(text_only=True, max_output_tokens=7)),
        ({"max_output_tokens": "inf", "tool_choice": "none"}, SessionConfig(tool_choice="none")),
        (
            {"audio": {"input": {"transcription": {"model": "whisper-1", "language": "de"}, "noise_reduction": None}}},
            SessionConfig(transcription_language="de"),
        ),
        ({"tracing": "auto", "include": None, "prompt": None, "truncation": "auto"}, CONFIG),
    ],
)
def test_session_update(session: dict[str, Any], expected: SessionConfig) -> None:
    assert update(session) == expected


def test_turn_detection_can_be_switched_on_again() -> None:
    off = SessionConfig(turn_detection=None)
    assert update({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}, off) == CONFIG


def test_telephone_audio_may_have_any_length() -> None:
    config = SessionConfig(input_codec="g711_ulaw/8000")
    assert decode({"type": "input_audio_buffer.append", "audio": "AAAA"}, config) == Audio(b"\0\0\0")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
event_types = st.sampled_from(
    ["session.update", "input_audio_buffer.append", "response.create", "conversation.item.create", "response.cancel"]
)
field_names = st.sampled_from(
    ["session", "audio", "item", "response", "event_id", "input", "format", "type", "content", "metadata", "tools"]
)
near_misses = st.recursive(
    json_values,
    lambda inner: st.dictionaries(field_names, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=15,
)


@given(st.text())
def test_any_text_is_refused_or_accepted_but_never_breaks(text: str) -> None:
    try:
        PROTOCOL.decode(text, CONFIG)
    except Refusal as refusal:
        assert refusal.problem.code


@settings(max_examples=60)
@given(event_types, st.dictionaries(field_names, near_misses, max_size=4))
def test_any_event_is_refused_or_accepted_but_never_breaks(kind: str, fields: dict[str, Any]) -> None:
    try:
        PROTOCOL.decode(json.dumps({**fields, "type": kind}), CONFIG)
    except Refusal as refusal:
        assert refusal.problem.code
        assert refusal.problem.message
