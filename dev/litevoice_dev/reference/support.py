"""Field by field, what of OpenAI's Realtime protocol is supported: the models of the openai package beside the structs
and decisions of the gateway. What nobody has decided on is an error here, and fails a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import openai
from msgspec import inspect
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel

from litevoice_dev.reference.markdown import code, page, table
from litevoice_gateway.protocols.openai_realtime import client_events, server_events, support
from litevoice_gateway.protocols.openai_realtime.server_events import ServerEvent
from litevoice_gateway.protocols.openai_realtime.support import Support

UNDECIDED = "decide: take it into the structs, or say in support.py what becomes of it"


def protocol_support() -> str:
    return page(
        "Support of OpenAI's protocol",
        f"OpenAI's Realtime events and fields, as the `openai` package {openai.__version__} has them. A field that is "
        "not supported is **shown as not applied** (`session.updated` names it in `session.litevoice.not_applied`), "
        "**ignored** (it may be there and changes nothing) or **refused** (an `error` event tells, and nothing of its "
        "event counts). [Protocol events](protocol.md) has types and bounds.",
        "## Client events",
        table(("Event", "Field", "", "Note"), _client_rows()),
        "## Server events",
        table(("Event", "", "Fields of OpenAI's that are not in it"), _server_rows()),
    )


def _client_rows() -> Iterator[tuple[str, str, str, str]]:
    for event, found in client_support().items():
        if found is None:
            yield code(event), "", "refused", support.EVENTS_REFUSED[event]
            continue
        for path, (status, note) in found.items():
            yield code(event), code(path), status if status == "supported" else f"**{status}**", note


def _server_rows() -> Iterator[tuple[str, str, str]]:
    for event, missing in server_support().items():
        if missing is None:
            yield code(event), f"**not sent**: {support.EVENTS_NOT_SENT[event]}", ""
        else:
            yield code(event), "sent", ", ".join(map(code, missing))


def client_support() -> dict[str, dict[str, tuple[Support, str]] | None]:
    """Event → path → what becomes of it, and a note; None for an event that is refused. Raises LookupError for what
    nobody has decided on."""
    mine = _structs(client_events.ClientMessage)
    result: dict[str, dict[str, tuple[Support, str]] | None] = {}
    for event, model in _models(RealtimeClientEvent).items():
        if event not in mine:
            if event not in support.EVENTS_REFUSED:
                raise LookupError(f"client event {event}: {UNDECIDED}")
            result[event] = None
            continue
        found = dict(_known(mine[event]))
        result[event] = {path: _decided(event, path, found) for path in _shortest(event, model, found)}
    return result


def server_support() -> dict[str, list[str] | None]:
    """Event → fields that are not in it; None for an event that is not sent. Raises LookupError for what nobody has
    decided on."""
    sent = {
        str(kind.__struct_config__.tag): kind
        for kind in vars(server_events).values()
        if isinstance(kind, type) and issubclass(kind, ServerEvent) and kind.__struct_config__.tag
    }
    result: dict[str, list[str] | None] = {}
    for event, model in _models(RealtimeServerEvent).items():
        if event in sent:
            have = {field.encode_name for field in msgspec.structs.fields(sent[event])} | {"type"}
            result[event] = sorted(set(model.model_fields) - have)
        elif event in support.EVENTS_NOT_SENT:
            result[event] = None
        else:
            raise LookupError(f"server event {event}: {UNDECIDED}")
    return result


def _decided(event: str, path: str, known: dict[str, bool]) -> tuple[Support, str]:
    name = f"{event}: {path}"
    if name in support.FIELDS:
        return support.FIELDS[name]
    if path not in known:
        raise LookupError(f"{name}: {UNDECIDED}")
    if known[path]:
        return "supported", support.NOTES.get(name, "")
    return "shown as not applied" if event == "session.update" else "ignored", ""


def _shortest(event: str, model: type[BaseModel], known: dict[str, bool]) -> Iterator[str]:
    """Paths, without those below one that is taken or left as a whole."""
    whole: tuple[str, ...] = ()
    for path in sorted(set(_paths(model))):
        if path in ("type", "event_id") or path.startswith(whole):
            continue
        yield path
        opaque = path in known and not any(other.startswith(f"{path}.") for other in known)
        if opaque or f"{event}: {path}" in support.FIELDS:
            whole = (*whole, f"{path}.")


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        yield path
        for inner in _inside(field.annotation):
            yield from _paths(inner, f"{path}.")


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _inside(argument)


def _models(union: Any) -> dict[str, type[BaseModel]]:
    """By the value of `type`."""
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in _inside(union)}


def _structs(union: Any) -> dict[str, inspect.StructType]:
    [described] = inspect.multi_type_info([union])
    assert isinstance(described, inspect.UnionType)
    return {str(kind.tag): kind for kind in described.types if isinstance(kind, inspect.StructType)}


def _known(struct: inspect.StructType, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """Paths of the fields that a struct has, and whether they change anything."""
    if struct.tag_field:
        yield f"{prefix}{struct.tag_field}", True
    for field in struct.fields:
        path = f"{prefix}{field.encode_name}"
        yield path, not isinstance(field.type, inspect.CustomType)
        yield from _known_inside(field.type, path)


def _known_inside(kind: inspect.Type, path: str) -> Iterator[tuple[str, bool]]:
    match kind:
        case inspect.UnionType():
            for branch in kind.types:
                yield from _known_inside(branch, path)
        case inspect.ListType():
            yield from _known_inside(kind.item_type, path)
        case inspect.StructType():
            yield from _known(kind, f"{path}.")
