"""The server events of OpenAI Realtime (GA) that the gateway sends, field by field as the OpenAI models name them."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from litevoice_gateway.protocols import ServerEvent


class Part(msgspec.Struct, kw_only=True):
    """A content part of an item or a response; unset fields are left out."""

    type: str
    text: str | UnsetType = UNSET
    transcript: str | UnsetType | None = UNSET


class ItemObject(msgspec.Struct, kw_only=True):
    id: str
    object: str = "realtime.item"
    type: str = "message"
    status: Literal["completed", "in_progress", "incomplete"]
    role: str
    content: list[Part]


class ErrorBody(msgspec.Struct, kw_only=True):
    type: str = "invalid_request_error"
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class FailureBody(msgspec.Struct, kw_only=True):
    type: str
    code: str
    message: str


class DurationUsage(msgspec.Struct, kw_only=True):
    type: str = "duration"
    seconds: float


class SessionCreated(ServerEvent, kw_only=True, tag_field="type", tag="session.created"):
    session: dict[str, object]


class SessionUpdated(ServerEvent, kw_only=True, tag_field="type", tag="session.updated"):
    session: dict[str, object]


class Error(ServerEvent, kw_only=True, tag_field="type", tag="error"):
    error: ErrorBody


class SpeechStarted(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.speech_started"):
    audio_start_ms: int
    item_id: str


class SpeechStopped(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int
    item_id: str


class Committed(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.committed"):
    item_id: str
    previous_item_id: str | None


class Cleared(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.cleared"):
    pass


class ItemAdded(ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.added"):
    item: ItemObject
    previous_item_id: str | None


class ItemDone(ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.done"):
    item: ItemObject
    previous_item_id: str | None


class TranscriptionCompleted(
    ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.input_audio_transcription.completed"
):
    item_id: str
    content_index: int = 0
    transcript: str
    usage: DurationUsage


class TranscriptionFailed(
    ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.input_audio_transcription.failed"
):
    item_id: str
    content_index: int = 0
    error: FailureBody


class ResponseCreated(ServerEvent, kw_only=True, tag_field="type", tag="response.created"):
    response: dict[str, object]


class ResponseDone(ServerEvent, kw_only=True, tag_field="type", tag="response.done"):
    response: dict[str, object]


class OutputItemAdded(ServerEvent, kw_only=True, tag_field="type", tag="response.output_item.added"):
    response_id: str
    output_index: int = 0
    item: ItemObject


class OutputItemDone(ServerEvent, kw_only=True, tag_field="type", tag="response.output_item.done"):
    response_id: str
    output_index: int = 0
    item: ItemObject


class _InPart(ServerEvent, kw_only=True):
    """An event about the one content part that a response here has."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


class ContentPartAdded(_InPart, kw_only=True, tag_field="type", tag="response.content_part.added"):
    part: Part


class ContentPartDone(_InPart, kw_only=True, tag_field="type", tag="response.content_part.done"):
    part: Part


class AudioDelta(_InPart, kw_only=True, tag_field="type", tag="response.output_audio.delta"):
    delta: bytes  # base64 on the wire


class AudioDone(_InPart, kw_only=True, tag_field="type", tag="response.output_audio.done"):
    pass


class AudioTranscriptDelta(_InPart, kw_only=True, tag_field="type", tag="response.output_audio_transcript.delta"):
    delta: str


class AudioTranscriptDone(_InPart, kw_only=True, tag_field="type", tag="response.output_audio_transcript.done"):
    transcript: str


class TextDelta(_InPart, kw_only=True, tag_field="type", tag="response.output_text.delta"):
    delta: str


class TextDone(_InPart, kw_only=True, tag_field="type", tag="response.output_text.done"):
    text: str
