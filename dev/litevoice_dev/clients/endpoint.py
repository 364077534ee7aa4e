"""An OpenAI-compatible chat endpoint for driven clients: the built-in responder's rules, one function, and a list of
what was asked. It answers by what the worker sends it, so it tells what the history of a conversation is."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from litevoice_contracts.conversation import Item
from litevoice_dev.ports import HOST, free_port
from litevoice_worker.stages.respond_local import respond_to
from litevoice_worker.stages.respond_openai import CONTINUE

FUNCTION = "get_weather"
_WEATHER = re.compile(r"how is the weather in (\w+)")
_LIST = "what have i asked"


@asynccontextmanager
async def chat_endpoint() -> AsyncIterator[str]:
    """Its base URL."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _complete)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, HOST, port).start()
    try:
        yield f"http://{HOST}:{port}/v1"
    finally:
        await runner.cleanup()


async def _complete(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for choice in answer(body["messages"], body.get("tools") or []):
        await response.write(b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


def answer(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choices of the chunks of the stream."""
    if messages[-1]["content"] == CONTINUE:
        whole = answer(messages[:-2], tools)
        text = "".join(choice["delta"].get("content", "") for choice in whole)
        return _text(text.removeprefix(str(messages[-2]["content"])))
    last, asked = messages[-1], _asked(messages)
    newest = asked[-1].lower().strip(" ?.!") if asked else ""
    if last["role"] == "tool":
        return _text(f"The weather: {last['content']}.")
    if (match := _WEATHER.fullmatch(newest)) and any(tool["function"]["name"] == FUNCTION for tool in tools):
        call = {
            "index": 0,
            "id": f"call_{len(messages)}",
            "type": "function",
            "function": {"name": FUNCTION, "arguments": json.dumps({"city": match[1]})},
        }
        return [{"delta": {"tool_calls": [call]}}, {"delta": {}, "finish_reason": "tool_calls"}]
    if newest == _LIST:
        return _text("You asked: " + ", ".join(asked[:-1]) + ".")
    return _text(respond_to([Item(f"asked_{number}", "user", text) for number, text in enumerate(asked)]))


def _asked(messages: list[dict[str, Any]]) -> list[str]:
    """By the user; some libraries (Pipecat) write what is typed as system messages in the conversation's middle."""
    return [
        str(message["content"])
        for number, message in enumerate(messages)
        if message["role"] == "user" or (message["role"] == "system" and number)
    ]


def _text(text: str) -> list[dict[str, Any]]:
    return [{"delta": {"content": text}}, {"delta": {}, "finish_reason": "stop"}]
