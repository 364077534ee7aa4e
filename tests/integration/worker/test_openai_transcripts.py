"""Transcripts that OpenAI-compatible endpoints stream."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from litevoice_worker.stages import StageError, with_piece
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber
from tests.integration.worker.model_endpoint import SAMPLES, Endpoint, options
from tests.stage_context import context


def transcript_event(**event: str) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


HEARD = [transcript_event(type="transcript.text.delta", delta=text) for text in ("Hello", " there", ".")]
DONE = transcript_event(type="transcript.text.done", text="Hello there.")
DONE_LONG = {"type": "transcript.text.done", "text": "x" * 70_000}
SSE = "text/event-stream; charset=utf-8"


async def words(transcriber: OpenAITranscriber) -> list[str]:
    pieces = transcriber.transcribe(SAMPLES, context(language="en"))
    assert isinstance(pieces, AsyncIterator)
    return [piece async for piece in pieces]


async def test_a_transcript_that_is_streamed() -> None:
    async with Endpoint(pieces=[*HEARD, DONE], content_type=SSE, gate=asyncio.Event()) as endpoint:
        assert endpoint.gate is not None
        transcriber = OpenAITranscriber(options(endpoint.settings(), stream=True))
        pieces = transcriber.transcribe(SAMPLES, context(language="en"))
        assert isinstance(pieces, AsyncGenerator)
        async with aclosing(pieces):
            assert await anext(pieces) == "Hello", "the endpoint has not said the rest"
            endpoint.gate.set()
            assert [piece async for piece in pieces] == [" there", "."]
        ((line, _, body),) = endpoint.requests
        assert line.startswith("POST /v1/audio/transcriptions")
        for field_ in (b'name="stream"\r\n\r\ntrue', b'name="language"\r\n\r\nen', b'name="model"\r\n\r\nm'):
            assert field_ in body
        endpoint.pieces = [HEARD[0], DONE]
        assert await words(transcriber) == ["Hello", " there."], "what came with the end only"
        await transcriber.close()


@pytest.mark.parametrize(
    ("deltas", "done", "want"),
    [
        ([" Hello", " there. "], "Hello there.", " Hello there. "),
        ([" Hello"], "Hello there.", "Hello there."),
        (["hello ", "there"], "Hello, there!", "Hello, there!"),
        (["Hello there, you"], "Hello there.", "Hello there."),
        (["Hello"], "", "Hello"),
        ([], "", ""),
    ],
)
async def test_the_end_of_a_streamed_transcript_says_what_counts(deltas: list[str], done: str, want: str) -> None:
    pieces = [transcript_event(type="transcript.text.delta", delta=text) for text in deltas]
    pieces += [transcript_event(type="transcript.text.done", text=done), *pieces]
    async with Endpoint(pieces=pieces, content_type=SSE) as endpoint:
        transcriber = OpenAITranscriber(options(endpoint.settings(), stream=True))
        assert functools.reduce(with_piece, await words(transcriber), "") == want
        await transcriber.close()


@pytest.mark.parametrize(
    ("event", "message"),
    [(b": still there\n\n", "did not answer in time"), (transcript_event(type="of.no.use"), "did not answer in time")],
)
async def test_what_is_no_transcript_is_not_waited_for(event: bytes, message: str) -> None:
    async with Endpoint(pieces=[HEARD[0], *[event] * 100], content_type=SSE, hang=0.2) as endpoint:
        transcriber = OpenAITranscriber(options(endpoint.settings(timeout_seconds=1), stream=True))
        with pytest.raises(StageError, match=message):
            await words(transcriber)
        await transcriber.close()


async def test_a_streamed_transcript_has_a_bound() -> None:
    for event in ({"type": "transcript.text.delta", "delta": "x" * 70_000}, DONE_LONG):
        async with Endpoint(pieces=[transcript_event(**event)], content_type=SSE) as endpoint:
            transcriber = OpenAITranscriber(options(endpoint.settings(), stream=True))
            with pytest.raises(StageError, match="more than 65536 characters"):
                await words(transcriber)
            await transcriber.close()


async def test_an_endpoint_that_does_not_stream_gives_the_whole_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with Endpoint(pieces=[b'{"text": " Hello there."}'], content_type="application/json") as endpoint:
        transcriber = OpenAITranscriber(options(endpoint.settings(), stream=True))
        assert await words(transcriber) == ["Hello there."]
        assert await words(transcriber) == ["Hello there."]
        named = [vars(record) for record in caplog.records if "does not stream" in record.message]
        assert [record["endpoint"] for record in named] == [f"127.0.0.1:{endpoint.port}/v1 (m)"], "once"
        endpoint.pieces = [b"Hello"]
        with pytest.raises(StageError, match="no field text, and is no stream of events"):
            await words(transcriber)
        await transcriber.close()


WRONG_STREAMS = {
    "ended early": [HEARD[0]],
    "reported an error": [HEARD[0], transcript_event(type="error", message="no")],
    "not a transcription event": [b"data: {\n\n"],
}


@pytest.mark.parametrize("message", WRONG_STREAMS)
async def test_a_transcript_that_breaks_off_fails(message: str) -> None:
    async with Endpoint(pieces=WRONG_STREAMS[message], content_type=SSE) as endpoint:
        transcriber = OpenAITranscriber(options(endpoint.settings(), stream=True))
        with pytest.raises(StageError, match=message):
            await words(transcriber)
        await transcriber.close()


async def test_the_next_endpoint_streams_when_the_first_one_is_not_there() -> None:
    async with Endpoint(status=503) as first, Endpoint(pieces=[*HEARD, DONE], content_type=SSE) as second:
        transcriber = OpenAITranscriber(options(first.settings(), second.settings(), stream=True))
        assert await words(transcriber) == ["Hello", " there", "."]
        await transcriber.close()
