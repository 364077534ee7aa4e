"""The stages that call OpenAI-compatible endpoints, against a real HTTP server of that shape: bodies, errors, silence,
streams cut anywhere."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litevoice_contracts.conversation import Item
from litevoice_contracts.settings import OpenAICompatible
from litevoice_dev.ports import free_port
from litevoice_worker.commands import FunctionCallPart, Outcome, Prompt
from litevoice_worker.stages import StageError
from litevoice_worker.stages.judge_endpoint import EndpointTurnDetector
from litevoice_worker.stages.respond_openai import OpenAIResponder, messages
from litevoice_worker.stages.synthesize_openai import OpenAISpeechOptions, OpenAISynthesizer
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber
from tests.integration.worker.model_endpoint import SAMPLES, Endpoint, options, said, transcript
from tests.stage_context import CONTEXT, context


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
        timeout_seconds = 1 if message == "did not answer in time" else 60
        responder = OpenAIResponder(options(endpoint.settings(timeout_seconds=timeout_seconds)))
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
    (tmp_path / "new").write_bytes(b"")
    await collect(responder)
    key.unlink()
    await collect(responder)
    sent = [headers["authorization"] for _, headers, _ in endpoint.requests]
    assert sent == ["Bearer sk-old", "Bearer sk-new", "Bearer sk-new", "Bearer sk-new"]
    await responder.close()


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


async def test_cached_tokens(endpoint: Endpoint) -> None:
    usage = b'{"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 8}}'
    said = b'data: {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}\n\n'
    endpoint.pieces = [said, b'data: {"choices": [], "usage": ' + usage + b"}\n\n", b"data: [DONE]\n\n"]
    responder = OpenAIResponder(options(endpoint.settings()))
    got = [piece async for piece in responder.respond(Prompt("", [Item("i", "user", "hello")]), CONTEXT)]
    assert got == ["Hi.", Outcome("completed", "", 11, 7, cached_tokens=8)]
    await responder.close()
