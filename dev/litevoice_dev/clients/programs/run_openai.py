"""openai (Python), as its documentation has it."""

from __future__ import annotations

import asyncio
import base64
import json
from importlib.metadata import version
from typing import Any

from lines import KEY, RETURNS, URL, commands, tell
from openai import AsyncOpenAI

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Call:
    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self.said: dict[str, str] = {}
        self.calls: list[str] = []

    async def run(self) -> None:
        client = AsyncOpenAI(api_key=KEY, websocket_base_url=URL)
        options: Any = {}
        if RETURNS:
            options = {
                "extra_query": {"can_return": "true"},
                "on_reconnecting": lambda _event: {"extra_query": dict(self.seen)},
                "max_retries": 40,
            }
        async with client.realtime.connect(model="litevoice", **options) as connection:
            await connection.session.update(session={"type": "realtime", "tools": [WEATHER]})
            tell("ready", version=version("openai"))
            listening = asyncio.create_task(self.listen(connection))
            async for command in commands():
                try:
                    await self.do(connection, command)
                except Exception as error:
                    if not RETURNS:  # the library says so while it comes back
                        tell("closed", text=f"{type(error).__name__}: {error}")
            listening.cancel()

    async def do(self, connection: Any, command: Any) -> None:
        match command["do"]:
            case "hear":
                await connection.input_audio_buffer.append(audio=command["audio"])
            case "type":
                content = [{"type": "input_text", "text": command["text"]}]
                await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
                await connection.response.create()
            case "forget":
                item_id = next(item_id for item_id, text in self.said.items() if command["text"] in text.lower())
                await connection.conversation.item.delete(item_id=item_id)

    async def listen(self, connection: Any) -> None:
        try:
            async for event in connection:
                if event.event_id:
                    self.seen["last_event_id"] = event.event_id
                await self.take(connection, event)
        except Exception as error:
            tell("closed", text=f"{type(error).__name__}: {error}")

    async def take(self, connection: Any, event: Any) -> None:
        match event.type:
            case "session.created":
                self.seen["session_id"] = event.session.id
            case "conversation.item.input_audio_transcription.completed":
                self.said[event.item_id] = event.transcript
                tell("heard", text=event.transcript)
            case "conversation.item.added" if event.item.type == "message" and event.item.role == "user":
                self.said.setdefault(event.item.id, "".join(part.text or "" for part in event.item.content))
            case "response.output_audio_transcript.delta":
                tell("said", text=event.delta)
            case "response.output_audio.delta":
                tell("audio", bytes=len(base64.b64decode(event.delta)))
            case "response.function_call_arguments.done":
                tell("called", arguments=event.arguments)
                self.calls.append(event.call_id)
            case "response.done" if not self.calls:
                tell("over")
            case "response.done":
                output = json.dumps({"weather": "seventeen degrees"})
                for call_id in self.calls:
                    item: Any = {"type": "function_call_output", "call_id": call_id, "output": output}
                    await connection.conversation.item.create(item=item)
                self.calls.clear()
                await connection.response.create()
            case "error":
                tell("error", text=f"{event.error.code}: {event.error.message}")


asyncio.run(Call().run())
