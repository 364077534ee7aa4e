"""Responses from any endpoint that speaks OpenAI's chat completions API, streamed and cut into sentences."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from litevoice_contracts.conversation import Item
from litevoice_worker.commands import FunctionCallPart, Outcome, Prompt, StageContext
from litevoice_worker.sentences import SentenceSplitter
from litevoice_worker.stages import Plugin
from litevoice_worker.stages.openai_http import (
    NO_JSON,
    Endpoint,
    EndpointError,
    Endpoints,
    OpenAIOptions,
    Patience,
    answer,
    data_of,
    kind_of,
    whole_characters,
)

CONTINUE = (
    "Your previous message was interrupted in the middle. Continue it exactly where it stops. "
    "Do not repeat any of it and do not comment on the interruption."
)

MAX_TOKENS = 1 << 40
"""More than a model can count."""
_PENDING = "There is no result yet."
_BEGIN = "(The user has not said anything yet.)"
_SILENT = "(The user says nothing.)"
_Piece = str | FunctionCallPart


@dataclass(slots=True)
class _Call:
    number: int
    call_id: str
    name: str


@dataclass(slots=True)
class _Stream:
    """What the chunks have said so far of the answer as a whole.

    Attributes:
        half: of a character, at the end of the text.
        calls: the newest of each index, None for those without one.
    """

    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    half: str = ""
    calls: dict[int | None, _Call] = field(default_factory=dict)
    begun: int = 0


class OpenAIResponder(Plugin[OpenAIOptions]):
    """POST chat/completions with `stream: true`; timeoutSeconds bounds the wait for each next piece. Until the first
    piece of the answer another endpoint can be asked."""

    Options = OpenAIOptions

    def __init__(self, options: OpenAIOptions) -> None:
        super().__init__(options)
        self._endpoints = Endpoints("respond", "chat", options)
        self.calls = self._endpoints.calls

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[_Piece | Outcome]:
        splitter = SentenceSplitter()
        begun = False

        async def begin(endpoint: Endpoint, headers: dict[str, str]) -> tuple[_Stream, AsyncGenerator[_Piece], _Piece]:
            stream = _Stream()
            pieces = _pieces(endpoint, headers, prompt, stream)
            return stream, pieces, await anext(pieces, "")

        with self.calls.asking(context) as asking:
            endpoint, (stream, pieces, piece) = await self._endpoints.ask(asking, begin)
            async with aclosing(pieces):
                while piece:
                    if isinstance(piece, FunctionCallPart):
                        for sentence in splitter.flush():  # it can be spoken while the call is written
                            yield sentence
                        yield piece
                    else:
                        # A model that continues tends to leave out the space before its first word.
                        glue = " " if prompt.said and not begun and not piece[:1].isspace() else ""
                        begun = True
                        for sentence in splitter.feed(glue + piece):
                            yield sentence
                    try:
                        piece = await anext(pieces, "")
                    except EndpointError as error:
                        self._endpoints.failed(endpoint, asking, error)
                        raise
        self.calls.used(endpoint.target, stream.input_tokens, stream.output_tokens)
        for sentence in splitter.flush():
            yield sentence
        yield _outcome(stream)

    async def close(self) -> None:
        await self._endpoints.close()


async def _pieces(
    endpoint: Endpoint, headers: dict[str, str], prompt: Prompt, stream: _Stream
) -> AsyncGenerator[_Piece]:
    """Text, never empty, and calls as they are written; what else there is goes into `stream`."""
    body = {
        "model": endpoint.model,
        "messages": messages(prompt),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.max_output_tokens:
        body["max_tokens"] = prompt.max_output_tokens
    if prompt.tools:
        body |= {"tools": [_tool(tool) for tool in prompt.tools], "tool_choice": _tool_choice(prompt.tool_choice)}
    kind, said, done = "", False, False
    async with answer(endpoint, "chat/completions", headers, {"json": body}, "chat") as response:
        patience = Patience(endpoint.timeout_seconds)
        async with aclosing(data_of(response, "chat", patience)) as chunks:
            async for data in chunks:
                kind = "text/event-stream"
                if done := data == "[DONE]":
                    break
                pieces = _read(data, stream)
                for piece in pieces:
                    said = True
                    yield piece
                patience.renew(piece=bool(pieces))
        kind = kind or kind_of(response)
    if kind != "text/event-stream":
        raise EndpointError(f"the chat endpoint answered with {kind} instead of a stream of events", "broken")
    if not (stream.finish_reason or (done and said)):
        raise EndpointError("the chat endpoint's stream ended early", "broken", again=True)


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The conversation as chat messages; items without text (speech that was not understood) are left out.

    Endpoints want each call followed by its output: one that has none yet gets _PENDING, an output whose call was
    forgotten is left out. They refuse a conversation in which nobody has said anything, so somebody begins. One that
    ends with the user's silence is told so: many expect him to have had the last word.
    """
    result: list[dict[str, Any]] = []
    if prompt.instructions:
        result.append({"role": "system", "content": prompt.instructions})
    outputs = {item.call_id: item.text for item in prompt.items if item.kind == "function_call_output"}
    for calls, group in itertools.groupby(prompt.items, lambda item: item.kind == "function_call"):
        items = list(group)
        if calls:
            result.append({"role": "assistant", "content": None, "tool_calls": [_made_call(item) for item in items]})
            result += [
                {"role": "tool", "tool_call_id": item.call_id, "content": outputs.get(item.call_id, _PENDING)}
                for item in items
            ]
        else:
            said = (item for item in items if item.kind == "message" and item.text)
            result += [{"role": item.role, "content": item.text} for item in said]
    if prompt.items and prompt.items[-1].is_noise and any(message["role"] != "system" for message in result):
        result.append({"role": "user", "content": _SILENT})
    if not prompt.said and all(message["role"] == "system" for message in result):
        result.append({"role": "user", "content": _BEGIN})
    if prompt.said:
        result += [{"role": "assistant", "content": prompt.said}, {"role": "system", "content": CONTINUE}]
    return result


def _read(data: str, stream: _Stream) -> list[_Piece]:
    """The pieces in one chunk; everything else it says goes into `stream`."""
    try:
        chunk: dict[str, Any] = json.loads(data)
        if chunk.get("error") or chunk.get("object") == "error":
            raise EndpointError("the chat endpoint reported an error in its stream", "broken", again=True)
        usage = chunk.get("usage")
        if usage:
            stream.input_tokens = _tokens(usage.get("prompt_tokens"))
            stream.output_tokens = _tokens(usage.get("completion_tokens"))
            stream.cached_tokens = _tokens((usage.get("prompt_tokens_details") or {}).get("cached_tokens"))
        choices = chunk.get("choices")
        if not choices:
            return []
        stream.finish_reason = choices[0].get("finish_reason") or stream.finish_reason
        delta = choices[0].get("delta") or {}
        text = _joined(_text(delta.get("content")), stream)
        calls = [_part(piece, stream) for piece in delta.get("tool_calls") or ()]
        return [text, *calls] if text else [*calls]
    except NO_JSON as error:
        raise EndpointError("the chat endpoint sent a chunk that is not a chat completion chunk", "broken") from error


def _tokens(count: object) -> int:
    return int(min(max(0, count), MAX_TOKENS)) if isinstance(count, int | float) else 0


def _text(content: object) -> str:
    """Of a delta's content: some endpoints give parts, and thoughts among them. Raises TypeError."""
    if isinstance(content, list):
        return "".join(_text(part["text"]) for part in content if part["type"] == "text")
    if not isinstance(content, str | None):
        raise TypeError("content")
    return content or ""


def _joined(text: str, stream: _Stream) -> str:
    """With the half of a character that the text before has ended in; one at its own end waits."""
    text, stream.half = stream.half + text, ""
    if "\ud800" <= text[-1:] <= "\udbff":
        text, stream.half = text[:-1], text[-1]
    return whole_characters(text)


def _part(piece: dict[str, Any], stream: _Stream) -> FunctionCallPart:
    function, index = piece.get("function") or {}, piece.get("index")
    call_id, name = (whole_characters(str(text or ""))[:128] for text in (piece.get("id"), function.get("name")))
    arguments = function.get("arguments") or ""
    call = stream.calls.get(index)
    if call is None or _begins(call, call_id, name, numbered=index is not None):
        call = stream.calls[index] = _Call(stream.begun, call_id, name)
        stream.begun += 1
    call.call_id, call.name = call.call_id or call_id, call.name or name
    whole = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return FunctionCallPart(call.number, call_id, name, whole_characters(whole))


def _begins(call: _Call, call_id: str, name: str, *, numbered: bool) -> bool:
    """Whether a part is of another call than the one before with its index: there are endpoints that give all calls the
    same index, or none, and others that give each part of one call another id, but then its name only once."""
    if not (name and call.name):
        return False
    return call_id != call.call_id if call_id and call.call_id else not numbered


def _made_call(item: Item) -> dict[str, object]:
    function = {"name": item.name, "arguments": item.text if _is_object(item.text) else "{}"}
    return {"id": item.call_id, "type": "function", "function": function}


def _is_object(text: str) -> bool:
    """Endpoints that read the arguments of earlier calls refuse the whole conversation for others."""
    try:
        return isinstance(json.loads(text), dict)
    except NO_JSON:
        return False


def _tool(tool: dict[str, object]) -> dict[str, object]:
    """As chat completions have it: the Realtime API has the function's fields one level higher."""
    fields = ("name", "description", "parameters")
    return {"type": "function", "function": {name: tool[name] for name in fields if tool.get(name) is not None}}


def _tool_choice(choice: str) -> object:
    kind, _, name = choice.partition("/")
    return {"type": "function", "function": {"name": name}} if kind == "function" else choice


def _outcome(stream: _Stream) -> Outcome:
    tokens = (stream.input_tokens, stream.output_tokens, stream.cached_tokens)
    match stream.finish_reason:
        case "length":
            return Outcome("incomplete", "max_output_tokens", *tokens)
        case "content_filter":
            return Outcome("incomplete", "content_filter", *tokens)
        case _:
            return Outcome("completed", "", *tokens)
