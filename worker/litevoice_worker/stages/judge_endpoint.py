"""Whether a user who pauses has finished, as an HTTP endpoint judges that a team runs beside its models."""

from __future__ import annotations

import json
from typing import Any

from litevoice_worker.audio import Samples
from litevoice_worker.commands import StageContext
from litevoice_worker.endpointing import SAMPLE_RATE
from litevoice_worker.stages import Plugin
from litevoice_worker.stages.openai_http import NO_JSON, Endpoint, Endpoints, OpenAIOptions
from litevoice_worker.stages.wav import wav

MAX_SECONDS = 8
"""The end of what was said is enough; models of this kind take no more."""


class EndpointTurnDetector(Plugin[OpenAIOptions]):
    """POST turns/finished with the last 8 s as a 16 kHz WAV file; the answer is `{"probability": 0.93}`."""

    Options = OpenAIOptions

    def __init__(self, options: OpenAIOptions) -> None:
        super().__init__(options)
        self._endpoints = Endpoints("turn", "turn detection", options)
        self.calls = self._endpoints.calls

    async def finished(self, samples: Samples, context: StageContext) -> float:
        language = {"language": context.language} if context.language else {}
        files = {"file": ("speech.wav", wav(samples[-MAX_SECONDS * SAMPLE_RATE :]), "audio/wav")}

        def request(endpoint: Endpoint) -> dict[str, Any]:
            return {"data": {"model": endpoint.model} | language, "files": files}

        with self.calls.asking(context) as asking:
            endpoint, body = await self._endpoints.post(asking, "turns/finished", request)
            try:
                probability = float(json.loads(body)["probability"])
            except NO_JSON as error:
                message = "the turn detection endpoint's answer has no number probability"
                raise self._endpoints.broken(endpoint, asking, message) from error
            if not 0 <= probability <= 1:
                message = "the turn detection endpoint's probability is not from 0 to 1"
                raise self._endpoints.broken(endpoint, asking, message)
        return probability

    async def close(self) -> None:
        await self._endpoints.close()
