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

CALLED = Item("i1", "assistant", '{"a": 1}', kind="function_call", call_id="c1", name="f")
RETURNED = Item("i1", "system", "7", kind="function_call_output", call_id="c1")
CASES: list[tuple[str, DownEvent, Context, list[str]]] = [
    ("speech started", events.SpeechStarted("i1", 120), VOICE, ["input_audio_buffer.speech_started"]),
    ("speech stopped", events.SpeechStopped("i1", 900), VOICE, ["input_audio_buffer.speech_stopped"]),
    (
        "nobody spoke",
        events.InputTimedOut("i1", 900, 6900),
        VOICE,
        ["input_audio_buffer.timeout_triggered"],
    ),
    (
        "committed, with the item it becomes",
        events.InputCommitted("i1", "i0"),
        VOICE,
        ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"],
    ),
    (
        "transcribed in part",
        events.InputTranscriptDelta("i1", " hello"),
        VOICE,
        ["conversation.item.input_audio_transcription.delta"],
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
    ("function call", events.ItemCreated(CALLED), VOICE, ["conversation.item.added", "conversation.item.done"]),
    ("its output", events.ItemCreated(RETURNED), VOICE, ["conversation.item.added", "conversation.item.done"]),
    ("session updated in part", events.SessionUpdated(["session.tracing"]), VOICE, ["session.updated"]),
    ("item deleted", events.ItemDeleted("i1"), VOICE, ["conversation.item.deleted"]),
    ("item retrieved", events.ItemRetrieved(ASSISTANT), VOICE, ["conversation.item.retrieved"]),
    ("item truncated", events.ItemTruncated("i1", 400), VOICE, ["conversation.item.truncated"]),
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
        "response finished with a call of a function",
        events.ResponseFinished("r1", "i0", "completed", "", calls=[CALLED]),
        VOICE,
        [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ],
    ),
    (
        "out of band response started",
        events.ResponseStarted("r1", "i1", out_of_band=True, voice="v", codec="g711_ulaw/8000", max_output_tokens=7),
        VOICE,
        ["response.created", "response.output_item.added", "response.content_part.added"],
    ),
    (
        "out of band response finished, with a call",
        events.ResponseFinished("r1", "i1", "completed", "", calls=[CALLED], call_indexes=[1], out_of_band=True),
        VOICE,
        [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.done",
        ],
    ),
    ("call begun", events.CallStarted("r1", "i1", 1, "c1", "f"), VOICE, ["response.output_item.added"]),
    (
        "arguments",
        events.CallDelta("r1", "i1", 1, "c1", '{"a"'),
        VOICE,
        ["response.function_call_arguments.delta"],
    ),
    (
        "response finished with a call that was told",
        events.ResponseFinished("r1", "i0", "completed", "", calls=[CALLED], call_indexes=[2]),
        VOICE,
        [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "conversation.item.added",
            "response.function_call_arguments.done",
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
    config = SessionConfig(turn_detection=TurnDetection(0.7, 100, 300, create_response=False, idle_timeout_ms=6000))
    (updated,) = wire(encode(events.SessionUpdated(), Context("s_1", config, False)))
    assert updated["session"]["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.7,
        "prefix_padding_ms": 100,
        "silence_duration_ms": 300,
        "create_response": False,
        "interrupt_response": True,
        "idle_timeout_ms": 6000,
    }


def test_semantic_turn_detection_is_shown_as_openai_does() -> None:
    config = SessionConfig(turn_detection=TurnDetection(silence_duration_ms=300, eagerness="low"))
    (updated,) = wire(encode(events.SessionUpdated(), Context("s_1", config, False)))
    assert MODELS.validate_python(updated).type == "session.updated"
    assert updated["session"]["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "low",
        "create_response": True,
        "interrupt_response": True,
    }


def test_metadata_comes_back_at_the_beginning_and_the_end() -> None:
    started = wire(encode(events.ResponseStarted("r1", "i1", metadata=METADATA), VOICE))
    done = wire(encode(events.ResponseFinished("r1", "i1", "completed", "x", metadata=METADATA), VOICE))
    assert started[0]["response"]["metadata"] == METADATA
    assert done[-1]["response"]["metadata"] == METADATA


def test_a_response_is_shown_as_it_was_asked_for() -> None:
    asked = events.ResponseStarted("r1", "i1", out_of_band=True, voice="v", codec="g711_ulaw/8000", max_output_tokens=0)
    done = events.ResponseFinished("r1", "i1", "completed", "x", voice="v", max_output_tokens=7)
    created = wire(encode(asked, G711))[0]["response"]
    shown = (created["conversation_id"], created["max_output_tokens"], created["audio"]["output"])
    assert shown == (None, "inf", {"format": {"type": "audio/pcmu"}, "voice": "v"})
    finished = wire(encode(done, G711))[-1]["response"]
    shown = (finished["conversation_id"], finished["max_output_tokens"], finished["audio"]["output"])
    assert shown == ("conv_s_1", 7, {"format": {"type": "audio/pcma"}, "voice": "v"})


def test_a_call_is_told_under_its_own_index() -> None:
    begun, delta = (
        wire(encode(event, VOICE))[0]
        for event in (events.CallStarted("r1", "i1", 2, "c1", "f"), events.CallDelta("r1", "i1", 2, "c1", "{"))
    )
    assert (begun["output_index"], begun["item"]["status"], begun["item"]["arguments"]) == (2, "in_progress", "")
    assert (delta["output_index"], delta["item_id"], delta["call_id"], delta["delta"]) == (2, "i1", "c1", "{")
    end = events.ResponseFinished("r1", "i0", "completed", "", calls=[CALLED], call_indexes=[2])
    sent = wire(encode(end, VOICE))
    assert {message["output_index"] for message in sent[-4:-1] if "output_index" in message} == {2}
    assert sent[-1]["response"]["output"][1]["arguments"] == CALLED.text


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


def test_usage_says_what_of_the_input_was_cached() -> None:
    finished = events.ResponseFinished("r", "i", "completed", "Hi.", input_tokens=11, output_tokens=7, cached_tokens=8)
    details = wire(encode(finished, VOICE))[-1]["response"]["usage"]["input_token_details"]
    assert (details["text_tokens"], details["cached_tokens"]) == (11, 8)
    assert details["cached_tokens_details"]["text_tokens"] == 8
