"""Text to speech through any endpoint that speaks OpenAI's speech API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import Field

from litevoice_contracts.conversation import Codec
from litevoice_worker.audio import SpeechEncoder
from litevoice_worker.commands import StageContext
from litevoice_worker.stages import Plugin
from litevoice_worker.stages.openai_http import Endpoint, Endpoints, OpenAIOptions

_RATE = 24_000  # of response_format pcm


class OpenAISpeechOptions(OpenAIOptions):
    """Options of `audio/speech`."""

    voice: Annotated[str, Field(min_length=1, max_length=128)] = "alloy"
    """One of the endpoints' voices, for sessions that name none."""


class OpenAISynthesizer(Plugin[OpenAISpeechOptions]):
    """POST audio/speech, PCM back, spoken as it comes."""

    Options = OpenAISpeechOptions

    def __init__(self, options: OpenAISpeechOptions) -> None:
        super().__init__(options)
        self._endpoints = Endpoints("tts", "speech", options)
        self.calls = self._endpoints.calls
        self._voice = options.voice

    async def synthesize(
        self, text: str, voice: str, speed: float, codec: Codec, context: StageContext
    ) -> AsyncIterator[bytes]:
        def request(endpoint: Endpoint) -> dict[str, Any]:
            body = {
                "model": endpoint.model,
                "input": text,
                "voice": self._voice if voice == "default" else voice,
                "response_format": "pcm",
                "speed": speed,
            }
            return {"json": body}

        encoder = SpeechEncoder(_RATE, codec)
        with self.calls.asking(context) as asking:
            pieces = self._endpoints.stream(asking, "audio/speech", request, _seconds)
            async with aclosing(pieces):
                async for pcm in pieces:
                    if audio := encoder.feed(pcm):
                        yield audio
        if audio := encoder.end():
            yield audio

    async def close(self) -> None:
        await self._endpoints.close()


def _seconds(pcm_bytes: int) -> float:
    """How long it takes to say: an endpoint that is no faster than speech may take so long."""
    return pcm_bytes / (2 * _RATE)
