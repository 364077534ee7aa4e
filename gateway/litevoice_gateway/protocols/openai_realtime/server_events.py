"""The server events of OpenAI Realtime (GA) that the gateway sends, field by field as the OpenAI models name them."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class ServerEvent(msgspec.Struct, kw_only=True):
    """A message to the client; it gets its id when it is sent."""

    event_id: str = ""


class Part(msgspec.Struct, kw_only=True):
    """A content part of an item or a response; unset fields are left out."""

    type: str
    text: str | UnsetType = UNSET
    transcript: str | UnsetType | None = UNSET


class ItemObject(msgspec.Struct, kw_only=True):
    """An item of the conversation."""

    id: str
    object: str = "realtime.item"
    type: str = "message"
    status: Literal["completed", "in_progress", "incomplete"]
    role: str | UnsetType = UNSET
    content: list[Part] | UnsetType = UNSET
    call_id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    output: str | UnsetType = UNSET


class ErrorBody(msgspec.Struct, kw_only=True):
    """Why a client event was refused; `event_id` is the client's own id of it."""

    type: str = "invalid_request_error"
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class FailureBody(msgspec.Struct, kw_only=True):
    """Why a transcription failed."""

    type: str
    code: str
    message: str


class DurationUsage(msgspec.Struct, kw_only=True):
    """How much audio was transcribed."""

    type: str = "duration"
    seconds: float


class ConversationObject(msgspec.Struct, kw_only=True):
    """The session's one conversation."""

    id: str
    object: str = "realtime.conversation"


class SessionCreated(ServerEvent, kw_only=True, tag_field="type", tag="session.created"):
    """First on every connection, also after a client has come back; `session.litevoice` then says what was restored.
    `conversation.id` is what `?conversation_id=` takes."""

    session: dict[str, object]
    conversation: ConversationObject


class SessionUpdated(ServerEvent, kw_only=True, tag_field="type", tag="session.updated"):
    """A `session.update` took effect; shows the whole session."""

    session: dict[str, object]


class Error(ServerEvent, kw_only=True, tag_field="type", tag="error"):
    """A client event was refused; the session lives on."""

    error: ErrorBody


class AppendsConfirmed(ServerEvent, kw_only=True, tag_field="type", tag="litevoice.input_audio_buffer.confirmed"):
    """The broker has the first `appends` appends of the session. Only for a client that asked for it, and at most twice
    a second."""

    appends: int


class GoingAway(ServerEvent, kw_only=True, tag_field="type", tag="litevoice.going_away"):
    """The gateway drains: it closes the connection with 1012 in `time_left_ms` at the latest; sooner, at the end of a
    turn, if the client is one that comes back. Only for a client that asked for it."""

    time_left_ms: int


class SpeechStarted(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.speech_started"):
    """Turn detection hears speech."""

    audio_start_ms: int
    item_id: str


class SpeechStopped(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.speech_stopped"):
    """Turn detection hears the end of it."""

    audio_end_ms: int
    item_id: str


class TimeoutTriggered(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.timeout_triggered"):
    """Nobody has spoken for `idle_timeout_ms` after the last answer was heard. The silence becomes a user item, and an
    answer follows."""

    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class Committed(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.committed"):
    """The utterance became a user item; its transcript follows."""

    item_id: str
    previous_item_id: str | None


class Cleared(ServerEvent, kw_only=True, tag_field="type", tag="input_audio_buffer.cleared"):
    """An `input_audio_buffer.clear` took effect."""


class ItemAdded(ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.added"):
    """An item was added to the conversation."""

    item: ItemObject
    previous_item_id: str | None


class ItemDone(ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.done"):
    """An item is complete."""

    item: ItemObject
    previous_item_id: str | None


class ItemDeleted(ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.deleted"):
    """An item is no longer in the conversation."""

    item_id: str


class ItemRetrieved(ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.retrieved"):
    """An item as it is remembered."""

    item: ItemObject


class ItemTruncated(ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.truncated"):
    """Of an answer, what was heard in this time is remembered."""

    item_id: str
    content_index: int = 0
    audio_end_ms: int


class TranscriptionDelta(
    ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.input_audio_transcription.delta"
):
    """What a transcript goes on with, where the pipeline's transcriber streams; `completed` has all of it."""

    item_id: str
    content_index: int = 0
    delta: str


class TranscriptionCompleted(
    ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.input_audio_transcription.completed"
):
    """What was understood of an utterance."""

    item_id: str
    content_index: int = 0
    transcript: str
    usage: DurationUsage


class TranscriptionFailed(
    ServerEvent, kw_only=True, tag_field="type", tag="conversation.item.input_audio_transcription.failed"
):
    """The recognizer failed; the item stays without text."""

    item_id: str
    content_index: int = 0
    error: FailureBody


class ResponseCreated(ServerEvent, kw_only=True, tag_field="type", tag="response.created"):
    """An answer begins."""

    response: dict[str, object]


class ResponseDone(ServerEvent, kw_only=True, tag_field="type", tag="response.done"):
    """The answer is over: completed, cancelled, incomplete or failed."""

    response: dict[str, object]


class OutputItemAdded(ServerEvent, kw_only=True, tag_field="type", tag="response.output_item.added"):
    """An item of the answer begins: its message, which may stay empty, then calls of functions."""

    response_id: str
    output_index: int = 0
    item: ItemObject


class OutputItemDone(ServerEvent, kw_only=True, tag_field="type", tag="response.output_item.done"):
    """The item is complete."""

    response_id: str
    output_index: int = 0
    item: ItemObject


class ArgumentsDelta(ServerEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.delta"):
    """Arguments of a function call, as the model writes them. A call that does not get its `done` is not to be made."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str


class ArgumentsDone(ServerEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.done"):
    """The client is to call its function, and to send what it returns as a `function_call_output`. Comes when the
    answer is complete."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    name: str
    arguments: str


class _InPart(ServerEvent, kw_only=True):
    """An event about the one content part that a response here has."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


class ContentPartAdded(_InPart, kw_only=True, tag_field="type", tag="response.content_part.added"):
    """The item's one content part begins."""

    part: Part


class ContentPartDone(_InPart, kw_only=True, tag_field="type", tag="response.content_part.done"):
    """The content part is complete."""

    part: Part


class AudioDelta(_InPart, kw_only=True, tag_field="type", tag="response.output_audio.delta"):
    """Audio of the answer, base64, in the response's output format."""

    delta: bytes  # base64 on the wire


class AudioDone(_InPart, kw_only=True, tag_field="type", tag="response.output_audio.done"):
    """All of the answer's audio was sent."""


class AudioTranscriptDelta(_InPart, kw_only=True, tag_field="type", tag="response.output_audio_transcript.delta"):
    """The next sentence of the answer; its audio follows."""

    delta: str


class AudioTranscriptDone(_InPart, kw_only=True, tag_field="type", tag="response.output_audio_transcript.done"):
    """All of the answer's text."""

    transcript: str


class TextDelta(_InPart, kw_only=True, tag_field="type", tag="response.output_text.delta"):
    """The next sentence of an answer without audio."""

    delta: str


class TextDone(_InPart, kw_only=True, tag_field="type", tag="response.output_text.done"):
    """All of such an answer's text."""

    text: str
