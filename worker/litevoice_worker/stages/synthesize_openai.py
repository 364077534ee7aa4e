"""Text to speech through any endpoint that speaks OpenAI's speech API."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from litevoice_contracts.conversation import Codec
from litevoice_worker.audio import SAMPLE_RATES, encode, resample
from litevoice_worker.commands import StageContext
from litevoice_worker.stages import Plugin
from litevoice_worker.stages.openai_http import Endpoint, Endpoints, OpenAIOptions

_RATE = 24_000  # of response_format pcm


class OpenAISpeechOptions(OpenAIOptions):
    """Options of `audio/speech`."""

    voice: Annotated[str, Field(min_length=1, max_length=128)] = "alloy"
    """One of the endpoints' voices, for sessions that name none."""


class OpenAISynthesizer(Plugin[OpenAISpeechOptions]):
    """POST audio/speech, PCM back."""

    Options = OpenAISpeechOptions

    def __init__(self, options: OpenAISpeechOptions) -> None:
        super().__init__(options)
        self._endpoints = Endpoints("tts", "speech", options)
        self.calls = self._endpoints.calls
        self._voice = options.voice

    async def synthesize(self, text: str, voice: str, speed: float, codec: Codec, context: StageContext) -> bytes:
        def request(endpoint: Endpoint) -> dict[str, Any]:
            body = {
                "model": endpoint.model,
                "input": text,
                "voice": self._voice if voice == "default" else voice,
                "response_format": "pcm",
                "speed": speed,
            }
            return {"json": body}

        with self.calls.asking(context) as asking:
            _, audio = await self._endpoints.post(asking, "audio/speech", request)
        samples = np.frombuffer(audio[: len(audio) & ~1], dtype="<i2").astype(np.int16)
        return encode(resample(samples, _RATE, SAMPLE_RATES[codec]), codec)

    async def close(self) -> None:
        await self._endpoints.close()
