"""The stages that call OpenAI-compatible endpoints, against a real HTTP server of that shape: bodies, errors, silence,
streams cut anywhere."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litevoice_contracts.conversation import Item
from litevoice_contracts.settings import OpenAICompatible
from litevoice_dev.ports import free_port
from litevoice_worker.commands import Outcome, Prompt
from litevoice_worker.stages import StageError
from litevoice_worker.stages.respond_openai import OpenAIResponder
from litevoice_worker.stages.synthesize_openai import OpenAISynthesizer
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber

Send = Callable[[bytes], Awaitable[None]]


@dataclass
class Endpoint:
    """An HTTP server that records requests and answers what the test says.

    Attributes:
        pieces: parts of the body, written one by one; `hang`: seconds before each part after the first.
        cut: the connection is closed in the middle of the body.
    """

    status: int = 200
    pieces: list[bytes] = field(default_factory=list)
    hang: float = 0.0
    silent: bool = False
    cut: bool = False
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    async def __aenter__(self) -> Endpoint:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def settings(self, **more: Any) -> OpenAICompatible:
        return OpenAICompatible(base_url=f"http://127.0.0.1:{self.port}/v1", model="m", **more)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
                body = await self._body(reader, headers)
                self.requests.append((head[0], headers, body))
                if self.silent:
                    await asyncio.sleep(60)
                await self._answer(writer)
                if self.cut:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            return body
        return await reader.readexactly(int(headers.get("content-length", "0")))

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"HTTP/1.1 {self.status} X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for number, piece in enumerate(self.pieces):
            if number and self.hang:
                await writer.drain()
                await asyncio.sleep(self.hang)
            if piece:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
        if not self.cut:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with Endpoint() as made:
        yield made


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = [
    b": a comment\n\n",
    chunk(""),
    chunk("Größe"),
    chunk(" is 3.5 m. And"),
    chunk(" more!"),
    chunk(finish="stop"),
    USAGE,
    DONE,
]
PROMPT = Prompt("be brief", [Item("1", "user", "how tall"), Item("2", "assistant", ""), Item("3", "user", "well?")])


async def collect(responder: OpenAIResponder, prompt: Prompt = PROMPT) -> list[str | Outcome]:
    return [piece async for piece in responder.respond(prompt)]


async def test_an_answer_comes_sentence_by_sentence(endpoint: Endpoint, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret\n")
    endpoint.pieces = STREAM
    responder = OpenAIResponder(endpoint.settings(api_key_file=str(key)))
    got = await collect(responder, Prompt(PROMPT.instructions, PROMPT.items, max_output_tokens=50))
    assert got == ["Größe is 3.5 m.", " And more!", Outcome("completed", "", 11, 7)]
    line, headers, body = endpoint.requests[0]
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == "Bearer sk-secret"
    assert json.loads(body) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "how tall"},
            {"role": "user", "content": "well?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
    }
    await responder.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(b"".join(STREAM))), max_size=12))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    whole = b"".join(STREAM)
    places = sorted({0, *cuts, len(whole)})

    async def run() -> list[str | Outcome]:
        pieces = [whole[a:b] for a, b in itertools.pairwise(places)]
        async with Endpoint(pieces=pieces) as endpoint:
            responder = OpenAIResponder(endpoint.settings())
            try:
                return await collect(responder)
            finally:
                await responder.close()

    assert asyncio.run(run()) == ["Größe is 3.5 m.", " And more!", Outcome("completed", "", 11, 7)]


async def test_an_interrupted_answer_is_continued(endpoint: Endpoint) -> None:
    endpoint.pieces = [chunk("and Rome."), chunk(finish="length"), DONE]
    responder = OpenAIResponder(endpoint.settings())
    got = await collect(responder, Prompt("", [Item("1", "user", "capitals?")], said="Paris"))
    assert got == [" and Rome.", Outcome("incomplete", "max_output_tokens")]
    sent = json.loads(endpoint.requests[0][2])["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "system"]
    assert sent[1]["content"] == "Paris"
    await responder.close()


CHAT_FAILURES = [
    ("refused", {"status": 401}, "answered with status 401"),
    ("overloaded", {"status": 503, "pieces": [b"busy"]}, "answered with status 503"),
    ("no JSON", {"pieces": [b"data: {oops\n\n"]}, "not a chat completion chunk"),
    ("JSON of another kind", {"pieces": [b"data: [1]\n\n"]}, "not a chat completion chunk"),
    ("an error in the stream", {"pieces": [chunk("a"), b'data: {"error": {"message": "x"}}\n\n']}, "reported an error"),
    ("no end", {"pieces": [chunk("Hello. You")]}, "ended early"),
    ("cut", {"pieces": [chunk("Hello. You")], "cut": True}, "cannot be reached"),
    ("silent from the start", {"silent": True}, "did not answer in time"),
    ("silent in the middle", {"pieces": [chunk("Hello."), DONE], "hang": 30.0}, "did not answer in time"),
]


@pytest.mark.parametrize(("case", "how", "message"), CHAT_FAILURES, ids=[row[0] for row in CHAT_FAILURES])
async def test_failures_of_a_chat_endpoint(case: str, how: dict[str, Any], message: str) -> None:
    async with Endpoint(**how) as endpoint:
        responder = OpenAIResponder(endpoint.settings(timeout_seconds=1))
        with pytest.raises(StageError, match=message):
            await collect(responder)
        await responder.close()


async def test_nobody_listens() -> None:
    responder = OpenAIResponder(OpenAICompatible(base_url=f"http://127.0.0.1:{free_port()}/v1", model="m"))
    with pytest.raises(StageError, match="cannot be reached"):
        await collect(responder)
    await responder.close()


SAMPLES = np.arange(-8000, 8000, dtype=np.int16)


async def test_transcription(endpoint: Endpoint) -> None:
    endpoint.pieces = [b'{"text": " Hello ', b'there. "}']
    transcriber = OpenAITranscriber(endpoint.settings())
    assert await transcriber.transcribe(SAMPLES, "en") == "Hello there."
    line, headers, body = endpoint.requests[0]
    assert line == "POST /v1/audio/transcriptions HTTP/1.1"
    assert headers["content-type"].startswith("multipart/form-data")
    assert b'name="language"\r\n\r\nen' in body
    assert b'name="model"\r\n\r\nm' in body
    with wave.open(io.BytesIO(body[body.index(b"RIFF") :])) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16_000, 1, 2)
        assert wav.readframes(wav.getnframes()) == SAMPLES.tobytes()
    await transcriber.close()


OTHER_FAILURES = [
    ("refused", {"status": 429}, "answered with status 429"),
    ("silent", {"silent": True}, "did not answer in time"),
    ("for ever a little more", {"pieces": [b" "] * 100, "hang": 0.2}, "did not answer in time"),
    ("cut", {"pieces": [b'{"te'], "cut": True}, "cannot be reached"),
    ("without end", {"pieces": [b" " * 1_000_000] * 40}, "answered with more than"),
]


@pytest.mark.parametrize(("case", "how", "message"), OTHER_FAILURES, ids=[row[0] for row in OTHER_FAILURES])
async def test_failures_of_the_others(case: str, how: dict[str, Any], message: str) -> None:
    async with Endpoint(**how) as endpoint:
        timeout_seconds = 1 if message == "did not answer in time" else 60
        transcriber = OpenAITranscriber(endpoint.settings(timeout_seconds=timeout_seconds))
        with pytest.raises(StageError, match=message):
            await transcriber.transcribe(SAMPLES, "")
        await transcriber.close()
        synthesizer = OpenAISynthesizer(endpoint.settings(timeout_seconds=timeout_seconds), "alloy")
        with pytest.raises(StageError, match=message):
            await synthesizer.synthesize("Hello.", "default", 1.0, "pcm16/24000")
        await synthesizer.close()


async def test_a_transcription_of_another_shape(endpoint: Endpoint) -> None:
    transcriber = OpenAITranscriber(endpoint.settings())
    for body in (b"no JSON", b"[]", b'{"words": 1}'):
        endpoint.pieces = [body]
        with pytest.raises(StageError, match="no field text"):
            await transcriber.transcribe(SAMPLES, "")
    await transcriber.close()


async def test_speech(endpoint: Endpoint) -> None:
    pcm = (np.sin(np.arange(24_000) / 10) * 9000).astype("<i2").tobytes()
    endpoint.pieces = [pcm[:1001], pcm[1001:]]
    synthesizer = OpenAISynthesizer(endpoint.settings(), "alloy")
    assert await synthesizer.synthesize("Hello.", "default", 1.25, "pcm16/24000") == pcm
    assert len(await synthesizer.synthesize("Hello.", "echo", 1.0, "g711_ulaw/8000")) == 8000
    bodies = [json.loads(body) for _, _, body in endpoint.requests]
    assert bodies[0] == {"model": "m", "input": "Hello.", "voice": "alloy", "response_format": "pcm", "speed": 1.25}
    assert bodies[1]["voice"] == "echo"
    await synthesizer.close()
