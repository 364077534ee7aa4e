"""Speech to text through any endpoint that speaks OpenAI's transcription API."""

from __future__ import annotations

import json
from typing import Any

from litevoice_worker.audio import Samples
from litevoice_worker.commands import StageContext
from litevoice_worker.stages import Plugin
from litevoice_worker.stages.openai_http import Endpoint, Endpoints, OpenAIOptions
from litevoice_worker.stages.wav import wav


class OpenAITranscriber(Plugin[OpenAIOptions]):
    """POST audio/transcriptions with a 16 kHz WAV file."""

    Options = OpenAIOptions

    def __init__(self, options: OpenAIOptions) -> None:
        super().__init__(options)
        self._endpoints = Endpoints("asr", "transcription", options)
        self.calls = self._endpoints.calls

    async def transcribe(self, samples: Samples, context: StageContext) -> str:
        language = {"language": context.language} if context.language else {}
        files = {"file": ("speech.wav", wav(samples), "audio/wav")}

        def request(endpoint: Endpoint) -> dict[str, Any]:
            return {"data": {"model": endpoint.model, "response_format": "json"} | language, "files": files}

        with self.calls.asking(context) as asking:
            endpoint, body = await self._endpoints.post(asking, "audio/transcriptions", request)
            try:
                text = json.loads(body)["text"]
            except (ValueError, KeyError, TypeError) as error:
                message = "the transcription endpoint's answer has no field text"
                raise self._endpoints.broken(endpoint, asking, message) from error
        return str(text).strip()

    async def close(self) -> None:
        await self._endpoints.close()
