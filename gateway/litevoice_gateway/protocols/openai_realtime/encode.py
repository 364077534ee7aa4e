"""Neutral events to OpenAI Realtime server events. Pure: the same event and context always give the same messages,
so that any gateway can continue in the middle of what another one has sent."""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_contracts import events as neutral
from litevoice_contracts.conversation import Item, SessionConfig
from litevoice_contracts.events import DownEvent
from litevoice_gateway.protocols.openai_realtime import server_events as wire
from litevoice_gateway.protocols.openai_realtime.server_events import ServerEvent

FORMATS: dict[str, dict[str, object]] = {
    "pcm16/24000": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw/8000": {"type": "audio/pcmu"},
    "g711_alaw/8000": {"type": "audio/pcma"},
}
_REASONS = ("turn_detected", "client_cancelled", "max_output_tokens", "content_filter")


@dataclass(frozen=True, slots=True)
class Context:
    """What a translation needs besides the event: the state just after it."""

    session_id: str
    config: SessionConfig
    text_only: bool


def session_object(context: Context) -> dict[str, object]:
    """The `session` of session.created and session.updated."""
    config = context.config
    detection = config.turn_detection
    return {
        "id": context.session_id,
        "object": "realtime.session",
        "type": "realtime",
        "model": config.model,
        "instructions": config.instructions,
        "output_modalities": _modalities(config.text_only),
        "tools": config.tools,
        "tool_choice": config.tool_choice,
        "max_output_tokens": config.max_output_tokens or "inf",
        "audio": {
            "input": {
                "format": FORMATS[config.input_codec],
                "transcription": {"language": config.transcription_language} if config.transcription_language else {},
                "noise_reduction": None,
                "turn_detection": None
                if detection is None
                else {
                    "type": "server_vad",
                    "threshold": detection.threshold,
                    "prefix_padding_ms": detection.prefix_padding_ms,
                    "silence_duration_ms": detection.silence_duration_ms,
                    "create_response": detection.create_response,
                    "interrupt_response": detection.interrupt_response,
                },
            },
            "output": {"format": FORMATS[config.output_codec], "voice": config.voice, "speed": config.speed},
        },
    }


def item_object(item: Item) -> wire.ItemObject:
    """An item of the conversation as the client knows it."""
    if item.role == "assistant":
        part = (
            wire.Part(type="output_audio", transcript=item.text)
            if item.audio
            else wire.Part(type="output_text", text=item.text)
        )
    elif item.audio:
        part = wire.Part(type="input_audio", transcript=item.text)
    else:
        part = wire.Part(type="input_text", text=item.text)
    return wire.ItemObject(
        id=item.id, status="completed" if item.complete else "incomplete", role=item.role, content=[part]
    )


def encode(event: DownEvent, context: Context) -> list[ServerEvent]:
    """The server events for one neutral event; none for a control event."""
    match event:
        case neutral.AudioDelta():
            return [wire.AudioDelta(response_id=event.response_id, item_id=event.item_id, delta=event.audio)]
        case neutral.TextDelta():
            delta = wire.TextDelta if context.text_only else wire.AudioTranscriptDelta
            return [delta(response_id=event.response_id, item_id=event.item_id, delta=event.text)]
        case neutral.SpeechStarted():
            return [wire.SpeechStarted(audio_start_ms=event.audio_ms, item_id=event.item_id)]
        case neutral.SpeechStopped():
            return [wire.SpeechStopped(audio_end_ms=event.audio_ms, item_id=event.item_id)]
        case neutral.InputCommitted():
            return _committed(event)
        case neutral.InputTranscribed():
            return [
                wire.TranscriptionCompleted(
                    item_id=event.item_id,
                    transcript=event.transcript,
                    usage=wire.DurationUsage(seconds=event.seconds),
                )
            ]
        case neutral.TranscriptionFailed():
            failure = wire.FailureBody(type="server_error", code="transcription_failed", message=event.message)
            return [wire.TranscriptionFailed(item_id=event.item_id, error=failure)]
        case neutral.InputCleared():
            return [wire.Cleared()]
        case neutral.ItemCreated():
            item = item_object(event.item)
            return [
                wire.ItemAdded(item=item, previous_item_id=event.previous_item_id),
                wire.ItemDone(item=item, previous_item_id=event.previous_item_id),
            ]
        case neutral.SessionUpdated():
            return [wire.SessionUpdated(session=session_object(context))]
        case neutral.ResponseStarted():
            return _started(event, context)
        case neutral.ResponseFinished():
            return _finished(event, context)
        case neutral.SessionError():
            body = wire.ErrorBody(code=event.code, message=event.message, param=event.param, event_id=event.event_id)
            return [wire.Error(error=body)]
        case neutral.Progress() | neutral.TurnReplay() | neutral.EpochRejected():
            return []


def _modalities(text_only: bool) -> list[str]:
    return ["text"] if text_only else ["audio"]


def _committed(event: neutral.InputCommitted) -> list[ServerEvent]:
    item = wire.ItemObject(
        id=event.item_id,
        status="completed",
        role="user",
        content=[wire.Part(type="input_audio", transcript=None)],
    )
    return [
        wire.Committed(item_id=event.item_id, previous_item_id=event.previous_item_id),
        wire.ItemAdded(item=item, previous_item_id=event.previous_item_id),
        wire.ItemDone(item=item, previous_item_id=event.previous_item_id),
    ]


def _response(
    response_id: str, context: Context, *, text_only: bool, status: str, metadata: dict[str, str] | None
) -> dict[str, object]:
    config = context.config
    return {
        "id": response_id,
        "object": "realtime.response",
        "status": status,
        "status_details": None,
        "output": [],
        "conversation_id": f"conv_{context.session_id}",
        "output_modalities": _modalities(text_only),
        "max_output_tokens": config.max_output_tokens or "inf",
        "audio": {"output": {"format": FORMATS[config.output_codec], "voice": config.voice}},
        "usage": None,
        "metadata": metadata,
    }


def _started(event: neutral.ResponseStarted, context: Context) -> list[ServerEvent]:
    response = _response(
        event.response_id, context, text_only=event.text_only, status="in_progress", metadata=event.metadata
    )
    item = wire.ItemObject(id=event.item_id, status="in_progress", role="assistant", content=[])
    part = wire.Part(type="text", text="") if event.text_only else wire.Part(type="audio", transcript="")
    return [
        wire.ResponseCreated(response=response),
        wire.OutputItemAdded(response_id=event.response_id, item=item),
        wire.ItemAdded(item=item, previous_item_id=event.previous_item_id),
        wire.ContentPartAdded(response_id=event.response_id, item_id=event.item_id, part=part),
    ]


def _finished(event: neutral.ResponseFinished, context: Context) -> list[ServerEvent]:
    response_id, item_id = event.response_id, event.item_id
    complete = event.status == "completed"
    item = item_object(
        Item(event.item_id, "assistant", event.text, audio=not event.text_only, complete=complete),
    )
    response = _response(
        event.response_id, context, text_only=event.text_only, status=event.status, metadata=event.metadata
    )
    response["output"] = [item]
    response["status_details"] = _status_details(event)
    response["usage"] = {
        "input_tokens": event.input_tokens,
        "output_tokens": event.output_tokens,
        "total_tokens": event.input_tokens + event.output_tokens,
    }
    done: list[ServerEvent]
    if event.text_only:
        part = wire.Part(type="text", text=event.text)
        done = [wire.TextDone(response_id=response_id, item_id=item_id, text=event.text)]
    else:
        part = wire.Part(type="audio", transcript=event.text)
        done = [
            wire.AudioDone(response_id=response_id, item_id=item_id),
            wire.AudioTranscriptDone(response_id=response_id, item_id=item_id, transcript=event.text),
        ]
    return [
        *done,
        wire.ContentPartDone(response_id=response_id, item_id=item_id, part=part),
        wire.OutputItemDone(response_id=event.response_id, item=item),
        wire.ItemDone(item=item, previous_item_id=None),
        wire.ResponseDone(response=response),
    ]


def _status_details(event: neutral.ResponseFinished) -> dict[str, object] | None:
    if event.status == "completed":
        return None
    details: dict[str, object] = {"type": event.status}
    if event.reason in _REASONS:
        details["reason"] = event.reason
    elif event.status == "failed":
        details["error"] = {"type": "server_error", "code": "response_failed", "message": event.reason}
    return details
