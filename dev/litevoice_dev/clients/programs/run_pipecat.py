"""Pipecat's OpenAI Realtime service in a pipeline with a microphone and a loudspeaker of its own."""

from __future__ import annotations

import asyncio
import base64
from importlib.metadata import version
from typing import Any

from lines import KEY, URL, commands, tell
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMFullResponseEndFrame,
    LLMMessagesAppendFrame,
    LLMRunFrame,
    OutputAudioRawFrame,
    StartFrame,
    TranscriptionFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams

RATE = 24_000


class Microphone(BaseInputTransport):
    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)


class Loudspeaker(BaseOutputTransport):
    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        tell("audio", bytes=len(frame.audio))
        await asyncio.sleep(len(frame.audio) / 2 / RATE)
        return True


class Ear(FrameProcessor):
    """Tells what passes: before the service (what it understood), and after it (what it says, and when it has)."""

    def __init__(self) -> None:
        super().__init__()
        self.complete = self.speaking = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame) and direction == FrameDirection.UPSTREAM:
            tell("heard", text=frame.text)
        elif isinstance(frame, TTSTextFrame):
            tell("said", text=frame.text)
            self.complete = False
        elif isinstance(frame, LLMFullResponseEndFrame):
            self.complete = True
            self.look()
        elif isinstance(frame, BotStartedSpeakingFrame | BotStoppedSpeakingFrame):
            self.speaking = isinstance(frame, BotStartedSpeakingFrame)
            self.look()
        elif isinstance(frame, ErrorFrame) and direction == FrameDirection.UPSTREAM:
            tell("error", text=frame.error)
        await self.push_frame(frame, direction)

    def look(self) -> None:
        if self.complete and not self.speaking:
            tell("over")


async def get_weather(params: FunctionCallParams, city: str) -> None:
    """The weather in a city.

    Args:
        city: Its name.
    """
    tell("called", arguments=city)
    await params.result_callback({"weather": "seventeen degrees"})


async def main() -> None:
    context = LLMContext([{"role": "user", "content": "hello"}], tools=[get_weather])
    both = LLMContextAggregatorPair(context)
    llm: Any = OpenAIRealtimeLLMService(api_key=KEY, base_url=f"{URL}/realtime")
    audio = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
    microphone = Microphone(audio)
    said: dict[str, str] = {}

    @llm.event_handler("on_conversation_item_created")
    async def _created(_service: Any, item_id: str, item: Any) -> None:
        if item is not None and item.role == "user":
            said[item_id] = "".join(part.text or part.transcript or "" for part in item.content or [])

    parts = [microphone, both.user(), Ear(), llm, Ear(), Loudspeaker(audio), both.assistant()]
    params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    task = PipelineTask(Pipeline(parts), params=params, idle_timeout_secs=None)
    started = asyncio.Event()

    @task.event_handler("on_pipeline_started")
    async def _started(_task: Any, _frame: Any) -> None:
        started.set()

    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await started.wait()
    await task.queue_frames([LLMRunFrame()])
    tell("ready", version=version("pipecat-ai"))
    async for command in commands():
        match command["do"]:
            case "hear":
                pcm = base64.b64decode(command["audio"])
                await microphone.push_audio_frame(InputAudioRawFrame(pcm, RATE, 1))
            case "type":
                message = {"role": "user", "content": command["text"]}
                # To the service itself: the user's aggregator would only note it.
                await llm.queue_frame(LLMMessagesAppendFrame([message], run_llm=True))
            case "forget":
                try:
                    for item_id in list(said):
                        item = await asyncio.wait_for(llm.retrieve_conversation_item(item_id), 10)
                        heard = "".join(part.text or part.transcript or "" for part in item.content or [])
                        if command["text"] in heard.lower():
                            await llm.send_client_event(events.ConversationItemDeleteEvent(item_id=item_id))
                            break
                except Exception as error:
                    tell("error", text=f"{type(error).__name__}: {error}")
    await task.queue_frames([EndFrame()])
    await running


asyncio.run(main())
