"""Responses from any endpoint that speaks OpenAI's chat completions API, streamed and cut into sentences."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from litevoice_contracts.conversation import Item
from litevoice_worker.commands import FunctionCallPart, Outcome, Prompt, StageContext
from litevoice_worker.sentences import SentenceSplitter
from litevoice_worker.stages import Plugin
from litevoice_worker.stages.openai_http import (
    Endpoint,
    EndpointError,
    Endpoints,
    OpenAIOptions,
    check_status,
    stage_errors,
)

CONTINUE = (
    "Your previous message was interrupted in the middle. Continue it exactly where it stops. "
    "Do not repeat any of it and do not comment on the interruption."
)

_PENDING = "There is no result yet."
_BEGIN = "(The user has not said anything yet.)"
_SILENT = "(The user says nothing.)"
_Piece = str | FunctionCallPart


@dataclass(slots=True)
class _Stream:
    """What the chunks have said so far of the answer as a whole."""

    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


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
    with stage_errors("chat"):
        async with endpoint.client.stream("POST", "chat/completions", json=body, headers=headers) as response:
            check_status(response, "chat")
            lines = response.aiter_lines().__aiter__()
            while True:
                try:
                    async with asyncio.timeout(endpoint.timeout_seconds):
                        line = await anext(lines)
                except StopAsyncIteration:
                    break
                except TimeoutError as error:
                    raise EndpointError("the chat endpoint did not answer in time", "timeout") from error
                if line.startswith("data:"):
                    data = line[5:].strip()
                    if data == "[DONE]":
                        return
                    for piece in _read(data, stream):
                        yield piece
    if not stream.finish_reason:
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
        if chunk.get("error"):
            raise EndpointError("the chat endpoint reported an error in its stream", "broken", again=True)
        usage = chunk.get("usage")
        if usage:
            stream.input_tokens = int(usage.get("prompt_tokens") or 0)
            stream.output_tokens = int(usage.get("completion_tokens") or 0)
            stream.cached_tokens = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        choices = chunk.get("choices")
        if not choices:
            return []
        stream.finish_reason = choices[0].get("finish_reason") or stream.finish_reason
        delta = choices[0].get("delta") or {}
        text = str(delta.get("content") or "")
        calls = [_part(piece) for piece in delta.get("tool_calls") or ()]
        return [text, *calls] if text else [*calls]
    except (ValueError, AttributeError, TypeError, LookupError) as error:
        raise EndpointError("the chat endpoint sent a chunk that is not a chat completion chunk", "broken") from error


def _part(piece: dict[str, Any]) -> FunctionCallPart:
    function = piece.get("function") or {}
    return FunctionCallPart(
        int(piece.get("index") or 0),
        str(piece.get("id") or "")[:128],
        str(function.get("name") or "")[:128],
        str(function.get("arguments") or ""),
    )


def _made_call(item: Item) -> dict[str, object]:
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.text}}


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
