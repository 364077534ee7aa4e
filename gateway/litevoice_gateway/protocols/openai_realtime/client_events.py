"""The client events of OpenAI Realtime (GA) that the gateway accepts, as msgspec reads them.

Fields that newer or other clients send and that change nothing here are named and ignored: `include`, `prompt`,
`tracing`, `reasoning`, `parallel_tool_calls`, `temperature`, `noise_reduction`, the transcription's model
and prompt.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

EventId = Annotated[str, Meta(max_length=512)]
LongText = Annotated[str, Meta(max_length=65_536)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
ItemId = Annotated[str, Meta(pattern=r"^(?!root$)[A-Za-z0-9_-]{1,64}$")]
"""What stands after `root` is the first item: nothing else may be called so."""
AnyItemId = Annotated[str, Meta(min_length=1, max_length=128)]
CallId = Annotated[str, Meta(min_length=1, max_length=128)]
Ignored = object
Modalities = list[Literal["text", "audio"]]
MAX_APPENDS = 10**12
MAX_AUDIO_MILLISECONDS = 10**10


class _Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class PCM(_Strict, tag_field="type", tag="audio/pcm"):
    rate: int | None = 24_000


class PCMU(_Strict, tag_field="type", tag="audio/pcmu"):
    rate: int | None = 8_000


class PCMA(_Strict, tag_field="type", tag="audio/pcma"):
    rate: int | None = 8_000


Format = PCM | PCMU | PCMA


class ServerVad(_Strict, tag_field="type", tag="server_vad"):
    threshold: Annotated[float, Meta(ge=0, le=1)] | UnsetType | None = UNSET
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=5_000)] | UnsetType | None = UNSET
    silence_duration_ms: Annotated[int, Meta(ge=50, le=10_000)] | UnsetType | None = UNSET
    create_response: bool | UnsetType | None = UNSET
    interrupt_response: bool | UnsetType | None = UNSET
    idle_timeout_ms: Annotated[int, Meta(ge=1_000, le=60_000)] | UnsetType | None = UNSET


class SemanticVad(_Strict, tag_field="type", tag="semantic_vad"):
    """The pipeline's turn detector decides at each pause whether the user has finished. Without one it is taken as
    server VAD with its defaults, which `session.updated` then shows."""

    eagerness: Literal["low", "medium", "high", "auto"] | UnsetType | None = UNSET
    create_response: bool | UnsetType | None = UNSET
    interrupt_response: bool | UnsetType | None = UNSET


class Transcription(_Strict):
    language: Annotated[str, Meta(max_length=16)] | UnsetType | None = UNSET
    model: Ignored = UNSET
    prompt: Ignored = UNSET
    delay: Ignored = UNSET


class Input(_Strict):
    format: Format | UnsetType | None = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    noise_reduction: Ignored = UNSET
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET


class VoiceId(_Strict):
    id: Name


class Output(_Strict):
    format: Format | UnsetType | None = UNSET
    voice: Name | VoiceId | UnsetType | None = UNSET
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | UnsetType | None = UNSET


class ResponseOutput(_Strict):
    format: Format | UnsetType | None = UNSET
    voice: Name | VoiceId | UnsetType | None = UNSET


class ResponseAudio(_Strict):
    output: ResponseOutput | UnsetType | None = UNSET


class AudioConfig(_Strict):
    input: Input | UnsetType | None = UNSET
    output: Output | UnsetType | None = UNSET


class Litevoice(_Strict):
    """What OpenAI's protocol does not have. `confirmed_appends` asks this connection for acknowledgements, and is how
    many appends the broker has confirmed already: 0 in a new session. The next append is the one after them.
    `going_away`: whether this connection is told before it is moved."""

    confirmed_appends: Annotated[int, Meta(ge=0, le=MAX_APPENDS)] | UnsetType | None = UNSET
    going_away: bool | UnsetType | None = UNSET


class Resumption(_Strict):
    """Of xAI's protocol: the client says that it comes back."""

    enabled: bool


class Function(_Strict, tag_field="type", tag="function"):
    """This function is to be called."""

    name: Name


class RemoteTool(_Strict, tag_field="type", tag="mcp"):
    """A tool of an MCP server: there are none here, the choice is left as it is."""

    server_label: Ignored = UNSET
    name: Name | UnsetType | None = UNSET


ToolChoice = Literal["auto", "none", "required"] | Function | RemoteTool
MaxOutputTokens = Annotated[int, Meta(ge=1, le=1_000_000)] | Literal["inf"]


class TokenLimits(_Strict):
    post_instructions: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType | None = UNSET


class RetentionRatio(_Strict, tag_field="type", tag="retention_ratio"):
    """Changes nothing without a limit: nobody here knows how much the model takes."""

    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | UnsetType | None = UNSET


Truncation = Literal["auto", "disabled"] | RetentionRatio


class Session(_Strict):
    type: Literal["realtime", "transcription"] | UnsetType | None = UNSET
    id: Ignored = UNSET
    object_: Ignored = msgspec.field(default=UNSET, name="object")
    model: Name | UnsetType | None = UNSET
    instructions: LongText | UnsetType | None = UNSET
    output_modalities: Modalities | UnsetType | None = UNSET
    audio: AudioConfig | UnsetType | None = UNSET
    tools: list[dict[str, object]] | UnsetType | None = UNSET
    tool_choice: ToolChoice | UnsetType | None = UNSET
    max_output_tokens: MaxOutputTokens | UnsetType | None = UNSET
    litevoice: Litevoice | UnsetType | None = UNSET
    resumption: Resumption | UnsetType | None = UNSET
    include: Ignored = UNSET
    prompt: Ignored = UNSET
    truncation: Truncation | UnsetType | None = UNSET
    tracing: Ignored = UNSET
    reasoning: Ignored = UNSET
    parallel_tool_calls: Ignored = UNSET
    temperature: Ignored = UNSET


class ContentPart(msgspec.Struct, kw_only=True):
    """`transcript` of `input_audio` and `output_audio` is kept; audio is not."""

    type: str
    text: LongText | UnsetType | None = UNSET
    transcript: LongText | UnsetType | None = UNSET


class ItemFields(msgspec.Struct, kw_only=True):
    """`role` and `content` of a `message`; `call_id`, `name` and `arguments` of a `function_call`; `call_id` and
    `output` of a `function_call_output`. In a response's input `item_reference` names an item of the conversation."""

    type: str
    id: ItemId | UnsetType | None = UNSET
    role: Literal["system", "user", "assistant"] | UnsetType | None = UNSET
    content: list[ContentPart] | UnsetType | None = UNSET
    call_id: CallId | UnsetType | None = UNSET
    name: Name | UnsetType | None = UNSET
    arguments: LongText | UnsetType | None = UNSET
    output: LongText | UnsetType | None = UNSET


class ResponseParams(_Strict):
    instructions: LongText | UnsetType | None = UNSET
    output_modalities: Modalities | UnsetType | None = UNSET
    metadata: dict[str, Annotated[str, Meta(max_length=512)]] | UnsetType | None = UNSET
    conversation: Literal["auto", "none"] | UnsetType | None = UNSET
    input: list[ItemFields] | UnsetType | None = UNSET
    audio: ResponseAudio | UnsetType | None = UNSET
    tools: list[dict[str, object]] | UnsetType | None = UNSET
    tool_choice: ToolChoice | UnsetType | None = UNSET
    max_output_tokens: MaxOutputTokens | UnsetType | None = UNSET
    parallel_tool_calls: Ignored = UNSET
    prompt: Ignored = UNSET
    reasoning: Ignored = UNSET


class _Event(msgspec.Struct, kw_only=True, tag_field="type"):
    event_id: EventId | None = None


class AppendAudio(_Event, tag="input_audio_buffer.append"):
    """One slice of audio in the session's input format. It may end within a sample, unless appends are counted; an
    empty one is nothing. Base64 with or without padding and line breaks, in both alphabets."""

    audio: bytes


class CommitAudio(_Event, tag="input_audio_buffer.commit"):
    """Ends the utterance; only needed without turn detection."""


class ClearAudio(_Event, tag="input_audio_buffer.clear"):
    """Forgets the audio of the open utterance."""


class UpdateSession(_Event, tag="session.update"):
    """Replaces the fields it names. Null leaves a field as it is, but turns `turn_detection` off, and its
    `idle_timeout_ms`, and `transcription`: then no transcripts of what the user says come. Fields that are not
    supported change nothing: `session.updated` names them in `session.litevoice.not_applied`."""

    session: Session


class CreateItem(_Event, tag="conversation.item.create"):
    """Adds a message, a function call or its output to the conversation: at its end, after `previous_item_id`, or
    before all (`root`). Other kinds of items, and images, are refused."""

    item: ItemFields
    previous_item_id: AnyItemId | None = None


class DeleteItem(_Event, tag="conversation.item.delete"):
    """Removes an item from the conversation. An answer that is under way ends."""

    item_id: AnyItemId


class RetrieveItem(_Event, tag="conversation.item.retrieve"):
    """Asks for an item as it is remembered: as text, without audio."""

    item_id: AnyItemId


class TruncateItem(_Event, kw_only=True, tag="conversation.item.truncate"):
    """Says how much of a spoken answer was heard: that is what is remembered. An answer that is under way ends. More
    than was sent is all of it."""

    item_id: AnyItemId
    content_index: Annotated[int, Meta(ge=0)] | None = 0
    audio_end_ms: Annotated[int, Meta(ge=0, le=MAX_AUDIO_MILLISECONDS)]


class CreateResponse(_Event, tag="response.create"):
    """Asks for an answer to the conversation so far, or to nothing but the items in `input`, of which `item_reference`
    names one of the conversation. With `conversation: none` it is an answer out of band: the conversation does not
    remember it, speech does not interrupt it, and up to four of them may be under way beside the conversation's own.
    The other fields override the session's for this answer."""

    response: ResponseParams | UnsetType | None = UNSET


class CancelResponse(_Event, tag="response.cancel"):
    """Stops the conversation's answer that is under way, or the one of that id."""

    response_id: Annotated[str, Meta(max_length=128)] | None = None


ClientMessage = (
    AppendAudio
    | CommitAudio
    | ClearAudio
    | UpdateSession
    | CreateItem
    | DeleteItem
    | RetrieveItem
    | TruncateItem
    | CreateResponse
    | CancelResponse
)
