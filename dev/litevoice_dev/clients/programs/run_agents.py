"""openai-agents (Python), as its documentation has it."""

from __future__ import annotations

import asyncio
import base64
from importlib.metadata import version
from typing import Any

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner
from agents.realtime.model_inputs import RealtimeModelSendRawMessage
from lines import KEY, URL, commands, tell


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city."""
    tell("called", arguments=city)
    return "seventeen degrees"


async def listen(session: Any, history: dict[str, str]) -> None:
    try:
        async for event in session:
            take(event, history)
        tell("closed", text="the session has ended")
    except Exception as error:
        tell("closed", text=f"{type(error).__name__}: {error}")


def take(event: Any, history: dict[str, str]) -> None:
    match event.type:
        case "audio":
            tell("audio", bytes=len(event.audio.data))
        case "raw_model_event" if event.data.type == "transcript_delta":
            tell("said", text=event.data.delta)
        case "raw_model_event" if event.data.type == "input_audio_transcription_completed":
            history[event.data.item_id] = event.data.transcript
            tell("heard", text=event.data.transcript)
        case "raw_model_event" if event.data.type == "turn_ended":
            tell("over")
        case "history_added" if getattr(event.item, "role", "") == "user":
            text = "".join(getattr(part, "text", None) or "" for part in event.item.content)
            history.setdefault(event.item.item_id, text)
        case "error":
            tell("error", text=str(event.error))


async def main() -> None:
    agent = RealtimeAgent(name="assistant", instructions="Be helpful.", tools=[get_weather])
    session = await RealtimeRunner(agent).run(model_config={"url": f"{URL}/realtime?model=litevoice", "api_key": KEY})
    history: dict[str, str] = {}
    async with session:
        tell("ready", version=version("openai-agents"))
        listening = asyncio.create_task(listen(session, history))
        async for command in commands():
            try:
                match command["do"]:
                    case "hear":
                        await session.send_audio(base64.b64decode(command["audio"]))
                    case "type":
                        await session.send_message(command["text"])
                    case "forget":  # the library has no edits of its own but passes on what it does not know
                        item_id = next(item_id for item_id, text in history.items() if command["text"] in text.lower())
                        message: Any = {"type": "conversation.item.delete", "other_data": {"item_id": item_id}}
                        await session.model.send_event(RealtimeModelSendRawMessage(message=message))
            except Exception as error:
                tell("closed", text=f"{type(error).__name__}: {error}")
        listening.cancel()


asyncio.run(main())
