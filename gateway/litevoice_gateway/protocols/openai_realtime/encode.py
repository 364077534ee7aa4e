"""Neutral events to OpenAI Realtime server events. Pure: the same event and context always give the same messages,
so that any gateway can continue in the middle of what another one has sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from litevoice_contracts import events as neutral
from litevoice_contracts.conversation import Item, SessionConfig, Truncation, TurnDetection
from litevoice_contracts.events import DownEvent
from litevoice_gateway.protocols.openai_realtime import server_events as wire
from litevoice_gateway.protocols.openai_realtime.server_events import ServerEvent

FORMATS: dict[str, dict[str, object]] = {
    "pcm16/24000": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw/8000": {"type": "audio/pcmu"},
    "g711_alaw/8000": {"type": "audio/pcma"},
}
CONVERSATION_PREFIX = "conv_"
_REASONS = ("turn_detected", "client_cancelled", "max_output_tokens", "content_filter")


@dataclass(frozen=True, slots=True)
class Context:
    """What a translation needs besides the event: the state just after it."""

    session_id: str
    config: SessionConfig
    text_only: bool


def conversation_id(session_id: str) -> str:
    return f"{CONVERSATION_PREFIX}{session_id}"


def session_object(context: Context) -> dict[str, object]:
    """The `session` of session.created and session.updated."""
    config = context.config
    if config.transcription_only:
        return {
            "id": context.session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {"input": _input_object(config)},
        }
    return {
        "id": context.session_id,
        "object": "realtime.session",
        "type": "realtime",
        "model": config.model,
        "instructions": config.instructions,
        "output_modalities": _modalities(config.text_only),
        "tools": config.tools,
        "tool_choice": _tool_choice(config.tool_choice),
        "max_output_tokens": config.max_output_tokens or "inf",
        "truncation": _truncation_object(config.truncation),
        "audio": {
            "input": _input_object(config),
            "output": {"format": FORMATS[config.output_codec], "voice": config.voice, "speed": config.speed},
        },
    }


def _tool_choice(choice: str) -> object:
    kind, _, name = choice.partition("/")
    return {"type": kind, "name": name} if name else choice


def _truncation_object(truncation: Truncation) -> object:
    if not truncation.max_tokens:
        return "disabled" if truncation.disabled else "auto"
    limits = {"post_instructions": truncation.max_tokens}
    return {"type": "retention_ratio", "retention_ratio": truncation.retention_ratio, "token_limits": limits}


def _input_object(config: SessionConfig) -> dict[str, object]:
    detection = config.turn_detection
    return {
        "format": FORMATS[config.input_codec],
        "transcription": _transcription_object(config) if _tells_transcripts(config) else None,
        "noise_reduction": None,
        "turn_detection": None if detection is None else _detection_object(detection),
    }


def _transcription_object(config: SessionConfig) -> dict[str, object]:
    return {"language": config.transcription_language} if config.transcription_language else {}


def _tells_transcripts(config: SessionConfig) -> bool:
    """A transcription session is there for nothing else."""
    return config.transcripts or config.transcription_only


def _detection_object(detection: TurnDetection) -> dict[str, object]:
    answers = {"create_response": detection.create_response, "interrupt_response": detection.interrupt_response}
    if detection.eagerness:
        return {"type": "semantic_vad", "eagerness": detection.eagerness, **answers}
    return {
        "type": "server_vad",
        "threshold": detection.threshold,
        "prefix_padding_ms": detection.prefix_padding_ms,
        "silence_duration_ms": detection.silence_duration_ms,
        **answers,
        "idle_timeout_ms": detection.idle_timeout_ms or None,
    }


def item_object(item: Item) -> wire.ItemObject:
    """An item of the conversation as the client knows it."""
    if item.kind == "function_call":
        return wire.ItemObject(
            id=item.id, type=item.kind, status="completed", call_id=item.call_id, name=item.name, arguments=item.text
        )
    if item.kind == "function_call_output":
        return wire.ItemObject(id=item.id, type=item.kind, status="completed", call_id=item.call_id, output=item.text)
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
        case neutral.CallStarted():
            call = Item(event.item_id, "assistant", "", kind="function_call", call_id=event.call_id, name=event.name)
            where: dict[str, Any] = {"response_id": event.response_id, "output_index": event.index}
            return [wire.OutputItemAdded(**where, item=_begun(item_object(call)))]
        case neutral.CallDelta():
            return [
                wire.ArgumentsDelta(
                    response_id=event.response_id,
                    item_id=event.item_id,
                    output_index=event.index,
                    call_id=event.call_id,
                    delta=event.text,
                )
            ]
        case neutral.SpeechStarted():
            return [wire.SpeechStarted(audio_start_ms=event.audio_ms, item_id=event.item_id)]
        case neutral.SpeechStopped():
            return [wire.SpeechStopped(audio_end_ms=event.audio_ms, item_id=event.item_id)]
        case neutral.InputTimedOut():
            return [
                wire.TimeoutTriggered(audio_start_ms=event.start_ms, audio_end_ms=event.end_ms, item_id=event.item_id)
            ]
        case neutral.InputCommitted():
            return _committed(event)
        case neutral.InputTranscriptDelta() | neutral.InputTranscribed() | neutral.TranscriptionFailed() if (
            not _tells_transcripts(context.config)
        ):
            return []
        case neutral.InputTranscriptDelta():
            return [wire.TranscriptionDelta(item_id=event.item_id, delta=event.text)]
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
        case neutral.ItemDeleted():
            return [wire.ItemDeleted(item_id=event.item_id)]
        case neutral.ItemRetrieved():
            return [wire.ItemRetrieved(item=item_object(event.item))]
        case neutral.ItemTruncated():
            return [wire.ItemTruncated(item_id=event.item_id, audio_end_ms=event.audio_end_ms)]
        case neutral.SessionUpdated():
            session = session_object(context)
            if event.not_applied:
                session["litevoice"] = {"not_applied": event.not_applied}
            return [wire.SessionUpdated(session=session)]
        case neutral.ResponseStarted():
            return _started(event, context)
        case neutral.ResponseFinished():
            return _finished(event, context)
        case neutral.SessionError():
            body = wire.ErrorBody(code=event.code, message=event.message, param=event.param, event_id=event.event_id)
            return [wire.Error(error=body)]
        case neutral.Progress() | neutral.TurnReplay() | neutral.Displaced():
            return []
        case neutral.EpochRejected() | neutral.Handover():
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


def _response(event: neutral.ResponseStarted | neutral.ResponseFinished, context: Context) -> dict[str, object]:
    """The response as it begins."""
    config = context.config
    limit = config.max_output_tokens if event.max_output_tokens is None else event.max_output_tokens
    codec, voice = event.codec or config.output_codec, event.voice or config.voice
    return {
        "id": event.response_id,
        "object": "realtime.response",
        "status": "in_progress",
        "status_details": None,
        "output": [],
        "conversation_id": None if event.out_of_band else conversation_id(context.session_id),
        "output_modalities": _modalities(event.text_only),
        "max_output_tokens": limit or "inf",
        "audio": {"output": {"format": FORMATS[codec], "voice": voice}},
        "usage": None,
        "metadata": event.metadata,
    }


def _started(event: neutral.ResponseStarted, context: Context) -> list[ServerEvent]:
    item = wire.ItemObject(id=event.item_id, status="in_progress", role="assistant", content=[])
    part = wire.Part(type="text", text="") if event.text_only else wire.Part(type="audio", transcript="")
    added = [] if event.out_of_band else [wire.ItemAdded(item=item, previous_item_id=event.previous_item_id)]
    return [
        wire.ResponseCreated(response=_response(event, context)),
        wire.OutputItemAdded(response_id=event.response_id, item=item),
        *added,
        wire.ContentPartAdded(response_id=event.response_id, item_id=event.item_id, part=part),
    ]


def _finished(event: neutral.ResponseFinished, context: Context) -> list[ServerEvent]:
    response_id, item_id = event.response_id, event.item_id
    complete = event.status == "completed"
    item = item_object(
        Item(event.item_id, "assistant", event.text, audio=not event.text_only, complete=complete),
    )
    response = _response(event, context)
    response["status"] = event.status
    response["output"] = [item, *(item_object(call) for call in event.calls or ())]
    response["status_details"] = _status_details(event)
    response["usage"] = {
        "input_tokens": event.input_tokens,
        "output_tokens": event.output_tokens,
        "total_tokens": event.input_tokens + event.output_tokens,
        "input_token_details": {
            "text_tokens": event.input_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": event.cached_tokens,
            "cached_tokens_details": {"text_tokens": event.cached_tokens, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": event.output_tokens, "audio_tokens": 0},
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
        *([] if event.out_of_band else [wire.ItemDone(item=item, previous_item_id=event.previous_item_id)]),
        *_called(event),
        wire.ResponseDone(response=response),
    ]


def _called(event: neutral.ResponseFinished) -> Iterator[ServerEvent]:
    """The ends of the calls, and their beginnings unless those were told."""
    previous, calls = event.item_id, event.calls or []
    told = event.call_indexes
    for index, call in zip(told or range(1, len(calls) + 1), calls, strict=True):
        done = item_object(call)
        where: dict[str, Any] = {"response_id": event.response_id, "output_index": index}
        in_item = {**where, "item_id": call.id, "call_id": call.call_id}
        if told is None:
            yield wire.OutputItemAdded(**where, item=_begun(done))
        if not event.out_of_band:
            yield wire.ItemAdded(item=_begun(done), previous_item_id=previous)
        if told is None:
            yield wire.ArgumentsDelta(**in_item, delta=call.text)
        yield wire.ArgumentsDone(**in_item, name=call.name, arguments=call.text)
        yield wire.OutputItemDone(**where, item=done)
        if not event.out_of_band:
            yield wire.ItemDone(item=done, previous_item_id=previous)
        previous = call.id


def _begun(call: wire.ItemObject) -> wire.ItemObject:
    """A call before its arguments."""
    return msgspec.structs.replace(call, status="in_progress", arguments="")


def _status_details(event: neutral.ResponseFinished) -> dict[str, object] | None:
    if event.status == "completed":
        return None
    details: dict[str, object] = {"type": event.status}
    if event.reason in _REASONS:
        details["reason"] = event.reason
    elif event.status == "failed":
        details["error"] = {"type": "server_error", "code": "response_failed", "message": event.reason}
    return details
