"""Responses from any endpoint that speaks OpenAI's chat completions API, streamed and cut into sentences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litevoice_contracts.settings import OpenAICompatible
from litevoice_worker.commands import Outcome, Prompt
from litevoice_worker.sentences import SentenceSplitter
from litevoice_worker.stages import StageError
from litevoice_worker.stages.openai_http import check_status, make_client, stage_errors

_CONTINUE = (
    "Your previous message was interrupted in the middle. Continue it exactly where it stops. "
    "Do not repeat any of it and do not comment on the interruption."
)


@dataclass(slots=True)
class _Stream:
    """What the chunks have said so far, besides text."""

    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


class OpenAIResponder:
    """POST chat/completions with `stream: true`; timeout_seconds bounds the wait for each next piece."""

    def __init__(self, endpoint: OpenAICompatible) -> None:
        self._client = make_client(endpoint)
        self._model = endpoint.model
        self._timeout_seconds = endpoint.timeout_seconds

    async def respond(self, prompt: Prompt) -> AsyncIterator[str | Outcome]:
        splitter = SentenceSplitter()
        stream = _Stream()
        begun = False
        async for text in self._pieces(prompt, stream):
            # A model that continues tends to leave out the space before its first word.
            glue = " " if prompt.said and not begun and not text[:1].isspace() else ""
            begun = True
            for sentence in splitter.feed(glue + text):
                yield sentence
        for sentence in splitter.flush():
            yield sentence
        yield _outcome(stream)

    async def close(self) -> None:
        await self._client.aclose()

    async def _pieces(self, prompt: Prompt, stream: _Stream) -> AsyncIterator[str]:
        body = {
            "model": self._model,
            "messages": messages(prompt),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt.max_output_tokens:
            body["max_tokens"] = prompt.max_output_tokens
        with stage_errors("chat"):
            async with self._client.stream("POST", "chat/completions", json=body) as response:
                await check_status(response, "chat")
                lines = response.aiter_lines().__aiter__()
                while True:
                    try:
                        async with asyncio.timeout(self._timeout_seconds):
                            line = await anext(lines)
                    except StopAsyncIteration:
                        break
                    except TimeoutError as error:
                        raise StageError("the chat endpoint did not answer in time") from error
                    if line.startswith("data:"):
                        data = line[5:].strip()
                        if data == "[DONE]":
                            return
                        text = _read(data, stream)
                        if text:
                            yield text
        if not stream.finish_reason:
            raise StageError("the chat endpoint's stream ended early")


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """The conversation as chat messages; items without text (speech that was not understood) are left out."""
    result = [{"role": "system", "content": prompt.instructions}] if prompt.instructions else []
    result += [{"role": item.role, "content": item.text} for item in prompt.items if item.text]
    if prompt.said:
        result += [{"role": "assistant", "content": prompt.said}, {"role": "system", "content": _CONTINUE}]
    return result


def _read(data: str, stream: _Stream) -> str:
    """The text of one chunk; everything else it says goes into `stream`."""
    try:
        chunk: dict[str, Any] = json.loads(data)
        if chunk.get("error"):
            raise StageError("the chat endpoint reported an error in its stream")
        usage = chunk.get("usage")
        if usage:
            stream.input_tokens = int(usage.get("prompt_tokens") or 0)
            stream.output_tokens = int(usage.get("completion_tokens") or 0)
        choices = chunk.get("choices")
        if not choices:
            return ""
        stream.finish_reason = choices[0].get("finish_reason") or stream.finish_reason
        return str((choices[0].get("delta") or {}).get("content") or "")
    except (ValueError, AttributeError, TypeError, LookupError) as error:
        raise StageError("the chat endpoint sent a chunk that is not a chat completion chunk") from error


def _outcome(stream: _Stream) -> Outcome:
    tokens = (stream.input_tokens, stream.output_tokens)
    match stream.finish_reason:
        case "length":
            return Outcome("incomplete", "max_output_tokens", *tokens)
        case "content_filter":
            return Outcome("incomplete", "content_filter", *tokens)
        case _:
            return Outcome("completed", "", *tokens)
