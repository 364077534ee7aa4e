"""Every event and field of the openai package is decided on: taken, or said in support.py what becomes of it. A new
release of the package that brings another one fails here."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from litevoice_contracts import packets
from litevoice_contracts.conversation import SessionConfig
from litevoice_dev.reference import support as page
from litevoice_gateway.protocols import Refusal
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime, support

PROTOCOL = OpenAIRealtime(lambda: "item_new")


def test_every_client_event_and_field_is_decided_on() -> None:
    found = page.client_support()
    assert [event for event, fields in found.items() if fields is None] == list(support.EVENTS_REFUSED)


def test_every_server_event_is_decided_on() -> None:
    found = page.server_support()
    assert {event for event, missing in found.items() if missing is None} == set(support.EVENTS_NOT_SENT)


def test_nothing_is_decided_on_that_is_not_there() -> None:
    shown = {f"{event}: {path}" for event, fields in page.client_support().items() for path in fields or ()}
    assert set(support.FIELDS) | set(support.NOTES) <= shown


class Newer(BaseModel):
    """As a newer release might have it."""

    type: Literal["response.cancel"]
    response_id: str
    gently: bool


def test_a_new_field_of_the_package_is_an_error_until_somebody_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "RealtimeClientEvent", Newer)
    with pytest.raises(LookupError, match=r"^response.cancel: gently: decide"):
        page.client_support()
    monkeypatch.setattr(page, "RealtimeServerEvent", Newer)
    with pytest.raises(LookupError, match=r"^server event response.cancel: decide"):
        page.server_support()


def fields(status: str, event: str) -> list[str]:
    return [path for path, (found, _) in (page.client_support()[event] or {}).items() if found == status]


def nested(path: str, value: object) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {"type": "mcp", name: value} if name == "server_label" else {name: value}
    assert isinstance(value, dict)
    return value


def decoded(message: dict[str, Any]) -> packets.Packet:
    (event,) = PROTOCOL.decode(json.dumps(message), SessionConfig())
    return event.packet


@pytest.mark.parametrize("path", fields("shown as not applied", "session.update"))
def test_what_is_shown_as_not_applied_is(path: str) -> None:
    update = decoded({"type": "session.update", **nested(path, {"x": 1})})
    assert isinstance(update, packets.Update)
    assert update.not_applied == [path]


ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}


def item_with(path: str) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(json.dumps(ITEM))
    inner = item["content"][0] if path.startswith("content.") else item
    inner[path.removeprefix("content.")] = "x"
    return item


@pytest.mark.parametrize("path", fields("ignored", "response.create"))
def test_what_is_ignored_is(path: str) -> None:
    inside = "response.input."
    if path.startswith(inside):
        message = {"response": {"input": [item_with(path.removeprefix(inside))]}}
        plain: dict[str, Any] = {"response": {"input": [ITEM]}}
    else:
        message, plain = nested(path, "x"), {"response": {}}
    assert decoded({"type": "response.create", **message}) == decoded({"type": "response.create", **plain})


@pytest.mark.parametrize("path", fields("ignored", "conversation.item.create"))
def test_what_is_ignored_of_an_item_is(path: str) -> None:
    message = {"item": item_with(path.removeprefix("item."))}
    plain = decoded({"type": "conversation.item.create", "item": ITEM})
    assert decoded({"type": "conversation.item.create", **message}) == plain


@pytest.mark.parametrize(
    ("event", "inner"),
    [
        ("conversation.item.create", {"item": {"type": "mcp_approval_response", "approve": True}}),
        ("conversation.item.create", {"item": {**ITEM, "content": [{"type": "input_image", "image_url": "data:"}]}}),
        ("response.create", {"response": {"input": [{"type": "mcp_list_tools", "server_label": "x", "tools": []}]}}),
        ("output_audio_buffer.clear", {}),
    ],
)
def test_what_is_refused_is(event: str, inner: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        decoded({"type": event, **inner})
