"""Client events of OpenAI Realtime: what becomes a packet, and what is refused with which code and field."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litevoice_contracts.conversation import MAX_ITEMS, Item
from litevoice_contracts.packets import (
    Audio,
    CancelResponse,
    Clear,
    Commit,
    CreateItem,
    CreateResponse,
    DeleteItem,
    Packet,
    RetrieveItem,
    TruncateItem,
    Update,
)
from litevoice_gateway.protocols import Refusal
from litevoice_gateway.protocols.openai_realtime.decode import MAX_TOOLS_DEPTH
from tests.unit.gateway.openai_events import CONFIG, PCM, PROTOCOL, decode, refused, session_update

MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
SPOKEN = {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "hi"}]}
CALL = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
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
    (
        {
            "type": "response.create",
            "response": {
                "tools": [{"type": "function", "name": "f"}],
                "tool_choice": {"type": "function", "name": "f"},
                "max_output_tokens": "inf",
            },
        },
        CreateResponse(max_output_tokens=0, tools=[{"type": "function", "name": "f"}], tool_choice="function/f"),
    ),
    ({"type": "response.create", "response": {"conversation": "none"}}, CreateResponse(out_of_band=True)),
    ({"type": "response.create", "response": {"conversation": "auto", "input": []}}, CreateResponse(input=[])),
    (
        {
            "type": "response.create",
            "response": {
                "conversation": "none",
                "input": [MESSAGE, {"type": "item_reference", "id": "x"}, CALL | {"id": "y"}],
                "audio": {"output": {"voice": "v", "format": {"type": "audio/pcmu"}}},
            },
        },
        CreateResponse(
            voice="v",
            codec="g711_ulaw/8000",
            out_of_band=True,
            input=[
                Item("item_new", "user", "hi"),
                "x",
                Item("y", "assistant", "{}", kind="function_call", call_id="c", name="f"),
            ],
        ),
    ),
    ({"type": "response.create", "response": {"audio": {"output": {"voice": {"id": "v"}}}}}, CreateResponse(voice="v")),
    ({"type": "response.create", "response": {"audio": {}}}, CreateResponse()),
    ({"type": "conversation.item.create", "item": MESSAGE}, CreateItem(Item("item_new", "user", "hi"))),
    (
        {
            "type": "conversation.item.create",
            "previous_item_id": "x",
            "item": MESSAGE | {"id": "mine_1", "role": "system"},
        },
        CreateItem(Item("mine_1", "system", "hi"), previous_item_id="x"),
    ),
    (
        {"type": "conversation.item.create", "item": SPOKEN},
        CreateItem(Item("item_new", "assistant", "hi", audio=True)),
    ),
    (
        {"type": "conversation.item.create", "item": CALL},
        CreateItem(Item("item_new", "assistant", "{}", kind="function_call", call_id="c", name="f")),
    ),
    (
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "c", "output": "7"},
        },
        CreateItem(Item("item_new", "system", "7", kind="function_call_output", call_id="c")),
    ),
    ({"type": "conversation.item.delete", "item_id": "x", "event_id": "a"}, DeleteItem("x", "a")),
    ({"type": "conversation.item.retrieve", "item_id": "x"}, RetrieveItem("x")),
    (
        {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 400},
        TruncateItem("x", 400),
    ),
]


@pytest.mark.parametrize(("event", "packet"), ACCEPTED)
def test_accepted(event: dict[str, Any], packet: Packet) -> None:
    assert decode(event) == packet


def test_tools_as_deep_as_they_may_be() -> None:
    tools = [{"name": "f", "parameters": {"enum": nested(MAX_TOOLS_DEPTH - 3)}}]
    update = decode(session_update(tools=tools))
    assert isinstance(update, Update)
    assert update.config.tools == tools


def item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "event_id": "mine", "item": MESSAGE | fields}


def create(**response: Any) -> dict[str, Any]:
    return {"type": "response.create", "event_id": "mine", "response": response}


def item_of_text(characters: int) -> dict[str, Any]:
    return MESSAGE | {"content": [{"type": "input_text", "text": "x" * characters}]}


def nested(levels: int) -> Any:
    """`levels` lists and objects within one another, counting the list of tools."""
    value: Any = 1
    for level in range(levels - 1):
        value = {"a": value} if level % 2 or level == levels - 2 else [value]
    return [value]


APPEND = {"type": "input_audio_buffer.append", "event_id": "mine"}
TRUNCATE = {"type": "conversation.item.truncate", "item_id": "x", "event_id": "mine"}
REFUSED: list[tuple[str, object, str, str | None]] = [
    ("no JSON", "hello", "invalid_json", None),
    ("half a message", '{"type":"input_audio_buffer.append","audio":"AA', "invalid_json", None),
    ("nothing", "", "invalid_json", None),
    ("no object", [1, 2], "invalid_json", None),
    ("tools too deep", session_update(tools=nested(MAX_TOOLS_DEPTH + 1)), "invalid_value", "session.tools"),
    ("tools far too deep", session_update(tools=nested(400)), "invalid_value", "session.tools"),
    ("too deep", "[" * 100_000, "invalid_json", None),
    ("no type", {"event_id": "mine"}, "missing_required_parameter", "type"),
    ("base64 of no length", APPEND | {"audio": "AAAAA"}, "invalid_base64", "audio"),
    ("output of no call", item(type="function_call_output"), "missing_required_parameter", "item.call_id"),
    ("an approval", item(type="mcp_approval_response"), "invalid_value", "item.type"),
    (
        "speech without words",
        item(content=[{"type": "input_audio", "audio": "AAAA"}]),
        "missing_required_parameter",
        "item.content[0].transcript",
    ),
    ("unknown event", {"type": "output_audio_buffer.clear", "event_id": "mine"}, "unknown_event", "type"),
    ("truncated to nothing said", TRUNCATE, "missing_required_parameter", "audio_end_ms"),
    ("truncated to less than nothing", TRUNCATE | {"audio_end_ms": -1}, "invalid_value", "audio_end_ms"),
    ("type is no string", {"type": 7, "event_id": "mine"}, "unknown_event", "type"),
    ("broken base64", APPEND | {"audio": "A*AA"}, "invalid_base64", "audio"),
    ("no audio", APPEND, "missing_required_parameter", "audio"),
    ("audio is a number", APPEND | {"audio": 5}, "invalid_type", "audio"),
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
    ("session of another type", session_update(type="translation"), "invalid_value", "session.type"),
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
    (
        "a number that nobody can store",
        session_update(tools=[{"name": "f", "parameters": {"maximum": 10**20}}]),
        "invalid_value",
        "session.tools",
    ),
    ("a function without a name", session_update(tools=[{"name": ""}]), "invalid_value", "session.tools[0].name"),
    (
        "parameters that are no schema",
        create(tools=[{"name": "f", "parameters": []}]),
        "invalid_type",
        "response.tools[0].parameters",
    ),
    (
        "a description that is none",
        create(tools=[{"name": "f", "description": {}}]),
        "invalid_type",
        "response.tools[0].description",
    ),
    (
        "a function that is not there",
        create(tool_choice={"type": "function", "name": "f"}),
        "invalid_value",
        "response.tool_choice",
    ),
    (
        "an unknown field of what is there twice",
        '{"type":"session.update","session":{"new_field":1},"session":{"instructions":"x"}}',
        "unknown_parameter",
        "session.new_field",
    ),
    (
        "an unknown field of what is there twice, the second time as something else",
        '{"type":"session.update","session":{"audio":{"new_field":1}},"session":{"audio":[]}}',
        "unknown_parameter",
        "session.audio.new_field",
    ),
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
    ("the id that stands for the beginning", item(id="root"), "invalid_value", "item.id"),
    (
        "hardly any silence",
        session_update(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 10}}}),
        "invalid_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    ("another conversation", create(conversation="other"), "invalid_value", "response.conversation"),
    ("no input", create(input={}), "invalid_type", "response.input"),
    ("an item of unknown kind", create(input=[{"type": "image"}]), "invalid_value", "response.input[0].type"),
    (
        "a reference to nothing",
        create(input=[MESSAGE, {"type": "item_reference"}]),
        "missing_required_parameter",
        "response.input[1].id",
    ),
    (
        "nobody's message",
        create(input=[{"type": "message", "content": []}]),
        "missing_required_parameter",
        "response.input[0].role",
    ),
    ("too many items", create(input=[MESSAGE] * (MAX_ITEMS + 1)), "invalid_value", "response.input"),
    ("too much text", create(input=[item_of_text(40_000)] * 2), "invalid_value", "response.input"),
    (
        "a sampling rate",
        create(audio={"output": {"format": {"type": "audio/pcm", "rate": 16_000}}}),
        "invalid_audio_format",
        "response.audio.output.format.rate",
    ),
    ("a reference outside an input", item(type="item_reference", id="x"), "invalid_value", "item.type"),
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
    problem = refused(session_update(audio={"input": {"format": {"type": "audio/wav"}}}))
    assert "audio/pcm (rate 24000), audio/pcmu, audio/pcma" in problem.message
    assert "session.update" in refused({"type": "x"}).message


@pytest.mark.parametrize(
    ("event", "without"),
    [
        (MESSAGE, {"call_id": None, "name": None, "arguments": None, "output": None, "status": None}),
        (CALL, {"role": None, "content": None, "output": None}),
        (
            {"type": "function_call_output", "call_id": "c", "output": "o"},
            {"role": None, "content": None, "name": None, "arguments": None},
        ),
    ],
    ids=["message", "call", "output"],
)
def test_fields_that_an_item_does_not_have_may_be_null(event: dict[str, Any], without: dict[str, None]) -> None:
    def created(item: dict[str, Any]) -> Packet:
        return decode({"type": "conversation.item.create", "item": item})

    assert created(event | without) == created(event)


def test_what_an_item_needs_must_not_be_null() -> None:
    for kind, field in ((MESSAGE, "role"), (MESSAGE, "content"), (CALL, "arguments"), (CALL, "name")):
        problem = refused({"type": "conversation.item.create", "item": kind | {field: None}})
        assert (problem.code, problem.param) == ("missing_required_parameter", f"item.{field}")


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
        for decoded in PROTOCOL.decode(json.dumps({**fields, "type": kind}), CONFIG):
            assert msgspec.msgpack.encode(decoded.packet), "it can be published"
    except Refusal as refusal:
        assert refusal.problem.code
        assert refusal.problem.message
