"""LiveKit's OpenAI plug-in in an AgentSession without a room: a microphone and a loudspeaker of its own."""

from __future__ import annotations

import asyncio
import base64
import time
from importlib.metadata import version
from typing import Any

from lines import KEY, URL, commands, tell
from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai

RATE = 24_000


class Microphone(io.AudioInput):
    def __init__(self) -> None:
        super().__init__(label="microphone")
        self.frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def __anext__(self) -> rtc.AudioFrame:
        return await self.frames.get()


class Loudspeaker(io.AudioOutput):
    """Plays in real time, and says how far it has come when it is stopped."""

    def __init__(self) -> None:
        super().__init__(label="loudspeaker", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE)
        self.began = self.seconds = 0.0
        self.ending: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self.began:
            self.began = time.time()
            self.on_playback_started(created_at=self.began)
        self.seconds += frame.duration
        tell("audio", bytes=len(frame.data) * 2)

    def flush(self) -> None:
        super().flush()
        if self.began and self.ending is None:
            left = max(0.0, self.began + self.seconds - time.time())
            self.ending = asyncio.get_running_loop().call_later(left, self.end, False)

    def clear_buffer(self) -> None:
        if self.began:
            self.end(True)

    def end(self, interrupted: bool) -> None:
        if self.ending is not None:
            self.ending.cancel()
            self.ending = None
        position = min(self.seconds, time.time() - self.began)
        self.began = self.seconds = 0.0
        self.on_playback_finished(playback_position=position, interrupted=interrupted)


class Assistant(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Be helpful.")

    @function_tool
    async def get_weather(self, city: str) -> str:
        """The weather in a city."""
        tell("called", arguments=city)
        return "seventeen degrees"

    async def transcription_node(self, text: Any, model_settings: Any) -> Any:  # noqa: ARG002 - as the library calls it
        async for piece in text:
            tell("said", text=str(piece))
            yield piece


async def main() -> None:
    session: Any = AgentSession(llm=openai.realtime.RealtimeModel(base_url=URL, api_key=KEY))
    microphone = Microphone()
    session.input.audio, session.output.audio = microphone, Loudspeaker()
    session.on("user_input_transcribed", lambda event: event.is_final and tell("heard", text=event.transcript))
    session.on("agent_state_changed", lambda event: event.new_state == "listening" and tell("over"))
    session.on("error", lambda event: tell("error", text=str(getattr(event.error, "error", event.error))))
    session.on("close", lambda event: tell("closed", text=str(event.reason)))
    agent = Assistant()
    await session.start(agent, record=False)
    tell("ready", version=version("livekit-plugins-openai"))
    async for command in commands():
        try:
            match command["do"]:
                case "hear":
                    pcm = base64.b64decode(command["audio"])
                    microphone.frames.put_nowait(rtc.AudioFrame(pcm, RATE, 1, len(pcm) // 2))
                case "type":
                    session.generate_reply(user_input=command["text"])
                case "forget":
                    context = agent.chat_ctx.copy()
                    context.items = [
                        item
                        for item in context.items
                        if not (item.type == "message" and command["text"] in (item.text_content or "").lower())
                        or item.role != "user"
                    ]
                    await agent.update_chat_ctx(context)
        except Exception as error:
            tell("error", text=f"{type(error).__name__}: {error}")
    await session.aclose()


asyncio.run(main())
