"""Calls of the client's functions in one response: told while the model writes them, from the middle if another worker
began to. Sans I/O.

The client has what was told, so a model that is asked again has to go on from there: its next call of a function is the
first of those told whose arguments begin alike, and only what follows is told. What it writes otherwise is another
call; the one that was told stays without an end, and nobody makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from litevoice_contracts import events
from litevoice_contracts.conversation import Item
from litevoice_contracts.envelopes import ToldCall
from litevoice_worker.commands import FunctionCall, FunctionCallPart

MAX_CALLS = 16
"""In one response."""
MAX_NAME = MAX_CALL_ID = 128
"""Characters: a client could not send more of an id back, so a longer one gets another in its place."""
MAX_ARGUMENTS = 65_536
"""Characters of a call's arguments."""


def choice_among(tools: Sequence[dict[str, object]], choice: str) -> str:
    """`choice` (see SessionConfig); the model's own when the function that it names is not among `tools`: a client that
    replaces its tools does not always think of it, and endpoints refuse it."""
    kind, _, name = choice.partition("/")
    return choice if kind != "function" or any(tool.get("name") == name for tool in tools) else "auto"


class CallError(ValueError):
    """A call that nobody can make; the message may go to the client."""


@dataclass(slots=True)
class _Call:
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    told: ToldCall | None = None


class Calls:
    """Of the response whose message is `answer_id`. `told`: what the client has of them."""

    __slots__ = ("_answer_id", "_calls", "_count", "_told", "_whole")

    def __init__(self, answer_id: str, told: Sequence[ToldCall] = ()) -> None:
        self._answer_id = answer_id
        self._told = list(told)  # not gone on with yet
        self._count = max((call.index for call in told), default=0)
        self._calls: dict[object, _Call] = {}
        self._whole = False

    def add(self, piece: FunctionCall | FunctionCallPart) -> None:
        """A call, or a part of one. Raises CallError."""
        key = piece.index if isinstance(piece, FunctionCallPart) else object()
        if key not in self._calls and len(self._calls) >= MAX_CALLS:
            raise CallError(f"more than {MAX_CALLS} functions were called in one response")
        call = self._calls.setdefault(key, _Call())
        call.call_id = call.call_id or piece.call_id
        call.name = call.name or piece.name
        call.arguments += piece.arguments
        if len(call.arguments) > MAX_ARGUMENTS:
            raise CallError(f"a function was called with more than {MAX_ARGUMENTS} characters of arguments")
        if len(call.name) > MAX_NAME:
            raise CallError(f"a function was called whose name has more than {MAX_NAME} characters")

    def end(self) -> None:
        """The model has written all of them. Raises CallError."""
        self._whole = True
        if any(call.arguments and not call.name for call in self._calls.values()):
            raise CallError("a function was called without its name")
        self._calls = {key: call for key, call in self._calls.items() if call.name}
        for call in self._calls.values():
            call.arguments = call.arguments or "{}"

    def next(self, response_id: str) -> events.CallStarted | events.CallDelta | None:
        """What is to be told next."""
        for call in self._calls.values():
            if call.told is None and call.name and not self._continues(call):
                self._count += 1
                item_id = f"{self._answer_id}_{self._count}"
                call_id = call.call_id if 0 < len(call.call_id) <= MAX_CALL_ID else f"call_{item_id}"
                call.told = ToldCall(item_id, self._count, call_id, call.name)
                return events.CallStarted(response_id, item_id, self._count, call.told.call_id, call.name)
            if call.told is not None and len(call.told.arguments) < len(call.arguments):
                told, call.told = call.told, replace(call.told, arguments=call.arguments)
                rest = call.arguments[len(told.arguments) :]
                return events.CallDelta(response_id, told.item_id, told.index, told.call_id, rest)
        return None

    def _continues(self, call: _Call) -> bool:
        """It is, or may turn out to be, one that the client has; then that one has been taken for it, once it is."""
        for told in self._told:
            if told.name == call.name and call.arguments.startswith(told.arguments):
                self._told.remove(told)
                call.told = told
                return True
            if told.name == call.name and told.arguments.startswith(call.arguments) and not self._whole:
                return True
        return False

    def made(self) -> list[tuple[int, Item]]:
        """The calls that the client is to make, each with its index, in their order; all were told."""
        made = [(call.told, call.arguments) for call in self._calls.values() if call.told is not None]
        return [
            (
                told.index,
                Item(told.item_id, "assistant", text, kind="function_call", call_id=told.call_id, name=told.name),
            )
            for told, text in sorted(made, key=lambda pair: pair[0].index)
        ]
