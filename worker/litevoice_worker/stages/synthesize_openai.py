"""Text to speech through any endpoint that speaks OpenAI's speech API."""

from __future__ import annotations

import numpy as np

from litevoice_contracts.conversation import Codec
from litevoice_contracts.settings import OpenAICompatible
from litevoice_worker.audio import SAMPLE_RATES, encode, resample
from litevoice_worker.stages.openai_http import ask, make_client

_RATE = 24_000  # of response_format pcm


class OpenAISynthesizer:
    """POST audio/speech, PCM back."""

    def __init__(self, endpoint: OpenAICompatible, voice: str) -> None:
        self._client = make_client(endpoint)
        self._model = endpoint.model
        self._voice = voice
        self._timeout_seconds = endpoint.timeout_seconds

    async def synthesize(self, text: str, voice: str, speed: float, codec: Codec) -> bytes:
        body = {
            "model": self._model,
            "input": text,
            "voice": self._voice if voice == "default" else voice,
            "response_format": "pcm",
            "speed": speed,
        }
        audio = await ask(self._client, "speech", self._timeout_seconds, "audio/speech", json=body)
        samples = np.frombuffer(audio[: len(audio) & ~1], dtype="<i2").astype(np.int16)
        return encode(resample(samples, _RATE, SAMPLE_RATES[codec]), codec)

    async def close(self) -> None:
        await self._client.aclose()
