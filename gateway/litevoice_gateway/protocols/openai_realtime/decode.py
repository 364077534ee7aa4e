"""OpenAI Realtime client events to neutral packets; what is wrong is named by code, field and event."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from litevoice_contracts import packets
from litevoice_contracts.conversation import Codec, SessionConfig, Truncation, TurnDetection
from litevoice_contracts.settings import OWN_VOICE
from litevoice_gateway.protocols import MODEL_NOT_FOUND, ClientEvent, Problem, Refusal
from litevoice_gateway.protocols.openai_realtime import client_events as wire
from litevoice_gateway.protocols.openai_realtime.items import given, input_of, item_of, refuse
from litevoice_gateway.protocols.openai_realtime.leniency import ignored, is_function, plain_base64, without_unknown

MAX_TOOLS_BYTES = 65_536
MAX_TOOLS_DEPTH = 32
"""Objects and lists within one another; deeper ones would exhaust the stack of whoever encodes the configuration."""
MAX_NAME = 128
"""Characters of a function's name."""
MAX_METADATA_PAIRS = 16
SEMANTIC_PAUSE_MS = 300
"""After so much silence a turn detector is asked."""
_decoder: msgspec.json.Decoder[wire.ClientMessage] = msgspec.json.Decoder(wire.ClientMessage)
_ERROR = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_HINTS = (
    ("format.type", "one of audio/pcm (rate 24000), audio/pcmu, audio/pcma"),
    ("turn_detection.type", "server_vad, semantic_vad, or null in place of the object"),
    ("tool_choice", "one of auto, none, required, or an object that names a function"),
    ("audio", "base64"),
)
_TOO_DEEP = Problem("invalid_json", "the message is nested too deeply")
_FIELD = re.compile(r"(?:missing required|contains unknown) field `(?P<field>[^`]*)`")
_EVENT_TYPES = tuple(sorted(event.__struct_config__.tag for event in wire.ClientMessage.__args__))


class Client(Protocol):
    """Whose event it is."""

    new_item_id: Callable[[], str]
    """Names an item for which the client gave no id."""
    models: Sequence[str]
    """What it may ask for; empty: anything."""
    semantic_models: Sequence[str]
    """Those that have a turn detector."""
    voices: Mapping[str, Collection[str]]
    """Of each that has a map of voices, the names in it."""

    returns: bool
    """It says that it comes back."""
    told_of_moves: bool
    """It is told before it is moved."""

    def count_appends(self, confirmed: int) -> bool:
        """From now on, beginning after so many; False when they are counted already."""

    def whole_samples(self, audio: bytes) -> bytes | None:
        """PCM16 that begins with what the append before has left over; the odd byte waits for the next. None when each
        append must have whole samples."""


def decode(message: str, config: SessionConfig, client: Client) -> ClientEvent:
    """The packet for one client event. Raises Refusal with code, message, param and event_id."""
    event, unknown = _read(message)
    match event:
        case wire.AppendAudio():
            return ClientEvent("input_audio_buffer.append", _audio(event, config, client))
        case wire.CommitAudio():
            return ClientEvent("input_audio_buffer.commit", packets.Commit(event.event_id))
        case wire.ClearAudio():
            return ClientEvent("input_audio_buffer.clear", packets.Clear(event.event_id))
        case wire.UpdateSession():
            updated = _updated(event.session, config, client, event.event_id)
            _count_appends(event.session, client, event.event_id)
            if isinstance(event.session.litevoice, wire.Litevoice) and given(event.session.litevoice.going_away):
                client.told_of_moves = event.session.litevoice.going_away is True
            not_applied = [*unknown, *ignored(event.session)]
            if isinstance(event.session.resumption, wire.Resumption):
                client.returns = event.session.resumption.enabled
            voice = _session_voice(event.session)
            if (
                isinstance(event.session.truncation, wire.RetentionRatio)
                and _truncation(event.session.truncation) is None
            ):
                not_applied.append("session.truncation")
            if voice is not None and not _has_voice(client, updated.model, voice):
                not_applied.append("session.audio.output.voice")
            if not _is_there(event.session.tool_choice, updated.tools):
                not_applied.append("session.tool_choice")
            return ClientEvent("session.update", packets.Update(updated, event.event_id, not_applied or None))
        case wire.CreateItem():
            item = item_of(event.item, "item", event.event_id, client.new_item_id)
            created = packets.CreateItem(item, event.event_id, event.previous_item_id)
            return ClientEvent("conversation.item.create", created)
        case wire.DeleteItem():
            return ClientEvent("conversation.item.delete", packets.DeleteItem(event.item_id, event.event_id))
        case wire.RetrieveItem():
            return ClientEvent("conversation.item.retrieve", packets.RetrieveItem(event.item_id, event.event_id))
        case wire.TruncateItem():
            truncated = packets.TruncateItem(event.item_id, event.audio_end_ms, event.event_id)
            return ClientEvent("conversation.item.truncate", truncated)
        case wire.CreateResponse():
            return ClientEvent("response.create", _response(event, config, client))
        case wire.CancelResponse():
            return ClientEvent("response.cancel", packets.CancelResponse(event.response_id, event.event_id))


def _read(message: str) -> tuple[wire.ClientMessage, list[str]]:
    """The event, and the fields of a session that it names and nobody here knows. Off the hot path what is meant is
    found out."""
    try:
        return _decoder.decode(message), []
    except msgspec.ValidationError as error:
        first = error
    except msgspec.DecodeError as error:
        raise Refusal(Problem("invalid_json", f"the message is not JSON: {error}")) from error
    except RecursionError as error:
        raise Refusal(_TOO_DEEP) from error
    message, unknown = without_unknown(plain_base64(message), str(first), _decoder)
    try:
        return _decoder.decode(message), unknown
    except msgspec.ValidationError as error:
        raise Refusal(_explain(str(error), message)) from error


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


def _audio(event: wire.AppendAudio, config: SessionConfig, client: Client) -> packets.Audio:
    """Empty when there is no whole sample yet."""
    audio = event.audio
    if len(audio) > packets.MAX_AUDIO_BYTES:
        expected = f"audio: expected at most {packets.MAX_AUDIO_BYTES} bytes, got {len(audio)}"
        refuse("audio_too_large", expected, "audio", event.event_id)
    if config.input_codec == "pcm16/24000":
        whole = client.whole_samples(audio)
        if whole is None:
            expected = f"audio: expected whole 16-bit samples, an even number of bytes, got {len(audio)}"
            refuse("invalid_audio_length", expected, "audio", event.event_id)
        audio = whole
    return packets.Audio(audio)


def _codec(audio_format: wire.Format, param: str, event_id: str | None) -> Codec:
    rate = 24_000 if isinstance(audio_format, wire.PCM) else 8_000
    if audio_format.rate not in (None, rate):
        refuse("invalid_audio_format", f"{param}.rate: expected {rate}", f"{param}.rate", event_id)
    if isinstance(audio_format, wire.PCM):
        return "pcm16/24000"
    return "g711_ulaw/8000" if isinstance(audio_format, wire.PCMU) else "g711_alaw/8000"


def _updated(session: wire.Session, config: SessionConfig, client: Client, event_id: str | None) -> SessionConfig:
    """`config` with what `session` names replaced; null means 'as it was', but for turn detection and
    transcription 'off'."""
    changes: dict[str, object] = {}
    if given(session.type):
        changes["transcription_only"] = session.type == "transcription"
    for field in ("model", "instructions"):
        value = getattr(session, field)
        if given(value):
            changes[field] = value
    if client.models and changes.get("model", client.models[0]) not in client.models:
        raise Refusal(unknown_model(str(changes["model"]), "session.model", event_id))
    tools = _tools(session.tools, "session.tools", event_id) if isinstance(session.tools, list) else config.tools
    changes["tools"] = tools
    choice = _tool_choice(session.tool_choice)
    if choice is not None and _is_there(session.tool_choice, tools):
        changes["tool_choice"] = choice
    if isinstance(session.output_modalities, list):
        changes["text_only"] = _text_only(session.output_modalities, "session.output_modalities", event_id)
    if (truncation := _truncation(session.truncation)) is not None:
        changes["truncation"] = truncation
    if given(session.max_output_tokens):
        changes["max_output_tokens"] = _max_output_tokens(session.max_output_tokens)
    if isinstance(session.audio, wire.AudioConfig):
        model = str(changes.get("model", config.model))
        changes |= _audio_changes(session.audio, config, event_id, semantic=model in client.semantic_models)
        voice = _session_voice(session)
        if voice is not None and _has_voice(client, model, voice):
            changes["voice"] = voice
    return msgspec.structs.replace(config, **changes)


def unknown_model(model: str, param: str, event_id: str | None = None) -> Problem:
    message = f"The model `{model}` does not exist or you do not have access to it."
    return Problem(MODEL_NOT_FOUND, message, param, event_id)


def _tools(tools: list[dict[str, object]], param: str, event_id: str | None) -> list[dict[str, object]]:
    """The functions among them."""
    if _deeper(tools, MAX_TOOLS_DEPTH):
        expected = f"{param}: expected at most {MAX_TOOLS_DEPTH} objects and lists within one another"
        refuse("invalid_value", expected, param, event_id)
    if len(msgspec.json.encode(tools)) > MAX_TOOLS_BYTES:
        refuse("invalid_value", f"{param}: expected at most {MAX_TOOLS_BYTES} bytes of JSON", param, event_id)
    try:
        msgspec.msgpack.encode(tools)
    except OverflowError:
        refuse("invalid_value", f"{param}: expected whole numbers of at most 64 bits", param, event_id)
    for index, tool in enumerate(tools):
        if is_function(tool):
            _check_function(tool, f"{param}[{index}]", event_id)
    return [tool for tool in tools if is_function(tool)]


def _check_function(tool: dict[str, object], param: str, event_id: str | None) -> None:
    """What endpoints refuse would fail every answer."""
    name, path = tool.get("name"), f"{param}.name"
    if not isinstance(name, str):
        refuse("missing_required_parameter", f"{path}: expected the function's name", path, event_id)
    if not 1 <= len(name) <= MAX_NAME:
        refuse("invalid_value", f"{path}: expected 1 to {MAX_NAME} characters, got {len(name)}", path, event_id)
    for field, kind, expected in (("description", str, "a string"), ("parameters", dict, "an object")):
        if not isinstance(tool.get(field), kind | None):
            refuse("invalid_type", f"{param}.{field}: expected {expected}", f"{param}.{field}", event_id)


def _is_there(choice: object, tools: Sequence[dict[str, object]]) -> bool:
    """Unless it names a function that is not among `tools`."""
    return not isinstance(choice, wire.Function) or any(tool["name"] == choice.name for tool in tools)


def _tool_choice(choice: object) -> str | None:
    if isinstance(choice, wire.Function):
        return f"function/{choice.name}"
    return choice if isinstance(choice, str) else None


def _max_output_tokens(limit: object) -> int | None:
    """0 for no limit."""
    if limit == "inf":
        return 0
    return limit if isinstance(limit, int) else None


def _truncation(asked: object) -> Truncation | None:
    if isinstance(asked, wire.RetentionRatio):
        limit = asked.token_limits.post_instructions if isinstance(asked.token_limits, wire.TokenLimits) else None
        if not isinstance(limit, int):
            return None
        return Truncation(max_tokens=limit, retention_ratio=asked.retention_ratio)
    return Truncation(disabled=asked == "disabled") if isinstance(asked, str) else None


def _count_appends(session: wire.Session, client: Client, event_id: str | None) -> None:
    if not isinstance(session.litevoice, wire.Litevoice) or not isinstance(session.litevoice.confirmed_appends, int):
        return
    if not client.count_appends(session.litevoice.confirmed_appends):
        param = "session.litevoice.confirmed_appends"
        refuse("invalid_value", f"{param}: expected once per connection, appends are counted already", param, event_id)


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


def _audio_changes(
    audio: wire.AudioConfig, config: SessionConfig, event_id: str | None, *, semantic: bool
) -> dict[str, object]:
    """`semantic`: there is a turn detector."""
    changes: dict[str, object] = {}
    if isinstance(audio.input, wire.Input):
        if isinstance(audio.input.format, wire.Format):
            changes["input_codec"] = _codec(audio.input.format, "session.audio.input.format", event_id)
        if audio.input.transcription is not UNSET:
            changes["transcripts"] = audio.input.transcription is not None
        if (
            isinstance(audio.input.transcription, wire.Transcription)
            and audio.input.transcription.language is not UNSET
        ):
            changes["transcription_language"] = audio.input.transcription.language or ""
        if audio.input.turn_detection is not UNSET:
            before = config.turn_detection
            changes["turn_detection"] = _turn_detection(audio.input.turn_detection, before, semantic=semantic)
    if isinstance(audio.output, wire.Output):
        if isinstance(audio.output.format, wire.Format):
            changes["output_codec"] = _codec(audio.output.format, "session.audio.output.format", event_id)
        if isinstance(audio.output.speed, int | float):
            changes["speed"] = float(audio.output.speed)
    return changes


def _turn_detection(
    asked: wire.ServerVad | wire.SemanticVad | UnsetType | None, current: TurnDetection | None, *, semantic: bool
) -> TurnDetection | None:
    if asked is None or isinstance(asked, UnsetType):
        return None
    fields = ("threshold", "prefix_padding_ms", "silence_duration_ms", "create_response", "interrupt_response")
    wanted = {field: getattr(asked, field, UNSET) for field in fields}
    if isinstance(asked, wire.ServerVad) and asked.idle_timeout_ms is not UNSET:
        wanted["idle_timeout_ms"] = asked.idle_timeout_ms or 0
    if isinstance(asked, wire.SemanticVad):
        eagerness = asked.eagerness if isinstance(asked.eagerness, str) else "auto"
        base = (
            TurnDetection(silence_duration_ms=SEMANTIC_PAUSE_MS, eagerness=eagerness) if semantic else TurnDetection()
        )
    else:
        base = current if current is not None and not current.eagerness else TurnDetection()
    return msgspec.structs.replace(base, **{field: value for field, value in wanted.items() if given(value)})


def _text_only(modalities: wire.Modalities, param: str, event_id: str | None) -> bool:
    if len(modalities) != 1:
        refuse("invalid_value", f'{param}: expected ["audio"] or ["text"]', param, event_id)
    return modalities == ["text"]


def _response(event: wire.CreateResponse, config: SessionConfig, client: Client) -> packets.CreateResponse:
    params = event.response if isinstance(event.response, wire.ResponseParams) else wire.ResponseParams()
    metadata = params.metadata if isinstance(params.metadata, dict) else None
    if metadata and (len(metadata) > MAX_METADATA_PAIRS or any(len(key) > 64 for key in metadata)):
        expected = f"response.metadata: expected at most {MAX_METADATA_PAIRS} pairs with keys of at most 64 characters"
        refuse("invalid_value", expected, "response.metadata", event.event_id)
    text_only = None
    if isinstance(params.output_modalities, list):
        text_only = _text_only(params.output_modalities, "response.output_modalities", event.event_id)
    output = params.audio.output if isinstance(params.audio, wire.ResponseAudio) else UNSET
    voice, codec = None, None
    if isinstance(output, wire.ResponseOutput):
        voice = _voice(output.voice)
        if voice is not None and not _has_voice(client, config.model, voice):
            voice = None  # response.created shows the session's
        if isinstance(output.format, wire.Format):
            codec = _codec(output.format, "response.audio.output.format", event.event_id)
    tools = _tools(params.tools, "response.tools", event.event_id) if isinstance(params.tools, list) else None
    if not _is_there(params.tool_choice, config.tools if tools is None else tools):
        expected = "response.tool_choice: expected auto, none, required, or the name of one of the functions"
        refuse("invalid_value", expected, "response.tool_choice", event.event_id)
    return packets.CreateResponse(
        event.event_id,
        params.instructions if isinstance(params.instructions, str) else None,
        text_only,
        metadata,
        _max_output_tokens(params.max_output_tokens),
        tools,
        _tool_choice(params.tool_choice),
        voice,
        codec,
        out_of_band=params.conversation == "none",
        input=input_of(params.input, event.event_id, client.new_item_id) if isinstance(params.input, list) else None,
    )


def _voice(voice: object) -> str | None:
    """By name, or as an object that has it."""
    if isinstance(voice, wire.VoiceId):
        return voice.id
    return voice if isinstance(voice, str) else None


def _session_voice(session: wire.Session) -> str | None:
    output = session.audio.output if isinstance(session.audio, wire.AudioConfig) else UNSET
    return _voice(output.voice) if isinstance(output, wire.Output) else None


def _has_voice(client: Client, model: str, voice: str) -> bool:
    """Without a map nobody here knows."""
    known = client.voices.get(model)
    return known is None or voice in known or voice == OWN_VOICE
