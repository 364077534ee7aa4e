"""Speech to text through any endpoint that speaks OpenAI's transcription API."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any

from litevoice_worker.audio import Samples
from litevoice_worker.commands import StageContext
from litevoice_worker.stages import Plugin, Transcript
from litevoice_worker.stages.model_calls import Target
from litevoice_worker.stages.openai_http import (
    MAX_BODY_BYTES,
    NO_JSON,
    Endpoint,
    EndpointError,
    Endpoints,
    OpenAIOptions,
    Patience,
    answer,
    data_of,
    whole_characters,
)
from litevoice_worker.stages.wav import wav

logger = logging.getLogger(__name__)

MAX_CHARACTERS = 65_536
"""Of one transcript, when it is streamed."""
_NO_TEXT = "the transcription endpoint's answer has no field text"


class OpenAITranscriptionOptions(OpenAIOptions):
    """Options of `audio/transcriptions`."""

    stream: bool = False
    """Ask for the transcript as it is recognized; clients get it so."""


class OpenAITranscriber(Plugin[OpenAITranscriptionOptions]):
    """POST audio/transcriptions with a 16 kHz WAV file. Streamed, timeoutSeconds bounds the wait for each next piece;
    until the first piece of the transcript another endpoint can be asked."""

    Options = OpenAITranscriptionOptions

    def __init__(self, options: OpenAITranscriptionOptions) -> None:
        super().__init__(options)
        self._endpoints = Endpoints("asr", "transcription", options)
        self.calls = self._endpoints.calls
        self._whole: set[Target] = set()  # those that were told of, because they do not stream

    def transcribe(self, samples: Samples, context: StageContext) -> Awaitable[str] | AsyncIterator[str]:
        form = {"response_format": "json"} | ({"language": context.language} if context.language else {})
        files = {"file": ("speech.wav", wav(samples), "audio/wav")}
        if self.options.stream:
            return self._streamed({"data": form | {"stream": "true"}, "files": files}, context)
        return self._asked({"data": form, "files": files}, context)

    async def _asked(self, form: dict[str, Any], context: StageContext) -> str:
        with self.calls.asking(context) as asking:
            endpoint, body = await self._endpoints.post(asking, "audio/transcriptions", lambda of: _filled(form, of))
            try:
                return _text(body)
            except ValueError as error:
                raise self._endpoints.broken(endpoint, asking, _NO_TEXT) from error

    async def _streamed(self, form: dict[str, Any], context: StageContext) -> AsyncIterator[str]:
        async def begin(endpoint: Endpoint, headers: dict[str, str]) -> tuple[AsyncGenerator[str], str]:
            pieces = self._pieces(endpoint, headers, form)
            return pieces, await anext(pieces, "")

        with self.calls.asking(context) as asking:
            endpoint, (pieces, piece) = await self._endpoints.ask(asking, begin)
            async with aclosing(pieces):
                while piece:
                    yield piece
                    try:
                        piece = await anext(pieces, "")
                    except EndpointError as error:
                        self._endpoints.failed(endpoint, asking, error)
                        raise

    async def _pieces(self, endpoint: Endpoint, headers: dict[str, str], form: dict[str, Any]) -> AsyncGenerator[str]:
        """Of the transcript, none of them empty."""
        async with answer(
            endpoint, "audio/transcriptions", headers, _filled(form, endpoint), "transcription"
        ) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                if text := await self._whole_answer(endpoint, response.aiter_bytes()):
                    yield text
                return
            heard, patience = "", Patience(endpoint.timeout_seconds)
            async with aclosing(data_of(response, "transcription", patience)) as events:
                async for data in events:
                    kind, text = _event(data)
                    if len(text) > MAX_CHARACTERS - (0 if kind == "transcript.text.done" else len(heard)):
                        message = f"the transcription endpoint sent more than {MAX_CHARACTERS} characters"
                        raise EndpointError(message, "broken", elsewhere=False)
                    if kind == "transcript.text.delta" and text:
                        patience.renew(piece=True)
                        heard += text
                        yield text
                    elif kind == "transcript.text.done":
                        if rest := _rest(heard, text):
                            yield rest
                        return
        raise EndpointError("the transcription endpoint's stream ended early", "broken", again=True)

    async def _whole_answer(self, endpoint: Endpoint, body: AsyncIterator[bytes]) -> str:
        """Of one that was asked to stream and does not."""
        if endpoint.target not in self._whole:
            self._whole.add(endpoint.target)
            about = {"endpoint": str(endpoint.target), "option": "stream"}
            logger.warning("a transcription endpoint does not stream: its transcripts come as a whole", extra=about)
        content = bytearray()
        try:
            async with asyncio.timeout(endpoint.timeout_seconds):
                async for piece in body:
                    content += piece
                    if len(content) > MAX_BODY_BYTES:
                        raise ValueError("too long")
            return _text(bytes(content))
        except TimeoutError as error:
            raise EndpointError("the transcription endpoint did not answer in time", "timeout") from error
        except ValueError as error:
            raise EndpointError(f"{_NO_TEXT}, and is no stream of events", "broken", elsewhere=False) from error

    async def close(self) -> None:
        await self._endpoints.close()


def _filled(form: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    return form | {"data": {"model": endpoint.model} | form["data"]}


def _rest(heard: str, whole: str) -> str:
    """What is still to be given of a transcript when its pieces have come, "" for nothing. Some endpoints say the end
    without the white space around it, some without its text; what others have corrected counts."""
    if not whole.strip() or whole.strip() == heard.strip():
        return ""
    return whole[len(heard) :] if whole.startswith(heard) else Transcript(whole)


def _text(body: bytes) -> str:
    """Raises ValueError."""
    try:
        return _string(json.loads(body)["text"]).strip()
    except NO_JSON as error:
        raise ValueError("no field text") from error


def _string(text: object) -> str:
    """Raises TypeError."""
    if not isinstance(text, str):
        raise TypeError("text")
    return whole_characters(text)


def _event(data: str) -> tuple[str, str]:
    """Kind and text of an event; "" for what is no such event. Raises EndpointError."""
    if data == "[DONE]":
        return "", ""
    try:
        event: dict[str, Any] = json.loads(data)
        kind = str(event.get("type") or "")
        if kind == "error" or event.get("error"):
            message = "the transcription endpoint reported an error in its stream"
            raise EndpointError(message, "broken", again=True)
        return kind, _string((event.get("delta") if kind == "transcript.text.delta" else event.get("text")) or "")
    except NO_JSON as error:
        message = "the transcription endpoint sent an event that is not a transcription event"
        raise EndpointError(message, "broken") from error
