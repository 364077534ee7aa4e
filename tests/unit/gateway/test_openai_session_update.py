"""`session.update` of OpenAI Realtime: it changes what it names, and what is not supported is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from litevoice_contracts.conversation import SessionConfig, Truncation, TurnDetection
from litevoice_contracts.events import InputTranscribed, TranscriptionFailed
from litevoice_contracts.packets import CreateResponse, Update
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.protocols.openai_realtime.encode import Context, encode, session_object
from tests.unit.gateway.openai_events import CONFIG, decode, refused, session_update


def update(session: dict[str, Any], config: SessionConfig = CONFIG) -> SessionConfig:
    packet = decode({"type": "session.update", "session": session}, config)
    assert isinstance(packet, Update)
    return packet.config


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


def test_the_idle_timeout_alone_of_turn_detection_is_ended_by_null() -> None:
    before = SessionConfig(turn_detection=TurnDetection(threshold=0.7, idle_timeout_ms=6000))

    def changed(**fields: Any) -> TurnDetection | None:
        detection = {"type": "server_vad", **fields}
        return update({"type": "realtime", "audio": {"input": {"turn_detection": detection}}}, before).turn_detection

    assert changed(idle_timeout_ms=None, threshold=None) == TurnDetection(threshold=0.7)
    assert changed() == before.turn_detection
    assert changed(type="semantic_vad") == TurnDetection()


DETECTED = OpenAIRealtime(lambda: "item_new", models=["plain", "wise"], semantic_models=["wise"])


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        ("wise", {"eagerness": "low"}, TurnDetection(silence_duration_ms=300, eagerness="low")),
        ("wise", {"eagerness": None}, TurnDetection(silence_duration_ms=300, eagerness="auto")),
        ("wise", {"create_response": False},
         TurnDetection(silence_duration_ms=300, create_response=False, eagerness="auto")),
        ("plain", {"eagerness": "low"}, TurnDetection()),
    ],
)  # fmt: skip
def test_semantic_turn_detection_where_there_is_a_detector(
    model: str, asked: dict[str, Any], expected: TurnDetection
) -> None:
    before = SessionConfig(model=model, turn_detection=TurnDetection(threshold=0.9))
    session = {"audio": {"input": {"turn_detection": {"type": "semantic_vad", **asked}}}}
    (event,) = DETECTED.decode(json.dumps({"type": "session.update", "session": session}), before)
    assert isinstance(event.packet, Update)
    assert event.packet.config == SessionConfig(model=model, turn_detection=expected)


def test_the_model_that_comes_along_says_whether_there_is_a_detector() -> None:
    session = {"model": "wise", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
    (event,) = DETECTED.decode(json.dumps({"type": "session.update", "session": session}), SessionConfig(model="plain"))
    assert isinstance(event.packet, Update)
    assert event.packet.config.turn_detection == TurnDetection(silence_duration_ms=300, eagerness="auto")


BUDGET = {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 5000}}
LIMITED = Truncation(max_tokens=5000, retention_ratio=0.8)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(BUDGET, LIMITED), ("disabled", Truncation(disabled=True)), ("auto", Truncation())],
)
def test_truncation_is_applied_and_shown(asked: object, expected: Truncation) -> None:
    config = update({"truncation": asked})
    assert config == SessionConfig(truncation=expected)
    assert update({"instructions": "be brief"}, config).truncation == expected
    assert session_object(Context("s", config, False))["truncation"] == asked


@pytest.mark.parametrize("limits", [None, {}, {"post_instructions": None}])
def test_a_ratio_of_nobody_knows_what_is_not_applied(limits: object) -> None:
    session = {"truncation": BUDGET | {"token_limits": limits}}
    packet = decode({"type": "session.update", "session": session}, SessionConfig(truncation=LIMITED))
    assert packet == Update(SessionConfig(truncation=LIMITED), None, ["session.truncation"])


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ("never", "session.truncation"),
        (BUDGET | {"retention_ratio": 1.1}, "session.truncation.retention_ratio"),
        (BUDGET | {"token_limits": {"post_instructions": 0}}, "session.truncation.token_limits.post_instructions"),
    ],
)
def test_a_wrong_truncation_is_named(asked: object, param: str) -> None:
    problem = refused(session_update(truncation=asked))
    assert (problem.code, problem.param) == ("invalid_value", param)


MAPPED = OpenAIRealtime(lambda: "item_new", models=["m", "free"], voices={"m": ["ash", "own"]})


@pytest.mark.parametrize(
    ("model", "asked", "expected", "applied"),
    [
        ("m", "ash", "ash", True),
        ("m", "default", "default", True),
        ("m", "coral", "own", False),
        ("m", {"id": "coral"}, "own", False),
        ("free", "coral", "coral", True),
    ],
)
def test_a_voice_that_the_pipeline_does_not_know_is_not_applied(
    model: str, asked: object, expected: str, applied: bool
) -> None:
    before = SessionConfig(model=model, voice="own")
    session = {"audio": {"output": {"voice": asked, "speed": 1.2}}}
    (event,) = MAPPED.decode(json.dumps({"type": "session.update", "session": session}), before)
    assert isinstance(event.packet, Update)
    assert event.packet.config == SessionConfig(model=model, voice=expected, speed=1.2)
    assert event.packet.not_applied == (None if applied else ["session.audio.output.voice"])
    response = {"audio": {"output": {"voice": asked}}}
    (event,) = MAPPED.decode(json.dumps({"type": "response.create", "response": response}), before)
    assert event.packet == CreateResponse(voice=expected if applied else None)


def test_silence_alone_after_semantic_turn_detection() -> None:
    before = SessionConfig(turn_detection=TurnDetection(silence_duration_ms=300, eagerness="low"))
    assert update({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}, before) == CONFIG


def test_turn_detection_can_be_switched_on_again() -> None:
    off = SessionConfig(turn_detection=None)
    assert update({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}, off) == CONFIG


def test_what_is_not_supported_is_named_and_the_rest_applied() -> None:
    session = {
        "instructions": "be brief",
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
        "tracing": None,
        "new_field": 1,
        "audio": {
            "input": {
                "transcription": {"language": "de", "languages": ["de", "en"], "model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "threshold": 0.7, "idle_timeout_ms": 6000},
            },
            "output": {"speed": 1.2, "style": "calm"},
        },
    }
    packet = decode({"type": "session.update", "session": session})
    assert isinstance(packet, Update)
    assert packet.config == SessionConfig(
        instructions="be brief",
        transcription_language="de",
        turn_detection=TurnDetection(threshold=0.7, idle_timeout_ms=6000),
        speed=1.2,
    )
    assert packet.not_applied is not None
    assert sorted(packet.not_applied) == [
        "session.audio.input.transcription.languages",
        "session.audio.input.transcription.model",
        "session.audio.output.style",
        "session.new_field",
        "session.truncation",
    ]


def test_what_is_wrong_is_refused_whatever_is_not_supported() -> None:
    problem = refused(session_update(new_field=1, audio={"output": {"speed": 9}}))
    assert (problem.code, problem.param, problem.event_id) == ("invalid_value", "session.audio.output.speed", "mine")
    many = session_update(**{f"field_{number}": 1 for number in range(100)})
    assert refused(many).code == "unknown_parameter"


def test_tools_that_are_no_functions_are_not_applied() -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "s"}]
    packet = decode({"type": "session.update", "session": {"tools": tools}})
    assert isinstance(packet, Update)
    assert packet.config.tools == tools[:1]
    assert packet.not_applied == ["session.tools[1]"]
    problem = refused(session_update(tools=[{"type": "function"}]))
    assert (problem.code, problem.param) == ("missing_required_parameter", "session.tools[0].name")


def test_the_choice_of_a_tool_of_an_mcp_server_is_not_applied() -> None:
    choice = {"type": "mcp", "server_label": "s", "name": "f"}
    before = SessionConfig(tool_choice="required")
    packet = decode({"type": "session.update", "session": {"instructions": "new", "tool_choice": choice}}, before)
    assert isinstance(packet, Update)
    assert packet.config == SessionConfig(instructions="new", tool_choice="required")
    assert packet.not_applied == ["session.tool_choice.server_label"]
    assert decode({"type": "response.create", "response": {"tool_choice": choice}}) == CreateResponse()


def test_the_choice_of_a_function_that_is_not_there_is_not_applied() -> None:
    choice = {"type": "function", "name": "f"}
    tools: list[dict[str, object]] = [{"type": "function", "name": "f"}]
    packet = decode({"type": "session.update", "session": {"instructions": "new", "tool_choice": choice}})
    assert isinstance(packet, Update)
    assert packet.config == SessionConfig(instructions="new")
    assert packet.not_applied == ["session.tool_choice"]
    with_tools = SessionConfig(tools=tools, tool_choice="function/f")
    assert update({"tool_choice": choice, "tools": tools}) == with_tools
    assert update({"tool_choice": choice}, SessionConfig(tools=tools)) == with_tools
    assert decode({"type": "response.create", "response": {"tool_choice": choice}}, with_tools) == CreateResponse(
        tool_choice="function/f"
    )


def test_null_leaves_a_field_as_it_is() -> None:
    telephone = SessionConfig(input_codec="g711_ulaw/8000", transcription_only=True)
    assert update({"type": None, "instructions": None, "tools": None, "tool_choice": None}, telephone) == telephone
    audio = {"input": {"format": {"type": "audio/pcmu", "rate": None}}}
    assert update({"audio": audio}).input_codec == "g711_ulaw/8000"


def test_transcription_that_is_null_is_off() -> None:
    off = update({"audio": {"input": {"transcription": None}}})
    assert off == SessionConfig(transcripts=False)
    assert update({"audio": {"input": {"noise_reduction": None}}}, off) == off
    assert update({"audio": {"input": {"transcription": {"model": "whisper-1"}}}}, off) == CONFIG
    for config, shown, told in (
        (off, None, 0),
        (CONFIG, {}, 1),
        (SessionConfig(transcripts=False, transcription_only=True), {}, 1),
    ):
        context = Context("s", config, False)
        audio: Any = session_object(context)["audio"]
        assert audio["input"]["transcription"] == shown
        for event in (InputTranscribed("i", "hello", 1.0), TranscriptionFailed("i", "broken")):
            assert len(encode(event, context)) == told
