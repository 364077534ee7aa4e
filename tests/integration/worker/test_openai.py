"""The stages that call OpenAI-compatible endpoints, against a real HTTP server of that shape: bodies, errors, silence,
streams cut anywhere."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
import json
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litevoice_contracts.conversation import Codec, Item
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import OpenAICompatible, PipelineSettings
from litevoice_dev.ports import free_port
from litevoice_worker.commands import FunctionCallPart, Outcome, Prompt, StageContext
from litevoice_worker.plugins import make_pipelines
from litevoice_worker.stages import StageError, pieces_of, with_piece
from litevoice_worker.stages.judge_endpoint import EndpointTurnDetector
from litevoice_worker.stages.respond_openai import OpenAIResponder, messages
from litevoice_worker.stages.synthesize_openai import OpenAISpeechOptions, OpenAISynthesizer
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber, OpenAITranscriptionOptions
from litevoice_worker.testing import Call, run
from tests.stage_context import CONTEXT, context
from tests.waiting import until

Send = Callable[[bytes], Awaitable[None]]


@dataclass
class Endpoint:
    """An HTTP server that records requests and answers what the test says.

    Attributes:
        pieces: parts of the body, written one by one; `hang`: seconds before each part after the first.
        gate: what these wait for.
        cut: the connection is closed in the middle of the body.
    """

    status: int = 200
    pieces: list[bytes] = field(default_factory=list)
    hang: float = 0.0
    silent: bool = False
    content_type: str = "text/plain"
    gate: asyncio.Event | None = None
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
            f"HTTP/1.1 {self.status} X\r\nContent-Type: {self.content_type}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for number, piece in enumerate(self.pieces):
            if number and self.hang:
                await writer.drain()
                await asyncio.sleep(self.hang)
            if number and self.gate is not None:
                await self.gate.wait()
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


async def transcript(transcriber: OpenAITranscriber, of: StageContext = CONTEXT) -> str:
    return "".join([piece async for piece in pieces_of(transcriber.transcribe(SAMPLES, of))])


def options(*endpoints: OpenAICompatible, stream: bool = False) -> OpenAITranscriptionOptions:
    return OpenAITranscriptionOptions(endpoints=list(endpoints), stream=stream)


async def collect(responder: OpenAIResponder, prompt: Prompt = PROMPT) -> list[str | FunctionCallPart | Outcome]:
    return [piece async for piece in responder.respond(prompt, CONTEXT)]


async def test_an_answer_comes_sentence_by_sentence(endpoint: Endpoint, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret\n")
    endpoint.pieces = STREAM
    responder = OpenAIResponder(options(endpoint.settings(api_key_file=str(key))))
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

    async def run() -> list[str | FunctionCallPart | Outcome]:
        pieces = [whole[a:b] for a, b in itertools.pairwise(places)]
        async with Endpoint(pieces=pieces) as endpoint:
            responder = OpenAIResponder(options(endpoint.settings()))
            try:
                return await collect(responder)
            finally:
                await responder.close()

    assert asyncio.run(run()) == ["Größe is 3.5 m.", " And more!", Outcome("completed", "", 11, 7)]


async def test_an_interrupted_answer_is_continued(endpoint: Endpoint) -> None:
    endpoint.pieces = [chunk("and Rome."), chunk(finish="length"), DONE]
    responder = OpenAIResponder(options(endpoint.settings()))
    got = await collect(responder, Prompt("", [Item("1", "user", "capitals?")], said="Paris"))
    assert got == [" and Rome.", Outcome("incomplete", "max_output_tokens")]
    sent = json.loads(endpoint.requests[0][2])["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "system"]
    assert sent[1]["content"] == "Paris"
    await responder.close()


def call_piece(index: int, call_id: str | None, name: str | None, arguments: str) -> bytes:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    piece = {"index": index, "function": function} | ({"id": call_id, "type": "function"} if call_id else {})
    choice = {"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


WEATHER: dict[str, object] = {
    "type": "function",
    "name": "weather",
    "description": "d",
    "parameters": {"type": "object"},
}


async def test_functions_are_offered_and_several_are_called_in_one_answer(endpoint: Endpoint) -> None:
    endpoint.pieces = [
        chunk("One moment."),
        call_piece(0, "call_a", "weather", ""),
        call_piece(0, None, None, '{"city": '),
        call_piece(1, "call_b", "weather", '{"city": "Rome"}'),
        call_piece(0, None, None, '"Paris"}'),
        chunk(finish="tool_calls"),
        USAGE,
        DONE,
    ]
    responder = OpenAIResponder(options(endpoint.settings()))
    items = [Item("1", "user", "the weather?")]
    got = await collect(responder, Prompt("", items, tools=[WEATHER], tool_choice="function/weather"))
    assert got == [
        "One moment.",
        FunctionCallPart(0, "call_a", "weather"),
        FunctionCallPart(0, arguments='{"city": '),
        FunctionCallPart(1, "call_b", "weather", '{"city": "Rome"}'),
        FunctionCallPart(0, arguments='"Paris"}'),
        Outcome("completed", "", 11, 7),
    ]
    body = json.loads(endpoint.requests[0][2])
    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    await responder.close()


def call_item(name: str) -> Item:
    return Item(f"i{name}", "assistant", "{}", kind="function_call", call_id=name, name="f")


def output_item(name: str) -> Item:
    return Item(f"o{name}", "system", f"result {name}", kind="function_call_output", call_id=name)


ASKED = Item("1", "user", "well?")
NOTHING: dict[str, object] = {"role": "user", "content": "(The user has not said anything yet.)"}
CALLS = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in "ab"]
MESSAGES: list[tuple[str, Prompt, list[dict[str, object]]]] = [
    ("nothing", Prompt("", []), [NOTHING]),
    ("instructions alone", Prompt("greet", []), [{"role": "system", "content": "greet"}, NOTHING]),
    (
        "calls and their outputs, which came in another order",
        Prompt("", [ASKED, call_item("a"), call_item("b"), output_item("b"), output_item("a")]),
        [
            {"role": "user", "content": "well?"},
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "a", "content": "result a"},
            {"role": "tool", "tool_call_id": "b", "content": "result b"},
        ],
    ),
    (
        "silence in the end",
        Prompt("", [ASKED, Item("2", "user", "", audio=True)]),
        [{"role": "user", "content": "well?"}, {"role": "user", "content": "(The user says nothing.)"}],
    ),
    ("nothing but silence", Prompt("", [Item("2", "user", "", audio=True)]), [NOTHING]),
    (
        "a call without its output, and an output without its call",
        Prompt("", [output_item("x"), ASKED, call_item("a")]),
        [
            {"role": "user", "content": "well?"},
            {"role": "assistant", "content": None, "tool_calls": CALLS[:1]},
            {"role": "tool", "tool_call_id": "a", "content": "There is no result yet."},
        ],
    ),
]


@pytest.mark.parametrize(("prompt", "want"), [row[1:] for row in MESSAGES], ids=[row[0] for row in MESSAGES])
def test_what_a_model_is_asked_with(prompt: Prompt, want: list[dict[str, object]]) -> None:
    assert messages(prompt) == want


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
        responder = OpenAIResponder(options(endpoint.settings(timeout_seconds=1)))
        with pytest.raises(StageError, match=message):
            await collect(responder)
        await responder.close()


async def test_nobody_listens() -> None:
    responder = OpenAIResponder(options(OpenAICompatible(base_url=f"http://127.0.0.1:{free_port()}/v1", model="m")))
    with pytest.raises(StageError, match="cannot be reached"):
        await collect(responder)
    await responder.close()


CUT = [chunk("Grö"), b"data: {"]
ELSEWHERE = [
    ("nobody listens", None, 2),
    ("failed", {"status": 500}, 2),
    ("overloaded", {"status": 429}, 2),
    ("a wrong key", {"status": 401}, 1),
    ("silent", {"silent": True}, 1),
    ("an error before the first token", {"pieces": [b'data: {"error": {"message": "x"}}\n\n']}, 2),
]


@pytest.mark.parametrize(("case", "how", "tries"), ELSEWHERE, ids=[row[0] for row in ELSEWHERE])
async def test_another_endpoint_answers(case: str, how: dict[str, Any] | None, tries: int, endpoint: Endpoint) -> None:
    endpoint.pieces = STREAM
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    asked = context("resp_1", attempt=2, traceparent=trace)
    async with Endpoint(**(how or {})) as first:
        if how is None:
            first._server.close()
        responder = OpenAIResponder(options(first.settings(timeout_seconds=1), endpoint.settings()))
        assert [piece async for piece in responder.respond(PROMPT, asked)] == [
            "Größe is 3.5 m.", " And more!", Outcome("completed", "", 11, 7),
        ]  # fmt: skip
        await responder.close()
        await alone(first, tries if how else 0)
    names = ("idempotency-key", "litevoice-attempt", "litevoice-try", "traceparent")
    assert [endpoint.requests[0][1][name] for name in names] == ["resp_1", "2", "2", trace]


async def alone(first: Endpoint, tries: int) -> None:
    """What fails in a way that may pass is asked once more, when there is no other."""
    first.requests.clear()
    responder = OpenAIResponder(options(first.settings(timeout_seconds=1)))
    with pytest.raises(StageError):
        await collect(responder)
    assert len(first.requests) == tries
    await responder.close()


async def test_nobody_else_is_asked_for_what_no_endpoint_can_do(endpoint: Endpoint) -> None:
    async with Endpoint(status=400) as first:
        responder = OpenAIResponder(options(first.settings(), endpoint.settings()))
        with pytest.raises(StageError, match="status 400"):
            await collect(responder)
        assert (len(first.requests), len(endpoint.requests)) == (1, 0)
        first.pieces, first.status, first.cut = CUT, 200, True
        with pytest.raises(StageError):
            await collect(responder)
        assert len(endpoint.requests) == 0, "it had begun to answer"
        await responder.close()


async def test_an_endpoint_that_fails_again_and_again_is_left_alone(endpoint: Endpoint) -> None:
    endpoint.pieces = STREAM
    async with Endpoint(status=500) as first:
        responder = OpenAIResponder(options(first.settings(), endpoint.settings()))
        for _ in range(6):
            assert len(await collect(responder)) == 3
        assert (len(first.requests), len(endpoint.requests)) == (3, 6)
        await responder.close()
        responder = OpenAIResponder(options(first.settings()))
        for _ in range(2):
            with pytest.raises(StageError, match="status 500"):
                await collect(responder)
        with pytest.raises(StageError, match="failed too often"):
            await collect(responder)
        await responder.close()


async def test_a_changed_key_is_read_again(endpoint: Endpoint, tmp_path: Path) -> None:
    """As a kubelet changes it: a link is replaced."""
    endpoint.pieces, key = STREAM, tmp_path / "key"
    for name in ("old", "new"):
        (tmp_path / name).write_text(f"sk-{name}\n")
    key.symlink_to("old")
    responder = OpenAIResponder(options(endpoint.settings(api_key_file=str(key))))
    await collect(responder)
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").rename(key)
    await collect(responder)
    key.unlink()
    await collect(responder)
    sent = [headers["authorization"] for _, headers, _ in endpoint.requests]
    assert sent == ["Bearer sk-old", "Bearer sk-new", "Bearer sk-new"]
    await responder.close()


SAMPLES = np.arange(-8000, 8000, dtype=np.int16)


async def test_transcription(endpoint: Endpoint) -> None:
    endpoint.pieces = [b'{"text": " Hello ', b'there. "}']
    transcriber = OpenAITranscriber(options(endpoint.settings()))
    assert await transcript(transcriber, context(language="en")) == "Hello there."
    line, headers, body = endpoint.requests[0]
    assert line == "POST /v1/audio/transcriptions HTTP/1.1"
    assert headers["content-type"].startswith("multipart/form-data")
    assert b'name="language"\r\n\r\nen' in body
    assert b'name="model"\r\n\r\nm' in body
    with wave.open(io.BytesIO(body[body.index(b"RIFF") :])) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16_000, 1, 2)
        assert wav.readframes(wav.getnframes()) == SAMPLES.tobytes()
    await transcriber.close()


async def test_turn_detection(endpoint: Endpoint) -> None:
    endpoint.pieces = [b'{"probability": 0.9', b"3}"]
    detector = EndpointTurnDetector(options(endpoint.settings()))
    assert await detector.finished(np.tile(SAMPLES, 10), context(language="en")) == 0.93
    line, _, body = endpoint.requests[0]
    assert line == "POST /v1/turns/finished HTTP/1.1"
    assert b'name="language"\r\n\r\nen' in body
    with wave.open(io.BytesIO(body[body.index(b"RIFF") :])) as wav:
        assert (wav.getframerate(), wav.getnframes()) == (16_000, 8 * 16_000), "the last 8 s"
    for answer in (b"{}", b'{"probability": "no"}', b'{"probability": 2}', b'{"probability": NaN}', b"[]", b"?"):
        endpoint.pieces = [answer]
        with pytest.raises(StageError, match=r"^the turn detection endpoint's "):
            await detector.finished(SAMPLES, CONTEXT)
    await detector.close()


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
        transcriber = OpenAITranscriber(options(endpoint.settings(timeout_seconds=timeout_seconds)))
        with pytest.raises(StageError, match=message):
            await transcript(transcriber)
        await transcriber.close()
        synthesizer = OpenAISynthesizer(
            OpenAISpeechOptions(endpoints=[endpoint.settings(timeout_seconds=timeout_seconds)])
        )
        with pytest.raises(StageError, match=message):
            await said(synthesizer)
        await synthesizer.close()


async def test_a_transcription_of_another_shape(endpoint: Endpoint) -> None:
    transcriber = OpenAITranscriber(options(endpoint.settings()))
    for body in (b"no JSON", b"[]", b'{"words": 1}'):
        endpoint.pieces = [body]
        with pytest.raises(StageError, match="no field text"):
            await transcript(transcriber)
    await transcriber.close()


async def said(
    synthesizer: OpenAISynthesizer, codec: Codec = "pcm16/24000", voice: str = "default", speed: float = 1.0
) -> bytes:
    return b"".join([piece async for piece in synthesizer.synthesize("Hello.", voice, speed, codec, CONTEXT)])


PCM = (np.sin(np.arange(24_000) / 10) * 9000).astype("<i2").tobytes()


async def test_speech(endpoint: Endpoint) -> None:
    endpoint.pieces = [PCM[:1001], PCM[1001:]]
    synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[endpoint.settings()]))
    assert await said(synthesizer, speed=1.25) == PCM
    whole = await said(synthesizer, "g711_ulaw/8000", voice="echo")
    assert len(whole) == 8000
    endpoint.pieces = [PCM[begin : begin + 999] for begin in range(0, len(PCM), 999)]
    assert await said(synthesizer, "g711_ulaw/8000") == whole, "the same bytes, however they come"
    bodies = [json.loads(body) for _, _, body in endpoint.requests]
    assert bodies[0] == {"model": "m", "input": "Hello.", "voice": "alloy", "response_format": "pcm", "speed": 1.25}
    assert bodies[1]["voice"] == "echo"
    await synthesizer.close()


async def test_voices_that_clients_name_have_other_names_at_the_endpoint(endpoint: Endpoint) -> None:
    endpoint.pieces = [bytes(48)]
    served = endpoint.settings().model_dump(by_alias=True)
    synthesizer = {"use": "openai", "options": {"endpoints": [served], "voice": "own"}}
    mapped = {"name": "mapped", "synthesizer": synthesizer, "voices": {"ash": "af_sky"}}
    whole = [
        mapped,
        {"name": "none", "synthesizer": synthesizer, "voices": {}},
        {"name": "all", "synthesizer": synthesizer},
    ]
    pipelines = await make_pipelines([PipelineSettings.model_validate(one) for one in whole])
    for model in pipelines.named:
        stages = pipelines.of(model)
        for name in ("ash", "coral", "default"):
            speech = stages.synthesizer.synthesize("Hello.", stages.voice(name), 1.0, "pcm16/24000", CONTEXT)
            assert b"".join([piece async for piece in pieces_of(speech)])
    await pipelines.close()
    spoken = [json.loads(body)["voice"] for _, _, body in endpoint.requests]
    assert spoken == ["af_sky", "own", "own", "own", "own", "own", "ash", "coral", "own"]


async def test_a_map_to_a_voice_that_espeak_does_not_have() -> None:
    voices = {"marin": "en+f3", "ash": "alloy"}
    pipeline = PipelineSettings.model_validate({"name": "p", "voices": voices})
    with pytest.raises(InvalidField) as error:
        await make_pipelines([pipeline])
    assert str(error.value) == "pipelines[0].voices.ash: expected a voice of espeak-ng, got 'alloy'"


async def test_cached_tokens(endpoint: Endpoint) -> None:
    usage = b'{"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 8}}'
    said = b'data: {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}\n\n'
    endpoint.pieces = [said, b'data: {"choices": [], "usage": ' + usage + b"}\n\n", b"data: [DONE]\n\n"]
    responder = OpenAIResponder(options(endpoint.settings()))
    got = [piece async for piece in responder.respond(Prompt("", [Item("i", "user", "hello")]), CONTEXT)]
    assert got == ["Hi.", Outcome("completed", "", 11, 7, cached_tokens=8)]
    await responder.close()


async def test_speech_is_given_as_it_comes() -> None:
    async with Endpoint(pieces=[PCM[:9_600], PCM[9_600:]], hang=5.0) as endpoint:
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[endpoint.settings(timeout_seconds=30)]))
        began = asyncio.get_running_loop().time()
        pieces = synthesizer.synthesize("Hello.", "default", 1.0, "pcm16/24000", CONTEXT)
        async with aclosing(cast(AsyncGenerator[bytes], pieces)):
            assert await anext(pieces) == PCM[:9_600]
            assert asyncio.get_running_loop().time() - began < 4, "the endpoint has not ended"
        await synthesizer.close()


async def test_an_endpoint_as_slow_as_speech_is_not_too_slow() -> None:
    async with Endpoint(pieces=[PCM[begin : begin + 9_600] for begin in range(0, len(PCM), 9_600)], hang=0.2) as slow:
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[slow.settings(timeout_seconds=1)]))
        assert await said(synthesizer) == PCM
        await synthesizer.close()


async def test_speech_that_breaks_off_is_asked_for_again_and_goes_on_where_it_was() -> None:
    async with Endpoint(pieces=[PCM[:9_601]], cut=True) as broken, Endpoint(pieces=[PCM[:77], PCM[77:]]) as whole:
        both = OpenAISpeechOptions(endpoints=[broken.settings(), whole.settings()])
        synthesizer = OpenAISynthesizer(both)
        assert await said(synthesizer) == PCM
        assert (len(broken.requests), len(whole.requests)) == (1, 1)
        await synthesizer.close()


async def test_speech_that_breaks_off_twice_fails() -> None:
    async with Endpoint(pieces=[PCM[:9_601]], cut=True) as broken:
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[broken.settings()]))
        with pytest.raises(StageError, match="cannot be reached"):
            await said(synthesizer)
        assert len(broken.requests) == 2
        await synthesizer.close()


async def test_an_error_in_json_is_not_spoken() -> None:
    async with (
        Endpoint(pieces=[b'{"error": "no such voice"}'], content_type="application/json") as wrong,
        Endpoint(pieces=[PCM]) as right,
    ):
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[wrong.settings(), right.settings()]))
        assert await said(synthesizer) == PCM
        await synthesizer.close()
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[wrong.settings()]))
        with pytest.raises(StageError, match="answered with JSON instead of audio"):
            await said(synthesizer)
        await synthesizer.close()


def test_the_caller_hears_a_sentence_before_its_endpoint_has_ended() -> None:
    """Through the worker's shell and session, and on in another worker to the byte; virtual time, real sockets."""

    async def story() -> None:
        async with Endpoint(pieces=[PCM[:14_400], PCM[14_400:]], gate=asyncio.Event()) as endpoint:
            assert endpoint.gate is not None
            options = OpenAISpeechOptions(endpoints=[endpoint.settings(timeout_seconds=600)])
            async with Call(synthesizer=lambda: OpenAISynthesizer(options)) as call:
                call.say("Hello.")
                (sentence,) = await call.sentences(1)
                await until(lambda: call.answers[-1].audio_seconds, "audio has come")
                assert call.answers[-1].audio_seconds == pytest.approx(0.3), "the endpoint has not sent the rest"
                await call.kill_worker()
                endpoint.gate.set()
                answer = await call.answer()
                assert (answer.status, answer.text) == ("completed", sentence)
                assert answer.audio_seconds == pytest.approx(1.0)

    run(story)


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
