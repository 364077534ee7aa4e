"""Every server event the gateway sends is what the openai package's own models expect."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from litevoice_contracts import events
from litevoice_contracts.conversation import Item, SessionConfig, TurnDetection
from litevoice_contracts.events import DownEvent
from litevoice_contracts.positions import START, EventId
from litevoice_gateway.protocols import Frame, Problem
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.protocols.openai_realtime.encode import Context
from litevoice_gateway.session_state import LogEvent

MODELS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
PROTOCOL = OpenAIRealtime(lambda: "item_new", session_id="s_1")
VOICE = Context("s_1", SessionConfig(), False)
TEXT = Context("s_1", SessionConfig(text_only=True), True)
G711 = Context(
    "s_1",
    SessionConfig(
        input_codec="g711_ulaw/8000",
        output_codec="g711_alaw/8000",
        turn_detection=None,
        max_output_tokens=50,
        transcription_language="en",
        tools=[{"type": "function", "name": "f", "parameters": {}}],
    ),
    False,
)
METADATA = {"topic": "weather"}
ASSISTANT, USER, SPOKEN = Item("i1", "assistant", "hi"), Item("i1", "user", "hi"), Item("i1", "user", "hi", audio=True)

CASES: list[tuple[str, DownEvent, Context, list[str]]] = [
    ("speech started", events.SpeechStarted("i1", 120), VOICE, ["input_audio_buffer.speech_started"]),
    ("speech stopped", events.SpeechStopped("i1", 900), VOICE, ["input_audio_buffer.speech_stopped"]),
    (
        "committed, with the item it becomes",
        events.InputCommitted("i1", "i0"),
        VOICE,
        ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"],
    ),
    (
        "transcribed",
        events.InputTranscribed("i1", "hello", 1.25),
        VOICE,
        ["conversation.item.input_audio_transcription.completed"],
    ),
    (
        "not transcribed",
        events.TranscriptionFailed("i1", "no words"),
        VOICE,
        ["conversation.item.input_audio_transcription.failed"],
    ),
    ("cleared", events.InputCleared(), VOICE, ["input_audio_buffer.cleared"]),
    (
        "user text item",
        events.ItemCreated(USER, "i0"),
        VOICE,
        ["conversation.item.added", "conversation.item.done"],
    ),
    ("spoken item", events.ItemCreated(SPOKEN), VOICE, ["conversation.item.added", "conversation.item.done"]),
    ("assistant item", events.ItemCreated(ASSISTANT), VOICE, ["conversation.item.added", "conversation.item.done"]),
    (
        "system item",
        events.ItemCreated(Item("i1", "system", "be nice")),
        VOICE,
        ["conversation.item.added", "conversation.item.done"],
    ),
    ("session updated", events.SessionUpdated(), VOICE, ["session.updated"]),
    ("session updated, telephone", events.SessionUpdated(), G711, ["session.updated"]),
    (
        "response started",
        events.ResponseStarted("r1", "i1", metadata=METADATA, previous_item_id="i0"),
        VOICE,
        [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
        ],
    ),
    (
        "response started, text only",
        events.ResponseStarted("r1", "i1", text_only=True),
        TEXT,
        [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
        ],
    ),
    ("spoken sentence", events.TextDelta("r1", "i1", "Hi."), VOICE, ["response.output_audio_transcript.delta"]),
    ("written sentence", events.TextDelta("r1", "i1", "Hi."), TEXT, ["response.output_text.delta"]),
    ("audio", events.AudioDelta("r1", "i1", b"\1\2" * 100), VOICE, ["response.output_audio.delta"]),
    (
        "response finished",
        events.ResponseFinished("r1", "i1", "completed", "Hi.", metadata=METADATA, input_tokens=3, output_tokens=4),
        VOICE,
        [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ],
    ),
    (
        "response finished, text only",
        events.ResponseFinished("r1", "i1", "completed", "Hi.", text_only=True),
        TEXT,
        [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ],
    ),
    ("worker's error", events.SessionError("no_response", "nothing to cancel"), VOICE, ["error"]),
]


def wire(frames: list[Frame]) -> list[dict[str, Any]]:
    assert not any(frame.binary for frame in frames)
    return [json.loads(frame.data) for frame in frames]


def encode(event: DownEvent, context: Context) -> list[Frame]:
    return PROTOCOL.encode(EventId(1, -1), [LogEvent(event, context.config, context.text_only)])


@pytest.mark.parametrize(("event", "context", "types"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_events_fit_the_models_of_the_openai_package(event: DownEvent, context: Context, types: list[str]) -> None:
    sent = wire(encode(event, context))
    assert [message["type"] for message in sent] == types
    for message in sent:
        parsed = MODELS.validate_python(message)
        assert parsed.type == message["type"]
        known = json.loads(parsed.model_dump_json(exclude_unset=True))
        assert known["event_id"] == message["event_id"]


@pytest.mark.parametrize("context", [VOICE, TEXT, G711])
def test_session_created_fits_and_says_what_is_in_force(context: Context) -> None:
    (created,) = wire(PROTOCOL.opened("s_1", context.config, START, [], None))
    parsed = MODELS.validate_python(created)
    assert parsed.type == "session.created"
    assert created["session"]["id"] == "s_1"
    assert created["session"]["output_modalities"] == (["text"] if context.text_only else ["audio"])


def test_telephone_formats_and_push_to_talk_are_shown() -> None:
    (updated,) = wire(encode(events.SessionUpdated(), G711))
    audio = updated["session"]["audio"]
    assert audio["input"]["format"] == {"type": "audio/pcmu"}
    assert audio["input"]["turn_detection"] is None
    assert audio["input"]["transcription"] == {"language": "en"}
    assert audio["output"]["format"] == {"type": "audio/pcma"}
    assert updated["session"]["max_output_tokens"] == 50


def test_turn_detection_is_shown_as_it_works() -> None:
    config = SessionConfig(turn_detection=TurnDetection(0.7, 100, 300, create_response=False))
    (updated,) = wire(encode(events.SessionUpdated(), Context("s_1", config, False)))
    assert updated["session"]["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.7,
        "prefix_padding_ms": 100,
        "silence_duration_ms": 300,
        "create_response": False,
        "interrupt_response": True,
    }


def test_metadata_comes_back_at_the_beginning_and_the_end() -> None:
    started = wire(encode(events.ResponseStarted("r1", "i1", metadata=METADATA), VOICE))
    done = wire(encode(events.ResponseFinished("r1", "i1", "completed", "x", metadata=METADATA), VOICE))
    assert started[0]["response"]["metadata"] == METADATA
    assert done[-1]["response"]["metadata"] == METADATA


def test_audio_is_base64_of_exactly_the_bytes() -> None:
    audio = bytes(range(256)) * 3
    (delta,) = wire(encode(events.AudioDelta("r1", "i1", audio), VOICE))
    assert base64.b64decode(delta["delta"], validate=True) == audio


@pytest.mark.parametrize(
    ("event", "details"),
    [
        (events.ResponseFinished("r", "i", "completed", ""), None),
        (
            events.ResponseFinished("r", "i", "cancelled", "", reason="turn_detected"),
            {"type": "cancelled", "reason": "turn_detected"},
        ),
        (
            events.ResponseFinished("r", "i", "failed", "", reason="model gone"),
            {
                "type": "failed",
                "error": {"type": "server_error", "code": "response_failed", "message": "model gone"},
            },
        ),
        (
            events.ResponseFinished("r", "i", "incomplete", "", reason="max_output_tokens"),
            {"type": "incomplete", "reason": "max_output_tokens"},
        ),
    ],
)
def test_how_a_response_ended_is_told(event: events.ResponseFinished, details: object) -> None:
    done = wire(encode(event, VOICE))[-1]
    MODELS.validate_python(done)
    assert done["response"]["status"] == event.status
    assert done["response"]["status_details"] == details
    assert done["response"]["output"][0]["status"] == ("completed" if event.status == "completed" else "incomplete")


def test_problem_is_an_error_event_with_code_param_and_event_id() -> None:
    (error,) = wire(PROTOCOL.problem(Problem("invalid_base64", "audio: no", "audio", "mine")))
    MODELS.validate_python(error)
    assert error["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_base64",
        "message": "audio: no",
        "param": "audio",
        "event_id": "mine",
    }
