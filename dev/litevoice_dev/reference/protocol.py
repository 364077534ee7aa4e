"""Client and server events of the OpenAI Realtime protocol, from the structs that read and write them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import inspect

from litevoice_contracts import events as neutral
from litevoice_contracts.conversation import SessionConfig
from litevoice_dev.reference.markdown import block, code, page, table
from litevoice_gateway.protocols.openai_realtime import client_events, server_events
from litevoice_gateway.protocols.openai_realtime.encode import Context, encode, session_object
from litevoice_gateway.protocols.openai_realtime.server_events import ServerEvent

_ID_NOTE = "Id of the event: a position, see [Clients](../clients.md#coming-back)."


def protocol() -> str:
    context = Context("s8_…", SessionConfig(), text_only=False)
    return page(
        "Protocol events",
        "OpenAI Realtime WebSocket events (GA names) at `/v1/realtime`. Fields mean what they mean in OpenAI's "
        "reference. [Clients](../clients.md) says how to connect, come back, and what each client library does.",
        "## Client events",
        "Anything else is answered by an `error` event with code `unknown_event`; the session lives on.",
        table(("Event", "Meaning"), ((code(_tag(kind)), _doc(kind)) for kind in _client_events())),
        *(part for kind in _client_events() for part in _client_event(kind)),
        "## Server events",
        f"Every event also has `event_id`. {_ID_NOTE}",
        table(
            ("Event", "Sent", "Fields"),
            ((code(_tag(kind)), _doc(kind), ", ".join(_own_fields(kind))) for kind in _server_events()),
        ),
        "### Objects in server events",
        *(part for struct in _objects() for part in (f"#### {struct.__name__}", _doc(struct), _object_table(struct))),
        "#### session",
        "As in the first `session.created`, with all defaults:",
        _example(session_object(context)),
        "#### response",
        "As in `response.done`; `response.created` has `status` `in_progress` and an empty `output`:",
        _example(_response(context)),
    )


def _client_events() -> list[inspect.StructType]:
    [union] = inspect.multi_type_info([client_events.ClientMessage])
    assert isinstance(union, inspect.UnionType)
    return [kind for kind in union.types if isinstance(kind, inspect.StructType)]


def _server_events() -> list[inspect.StructType]:
    found = [_struct(kind) for kind in vars(server_events).values() if _is_struct(kind, ServerEvent)]
    return [kind for kind in found if kind.tag]


def _objects() -> list[type[msgspec.Struct]]:
    return [kind for kind in vars(server_events).values() if _is_struct(kind) and not issubclass(kind, ServerEvent)]


def _is_struct(value: object, base: type = msgspec.Struct) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value.__module__ == server_events.__name__


def _struct(kind: type) -> inspect.StructType:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described


def _client_event(kind: inspect.StructType) -> Iterator[str]:
    rows, ignored = list(_rows(kind, "")), list(_ignored(kind, ""))
    rows = [row for row in rows if row[0] != "`event_id`"]
    if rows:
        yield f"### {_tag(kind)}"
        yield table(("Field", "Type", "Default"), rows)
    if ignored:
        yield "Accepted and ignored: " + ", ".join(ignored) + "."


def _rows(struct: inspect.StructType, prefix: str) -> Iterator[tuple[str, str, str]]:
    for field in struct.fields:
        branches = _branches(field.type)
        if not branches or _is_ignored(field):
            continue
        path = f"{prefix}{field.encode_name}"
        structs = [branch for branch in branches if isinstance(branch, inspect.StructType)]
        items = [branch.item_type for branch in branches if isinstance(branch, inspect.ListType)]
        default = "required" if field.required else _default(field)
        yield code(path), " or ".join(_type(branch) for branch in branches), default
        for child in structs:
            yield from _rows(child, f"{path} ({child.tag})." if child.tag else f"{path}.")
        for item in items:
            if isinstance(item, inspect.StructType):
                yield from _rows(item, f"{path}[].")


def _ignored(struct: inspect.StructType, prefix: str) -> Iterator[str]:
    for field in struct.fields:
        path = f"{prefix}{field.encode_name}"
        if _is_ignored(field):
            yield code(path)
        for child in _branches(field.type):
            if isinstance(child, inspect.StructType):
                yield from _ignored(child, f"{path}.")


def _is_ignored(field: inspect.Field) -> bool:
    return isinstance(field.type, inspect.CustomType) and field.type.cls is object


def _default(field: inspect.Field) -> str:
    return "" if field.default in (msgspec.NODEFAULT, None) else code(field.default)


def _branches(kind: inspect.Type) -> list[inspect.Type]:
    """Without null: every optional field may be null, which leaves things as they are."""
    types = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return [branch for branch in types if not isinstance(branch, inspect.NoneType)]


def _type(kind: inspect.Type) -> str:
    match kind:
        case inspect.BytesType():
            return "base64"
        case inspect.BoolType():
            return "boolean"
        case inspect.IntType():
            return f"integer{_range(kind.ge, kind.le)}"
        case inspect.FloatType():
            return f"number{_range(kind.ge, kind.le)}"
        case inspect.StrType(pattern=str() as pattern):
            return f"string, pattern {code(pattern)}"
        case inspect.StrType():
            return "string" + (f", at most {kind.max_length:,} characters" if kind.max_length else "")
        case inspect.LiteralType():
            return "one of " + ", ".join(code(value) for value in kind.values)
        case inspect.ListType():
            return f"list of {_type(kind.item_type)}"
        case inspect.DictType(value_type=inspect.CustomType()):
            return "object"
        case inspect.DictType():
            return f"map of string to {_type(kind.value_type)}"
        case inspect.StructType(tag=str() as tag):
            return f"object with `{kind.tag_field}` {code(tag)}"
        case inspect.StructType():
            return "object"
        case inspect.CustomType():
            return "any value"
        case _:
            raise TypeError(f"no words for {kind}")


def _range(low: float | None, high: float | None) -> str:
    return f", {low:,} to {high:,}" if low is not None and high is not None else ""


def _own_fields(kind: inspect.StructType) -> Iterator[str]:
    return (code(field.encode_name) for field in kind.fields if field.encode_name != "event_id")


def _object_table(struct: type[msgspec.Struct]) -> str:
    def rows() -> Iterator[tuple[str, str, str]]:
        for field in _struct(struct).fields:
            nullable = isinstance(field.type, inspect.UnionType) and any(
                isinstance(branch, inspect.NoneType) for branch in field.type.types
            )
            kind = " or ".join(_type(branch) for branch in _branches(field.type)) + (" or null" if nullable else "")
            yield code(field.encode_name), kind, _default(field)

    return table(("Field", "Type", "Value"), rows())


def _response(context: Context) -> object:
    finished = neutral.ResponseFinished("resp_…", "item_…", "completed", "Hello.", input_tokens=12, output_tokens=3)
    done = encode(finished, context)[-1]
    assert isinstance(done, server_events.ResponseDone)
    return done.response


def _example(value: object) -> str:
    return block(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), "json")


def _tag(kind: inspect.StructType) -> str:
    return str(kind.tag)


def _doc(kind: inspect.StructType | type[msgspec.Struct]) -> str:
    struct = kind.cls if isinstance(kind, inspect.StructType) else kind
    if not struct.__doc__:
        raise LookupError(f"{struct.__name__}: a docstring that says what it is for")
    return struct.__doc__.strip()
