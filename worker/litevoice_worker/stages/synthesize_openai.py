"""Text to speech by any endpoint that speaks OpenAI's speech API."""

from __future__ import annotations

import asyncio

import numpy as np

from litevoice_contracts.conversation import Codec
from litevoice_contracts.settings import OpenAICompatible
from litevoice_worker.audio import SAMPLE_RATES, encode, resample
from litevoice_worker.stages import StageError
from litevoice_worker.stages.openai_http import check_status, make_client, stage_errors

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
        try:
            with stage_errors("speech"):
                async with asyncio.timeout(self._timeout_seconds):
                    response = await self._client.post("audio/speech", json=body)
        except TimeoutError as error:
            raise StageError("the speech endpoint did not answer in time") from error
        await check_status(response, "speech")
        samples = np.frombuffer(response.content[: len(response.content) & ~1], dtype="<i2").astype(np.int16)
        return encode(resample(samples, _RATE, SAMPLE_RATES[codec]), codec)

    async def close(self) -> None:
        await self._client.aclose()
