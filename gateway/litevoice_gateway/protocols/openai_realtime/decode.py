"""OpenAI Realtime client events to neutral packets; what is wrong is named by code, field and event."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from litevoice_contracts import packets
from litevoice_contracts.conversation import Codec, Item, SessionConfig, TurnDetection
from litevoice_gateway.protocols import ClientEvent, Problem, Refusal
from litevoice_gateway.protocols.openai_realtime import client_events as wire

MAX_TOOLS_BYTES = 65_536
MAX_TOOLS_DEPTH = 32
"""Objects and lists within one another; deeper ones would exhaust the stack of whoever encodes the configuration."""
MAX_METADATA_PAIRS = 16
_decoder: msgspec.json.Decoder[wire.ClientMessage] = msgspec.json.Decoder(wire.ClientMessage)
_ERROR = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_HINTS = (
    ("format.type", "one of audio/pcm (rate 24000), audio/pcmu, audio/pcma"),
    ("turn_detection.type", "server_vad, semantic_vad, or null in place of the object"),
    ("tool_choice", "one of auto, none, required"),
    ("audio", "base64 with padding"),
)
_TOO_DEEP = Problem("invalid_json", "the message is nested too deeply")
_FIELD = re.compile(r"(?:missing required|contains unknown) field `(?P<field>[^`]*)`")
_EVENT_TYPES = tuple(sorted(event.__struct_config__.tag for event in wire.ClientMessage.__args__))


class Client(Protocol):
    """Whose event it is."""

    new_item_id: Callable[[], str]
    """Names an item for which the client gave no id."""

    def count_appends(self, confirmed: int) -> bool:
        """From now on, beginning after so many; False when they are counted already."""


def decode(message: str, config: SessionConfig, client: Client) -> ClientEvent:
    """The packet for one client event. Raises Refusal with code, message, param and event_id."""
    try:
        event = _decoder.decode(message)
    except msgspec.ValidationError as error:
        raise Refusal(_explain(str(error), message)) from error
    except msgspec.DecodeError as error:
        raise Refusal(Problem("invalid_json", f"the message is not JSON: {error}")) from error
    except RecursionError as error:
        raise Refusal(_TOO_DEEP) from error
    match event:
        case wire.AppendAudio():
            return ClientEvent("input_audio_buffer.append", _audio(event, config))
        case wire.CommitAudio():
            return ClientEvent("input_audio_buffer.commit", packets.Commit(event.event_id))
        case wire.ClearAudio():
            return ClientEvent("input_audio_buffer.clear", packets.Clear(event.event_id))
        case wire.UpdateSession():
            updated = _updated(event.session, config, event.event_id)
            _count_appends(event.session, client, event.event_id)
            return ClientEvent("session.update", packets.Update(updated, event.event_id))
        case wire.CreateItem():
            item = _item(event.item, event.event_id, client.new_item_id)
            return ClientEvent("conversation.item.create", packets.CreateItem(item, event.event_id))
        case wire.CreateResponse():
            return ClientEvent("response.create", _response(event))
        case wire.CancelResponse():
            return ClientEvent("response.cancel", packets.CancelResponse(event.response_id, event.event_id))


def _refuse(code: str, message: str, param: str | None, event_id: str | None) -> NoReturn:
    raise Refusal(Problem(code, message, param, event_id))


def _explain(error: str, message: str) -> Problem:
    """What msgspec found, as code, param and event_id. Off the hot path: the message is read once more, untyped."""
    parsed = _ERROR.fullmatch(error)
    what, path = (parsed["what"], parsed["path"] or "") if parsed else (error, "")
    try:
        raw = msgspec.json.decode(message)
    except msgspec.DecodeError as broken:
        return Problem("invalid_json", f"the message is not JSON: {broken}")
    except RecursionError:
        return _TOO_DEEP
    if not isinstance(raw, dict):
        return Problem("invalid_json", "the message is not a JSON object")
    event_id = raw.get("event_id")
    event_id = event_id if isinstance(event_id, str) and len(event_id) <= 512 else None
    kind = raw.get("type")
    if "missing required field" not in what and path == "type":
        known = ", ".join(_EVENT_TYPES)
        shown = repr(kind[:64]) if isinstance(kind, str) else "something other than a string"
        return Problem("unknown_event", f"type: expected one of {known}; got {shown}", "type", event_id)
    named = _FIELD.search(what)
    if named:
        path = f"{path}.{named['field']}" if path else named["field"]
    hint = next((f"; expected {expected}" for suffix, expected in _HINTS if path.endswith(suffix)), "")
    explained = f"{path or 'message'}: {what[:1].lower()}{what[1:300]}{hint}"
    return Problem(_code(what, path), explained, path or None, event_id)


def _code(what: str, path: str) -> str:
    if "base64" in what:
        return "invalid_base64"
    if ".format" in path:
        return "invalid_audio_format"
    if "missing required" in what:
        return "missing_required_parameter"
    if "unknown field" in what:
        return "unknown_parameter"
    if re.match(r"Expected `[^`]*`(, got `|$)", what) and "length" not in what:
        return "invalid_type"
    return "invalid_value"


def _audio(event: wire.AppendAudio, config: SessionConfig) -> packets.Audio:
    size = len(event.audio)
    if size == 0:
        _refuse("invalid_value", "audio: expected at least one sample", "audio", event.event_id)
    if size > packets.MAX_AUDIO_BYTES:
        expected = f"audio: expected at most {packets.MAX_AUDIO_BYTES} bytes, got {size}"
        _refuse("audio_too_large", expected, "audio", event.event_id)
    if config.input_codec == "pcm16/24000" and size % 2:
        expected = f"audio: expected whole 16-bit samples, an even number of bytes, got {size}"
        _refuse("invalid_audio_length", expected, "audio", event.event_id)
    return packets.Audio(event.audio)


def _codec(audio_format: wire.Format, param: str, event_id: str | None) -> Codec:
    rate = 24_000 if isinstance(audio_format, wire.PCM) else 8_000
    if audio_format.rate != rate:
        _refuse("invalid_audio_format", f"{param}.rate: expected {rate}", f"{param}.rate", event_id)
    if isinstance(audio_format, wire.PCM):
        return "pcm16/24000"
    return "g711_ulaw/8000" if isinstance(audio_format, wire.PCMU) else "g711_alaw/8000"


def _given(value: object) -> bool:
    return value is not UNSET and value is not None


def _updated(session: wire.Session, config: SessionConfig, event_id: str | None) -> SessionConfig:
    """`config` with what `session` names replaced; null means 'as it was', but for turn detection 'off'."""
    changes: dict[str, object] = {}
    for field in ("model", "instructions", "tool_choice"):
        value = getattr(session, field)
        if _given(value):
            changes[field] = value
    if session.tools and _deeper(session.tools, MAX_TOOLS_DEPTH):
        expected = f"session.tools: expected at most {MAX_TOOLS_DEPTH} objects and lists within one another"
        _refuse("invalid_value", expected, "session.tools", event_id)
    if session.tools and len(msgspec.json.encode(session.tools)) > MAX_TOOLS_BYTES:
        expected = f"session.tools: expected at most {MAX_TOOLS_BYTES} bytes of JSON"
        _refuse("invalid_value", expected, "session.tools", event_id)
    if isinstance(session.tools, list):
        changes["tools"] = session.tools
    if isinstance(session.output_modalities, list):
        changes["text_only"] = _text_only(session.output_modalities, "session.output_modalities", event_id)
    if _given(session.max_output_tokens):
        changes["max_output_tokens"] = 0 if session.max_output_tokens == "inf" else session.max_output_tokens
    if isinstance(session.audio, wire.AudioConfig):
        changes |= _audio_changes(session.audio, config, event_id)
    return msgspec.structs.replace(config, **changes)


def _count_appends(session: wire.Session, client: Client, event_id: str | None) -> None:
    if not isinstance(session.litevoice, wire.Litevoice) or not isinstance(session.litevoice.confirmed_appends, int):
        return
    if not client.count_appends(session.litevoice.confirmed_appends):
        param = "session.litevoice.confirmed_appends"
        _refuse("invalid_value", f"{param}: expected once per connection, appends are counted already", param, event_id)


def is_append(message: str) -> bool:
    """Whether a message that was refused was meant as an append. Off the hot path."""
    try:
        raw = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return False
    return isinstance(raw, dict) and raw.get("type") == "input_audio_buffer.append"


def _deeper(value: object, levels: int) -> bool:
    """Whether more than `levels` objects and lists are within one another."""
    layer = [value]
    for _ in range(levels):
        inner: list[object] = []
        for part in layer:
            if isinstance(part, dict):
                inner += part.values()
            elif isinstance(part, list):
                inner += part
        layer = [part for part in inner if isinstance(part, dict | list)]
        if not layer:
            return False
    return True


def _audio_changes(audio: wire.AudioConfig, config: SessionConfig, event_id: str | None) -> dict[str, object]:
    changes: dict[str, object] = {}
    if isinstance(audio.input, wire.Input):
        if isinstance(audio.input.format, wire.Format):
            changes["input_codec"] = _codec(audio.input.format, "session.audio.input.format", event_id)
        if (
            isinstance(audio.input.transcription, wire.Transcription)
            and audio.input.transcription.language is not UNSET
        ):
            changes["transcription_language"] = audio.input.transcription.language or ""
        if audio.input.turn_detection is not UNSET:
            changes["turn_detection"] = _turn_detection(audio.input.turn_detection, config.turn_detection)
    if isinstance(audio.output, wire.Output):
        if isinstance(audio.output.format, wire.Format):
            changes["output_codec"] = _codec(audio.output.format, "session.audio.output.format", event_id)
        if isinstance(audio.output.voice, wire.VoiceId):
            changes["voice"] = audio.output.voice.id
        elif isinstance(audio.output.voice, str):
            changes["voice"] = audio.output.voice
        if isinstance(audio.output.speed, int | float):
            changes["speed"] = float(audio.output.speed)
    return changes


def _turn_detection(
    asked: wire.ServerVad | wire.SemanticVad | UnsetType | None, current: TurnDetection | None
) -> TurnDetection | None:
    if asked is None or isinstance(asked, UnsetType):
        return None
    fields = ("threshold", "prefix_padding_ms", "silence_duration_ms", "create_response", "interrupt_response")
    given = {field: getattr(asked, field, UNSET) for field in fields}
    base = current if current is not None and isinstance(asked, wire.ServerVad) else TurnDetection()
    return msgspec.structs.replace(base, **{field: value for field, value in given.items() if _given(value)})


def _text_only(modalities: wire.Modalities, param: str, event_id: str | None) -> bool:
    if len(modalities) != 1:
        _refuse("invalid_value", f'{param}: expected ["audio"] or ["text"]', param, event_id)
    return modalities == ["text"]


def _item(item: wire.MessageItem, event_id: str | None, new_item_id: Callable[[], str]) -> Item:
    if item.type != "message":
        expected = f"item.type: expected message, the only item type accepted here; got {item.type[:64]!r}"
        _refuse("invalid_value", expected, "item.type", event_id)
    if isinstance(item.role, UnsetType):
        expected = "item.role: expected one of system, user, assistant"
        _refuse("missing_required_parameter", expected, "item.role", event_id)
    if isinstance(item.content, UnsetType) or not item.content:
        expected = "item.content: expected at least one content part"
        _refuse("missing_required_parameter", expected, "item.content", event_id)
    texts: list[str] = []
    for index, part in enumerate(item.content):
        if part.type not in ("input_text", "output_text", "text"):
            param = f"item.content[{index}].type"
            expected = f"{param}: expected input_text or output_text; got {part.type[:64]!r}"
            _refuse("invalid_value", expected, param, event_id)
        if not isinstance(part.text, str):
            param = f"item.content[{index}].text"
            _refuse("missing_required_parameter", f"{param}: expected a string", param, event_id)
        texts.append(part.text)
    item_id = item.id if isinstance(item.id, str) else new_item_id()
    return Item(item_id, item.role, "".join(texts))


def _response(event: wire.CreateResponse) -> packets.CreateResponse:
    params = event.response if isinstance(event.response, wire.ResponseParams) else wire.ResponseParams()
    metadata = params.metadata if isinstance(params.metadata, dict) else None
    if metadata and (len(metadata) > MAX_METADATA_PAIRS or any(len(key) > 64 for key in metadata)):
        expected = f"response.metadata: expected at most {MAX_METADATA_PAIRS} pairs with keys of at most 64 characters"
        _refuse("invalid_value", expected, "response.metadata", event.event_id)
    text_only = None
    if isinstance(params.output_modalities, list):
        text_only = _text_only(params.output_modalities, "response.output_modalities", event.event_id)
    instructions = params.instructions if isinstance(params.instructions, str) else None
    return packets.CreateResponse(event.event_id, instructions, text_only, metadata)
