"""Speech to text through any endpoint that speaks OpenAI's transcription API."""

from __future__ import annotations

import io
import json
import wave

from litevoice_contracts.settings import OpenAICompatible
from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE
from litevoice_worker.stages import StageError
from litevoice_worker.stages.openai_http import ask, make_client


class OpenAITranscriber:
    """POST audio/transcriptions with a 16 kHz WAV file."""

    def __init__(self, endpoint: OpenAICompatible) -> None:
        self._client = make_client(endpoint)
        self._model = endpoint.model
        self._timeout_seconds = endpoint.timeout_seconds

    async def transcribe(self, samples: Samples, language: str) -> str:
        data = {"model": self._model, "response_format": "json"} | ({"language": language} if language else {})
        files = {"file": ("speech.wav", _wav(samples), "audio/wav")}
        path = "audio/transcriptions"
        body = await ask(self._client, "transcription", self._timeout_seconds, path, data=data, files=files)
        try:
            text = json.loads(body)["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise StageError("the transcription endpoint's answer has no field text") from error
        return str(text).strip()

    async def close(self) -> None:
        await self._client.aclose()


def _wav(samples: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples.astype("<i2", copy=False).tobytes())
    return file.getvalue()
