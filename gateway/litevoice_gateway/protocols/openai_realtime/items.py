"""Items that a client puts into the conversation, or gives to one response alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec
from msgspec import UNSET

from litevoice_contracts.conversation import MAX_ITEMS, Item
from litevoice_gateway.protocols import Problem, Refusal
from litevoice_gateway.protocols.openai_realtime import client_events as wire

MAX_INPUT_BYTES = 65_536
"""Of one response's input: it is kept with the conversation until the response ends."""
_WRITTEN, _SPOKEN = ("input_text", "output_text", "text"), ("input_audio", "output_audio")


def refuse(code: str, message: str, param: str | None, event_id: str | None) -> NoReturn:
    raise Refusal(Problem(code, message, param, event_id))


def given(value: object) -> bool:
    return value is not UNSET and value is not None


def input_of(
    fields: Sequence[wire.ItemFields], event_id: str | None, new_item_id: Callable[[], str]
) -> list[Item | str]:
    """What a response is to be made from: items, and ids of items of the conversation."""
    path = "response.input"
    if len(fields) > MAX_ITEMS:
        refuse("invalid_value", f"{path}: expected at most {MAX_ITEMS} items", path, event_id)
    entries = list[Item | str]()
    for index, item in enumerate(fields):
        if item.type == "item_reference":
            entries.append(_needed(item.id, f"{path}[{index}].id", event_id))
        else:
            entries.append(item_of(item, f"{path}[{index}]", event_id, new_item_id, reference=True))
    if len(msgspec.msgpack.encode(entries)) > MAX_INPUT_BYTES:
        refuse("invalid_value", f"{path}: expected at most {MAX_INPUT_BYTES} bytes", path, event_id)
    return entries


def item_of(
    item: wire.ItemFields,
    path: str,
    event_id: str | None,
    new_item_id: Callable[[], str],
    *,
    reference: bool = False,
) -> Item:
    """The item whose fields stand at `path` of the event, where a `reference` may stand, too, or not."""
    item_id = item.id if isinstance(item.id, str) else new_item_id()
    match item.type:
        case "message":
            return _message(item, item_id, path, event_id)
        case "function_call":
            name = _needed(item.name, f"{path}.name", event_id)
            arguments = _needed(item.arguments, f"{path}.arguments", event_id)
            call_id = item.call_id if isinstance(item.call_id, str) else f"call_{item_id}"
            return Item(item_id, "assistant", arguments, kind="function_call", call_id=call_id, name=name)
        case "function_call_output":
            call_id = _needed(item.call_id, f"{path}.call_id", event_id)
            output = _needed(item.output, f"{path}.output", event_id)
            return Item(item_id, "system", output, kind="function_call_output", call_id=call_id)
        case _:
            kinds = "message, function_call, function_call_output" + (", item_reference" if reference else "")
            expected = f"{path}.type: expected one of {kinds}; got {item.type[:64]!r}"
            refuse("invalid_value", expected, f"{path}.type", event_id)


def _needed(value: object, param: str, event_id: str | None) -> str:
    if not isinstance(value, str):
        refuse("missing_required_parameter", f"{param}: expected a string", param, event_id)
    return value


def _message(item: wire.ItemFields, item_id: str, path: str, event_id: str | None) -> Item:
    if not isinstance(item.role, str):
        expected = f"{path}.role: expected one of system, user, assistant"
        refuse("missing_required_parameter", expected, f"{path}.role", event_id)
    if not isinstance(item.content, list) or not item.content:
        expected = f"{path}.content: expected at least one content part"
        refuse("missing_required_parameter", expected, f"{path}.content", event_id)
    texts = [_text(part, f"{path}.content[{index}]", event_id) for index, part in enumerate(item.content)]
    audio = all(part.type in _SPOKEN for part in item.content)
    return Item(item_id, item.role, "".join(texts), audio)


def _text(part: wire.ContentPart, param: str, event_id: str | None) -> str:
    if part.type in _SPOKEN:
        field, text = "transcript", part.transcript
    elif part.type in _WRITTEN:
        field, text = "text", part.text
    else:
        expected = f"{param}.type: expected one of {', '.join((*_WRITTEN, *_SPOKEN))}; got {part.type[:64]!r}"
        refuse("invalid_value", expected, f"{param}.type", event_id)
    if not isinstance(text, str):
        expected = f"{param}.{field}: expected a string"
        refuse("missing_required_parameter", expected, f"{param}.{field}", event_id)
    return text
