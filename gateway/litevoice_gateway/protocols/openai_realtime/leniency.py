"""What clients send that is not quite as it should be, and can be read all the same. Off the hot path."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from litevoice_gateway.protocols.openai_realtime import client_events as wire

MAX_UNKNOWN = 64
"""Fields of one event that are taken out; an event with more is refused."""
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)` - at `\$\.(?P<path>session[\w.]*)`")
BETA = (
    "input_audio_format",
    "output_audio_format",
    "input_audio_transcription",
    "turn_detection",
    "modalities",
    "max_response_output_tokens",
)
"""Fields of the former API: a client that sends them would not understand the events of this one."""
_ECHOED = ("id", "object")  # of the session object that clients send back


def plain_base64(message: str) -> str:
    """An append whose audio has line breaks, blanks around its lines, no padding, or the alphabet for URLs, as msgspec
    reads it; any other message as it is, also one with a blank between words: it is text."""
    raw = _raw(message)
    audio = raw.get("audio") if raw is not None else None
    if raw is None or raw.get("type") != "input_audio_buffer.append" or not isinstance(audio, str):
        return message
    text = "".join(line.strip() for line in audio.splitlines()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return message
    return msgspec.json.encode(raw | {"audio": plain}).decode()


def without_unknown(
    message: str, error: str, decoder: msgspec.json.Decoder[wire.ClientMessage]
) -> tuple[str, list[str]]:
    """A session.update that failed with `error`, without the fields that nobody knows, and their paths. Stops at any
    other error."""
    raw, taken = _raw(message), list[str]()
    while raw is not None and len(taken) < MAX_UNKNOWN and (unknown := _UNKNOWN.fullmatch(error)):
        if unknown["path"] == "session" and unknown["field"] in BETA:
            break
        holder = raw
        try:
            for name in unknown["path"].split("."):
                holder = holder[name]
            del holder[unknown["field"]]
        except (KeyError, TypeError):
            break  # the object is there twice, and only the last one counts as JSON
        taken.append(f"{unknown['path']}.{unknown['field'][:64]}")
        message = msgspec.json.encode(raw).decode()
        try:
            decoder.decode(message)
        except msgspec.ValidationError as next_error:
            error = str(next_error)
        else:
            break
    return message, taken


def ignored(struct: msgspec.Struct, path: str = "session") -> Iterator[str]:
    """Paths of the fields that were given and change nothing here."""
    for field in msgspec.structs.fields(type(struct)):
        value = getattr(struct, field.name)
        if value is None or value is msgspec.UNSET or field.encode_name in _ECHOED:
            continue
        if field.type is wire.Ignored:
            yield f"{path}.{field.encode_name}"
        elif field.encode_name == "tools":
            yield from (f"{path}.tools[{index}]" for index, tool in enumerate(value) if not is_function(tool))
        elif isinstance(value, msgspec.Struct):
            yield from ignored(value, f"{path}.{field.encode_name}")


def is_function(tool: dict[str, object]) -> bool:
    """The only kind of tool there is here."""
    return tool.get("type", "function") == "function"


def _raw(message: str) -> dict[str, Any] | None:
    try:
        raw = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None
