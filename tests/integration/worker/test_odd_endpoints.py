"""Model endpoints that answer otherwise than OpenAI's do: read all the same where it is clear what is meant, and a
clear error where it is not. Nothing is waited for without end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from litevoice_contracts.conversation import Item
from litevoice_contracts.errors import InvalidField
from litevoice_worker.commands import FunctionCallPart, Outcome, Prompt
from litevoice_worker.stages import StageError
from litevoice_worker.stages.judge_endpoint import EndpointTurnDetector
from litevoice_worker.stages.openai_http import MAX_LINE_BYTES
from litevoice_worker.stages.respond_openai import MAX_TOKENS, OpenAIResponder, messages
from litevoice_worker.stages.synthesize_openai import OpenAISpeechOptions, OpenAISynthesizer
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber
from tests.integration.worker.model_endpoint import SAMPLES, Endpoint, options, said, transcript
from tests.stage_context import CONTEXT

EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"delta": fields}]})


def event(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def escaped(content: str) -> bytes:
    return f'data: {{"choices": [{{"delta": {{"content": "{content}"}}}}]}}\n\n'.encode()


def call(index: int | None, call_id: str | None, name: str | None, arguments: object) -> bytes:
    function = {"name": name, "arguments": arguments}
    piece = {"index": index, "id": call_id, "function": function}
    return delta(tool_calls=[{key: value for key, value in piece.items() if value is not None}])


async def answered(
    pieces: Sequence[bytes] = (), seconds: int = 20, **how: Any
) -> list[str | FunctionCallPart | Outcome]:
    async with Endpoint(pieces=list(pieces), **({"content_type": EVENTS} | how)) as endpoint:
        responder = OpenAIResponder(options(endpoint.settings(timeout_seconds=seconds)))
        try:
            prompt = Prompt("", [Item("1", "user", "well?")])
            return [piece async for piece in responder.respond(prompt, CONTEXT)]
        finally:
            await responder.close()


def part(number: int, call_id: str = "", name: str = "", arguments: str = "") -> FunctionCallPart:
    return FunctionCallPart(number, call_id, name, arguments)


ANSWERS: list[tuple[str, list[bytes], list[str | FunctionCallPart]]] = [
    ("a line separator within a string", [delta(content="One\u2028\x85two.")], ["One\u2028\x85two."]),
    ("lines that end as in HTTP", [delta(content="One.").replace(b"\n", b"\r\n")], ["One."]),
    ("no blank after the colon", [delta(content="One.").replace(b"data: ", b"data:")], ["One."]),
    ("a character in halves", [escaped("\\ud83d"), escaped("\\ude00!")], ["\U0001f600!"]),
    ("half a character", [escaped("\\ude00!")], ["\ufffd!"]),
    (
        "parts, and thoughts",
        [delta(content=[{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "One."}])],
        ["One."],
    ),
    ("no content", [delta(content=None, role="assistant"), delta(content="One.")], ["One."]),
    ("usage null", [event({"choices": [{"delta": {"content": "One."}}], "usage": None})], ["One."]),
    (
        "calls that have one index",
        [call(0, "a", "f", "{}"), call(0, "b", "g", "{}")],
        [part(0, "a", "f", "{}"), part(1, "b", "g", "{}")],
    ),
    (
        "calls without an index",
        [call(None, "a", "f", "{"), call(None, None, None, "}"), call(None, "b", "f", "{}")],
        [part(0, "a", "f", "{"), part(0, "", "", "}"), part(1, "b", "f", "{}")],
    ),
    (
        "calls with neither index nor id",
        [call(None, None, "f", "{}"), call(None, None, "f", "{}")],
        [part(0, "", "f", "{}"), part(1, "", "f", "{}")],
    ),
    (
        "another id in each part",
        [call(0, "a", "f", "{"), call(0, "b", None, "}")],
        [part(0, "a", "f", "{"), part(0, "b", "", "}")],
    ),
    (
        "a name in each part",
        [call(0, "a", "f", "{"), call(0, None, "f", "}")],
        [part(0, "a", "f", "{"), part(0, "", "f", "}")],
    ),
    ("arguments as an object", [call(0, "a", "f", {"city": "Rome"})], [part(0, "a", "f", '{"city": "Rome"}')]),
]


@pytest.mark.parametrize(("pieces", "want"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
async def test_an_answer_that_is_understood(pieces: list[bytes], want: list[str | FunctionCallPart]) -> None:
    assert await answered([*pieces, DONE]) == [*want, Outcome()]


async def test_an_answer_that_is_cut_at_every_byte() -> None:
    content = b"".join([delta(content="Größe: 3 €."), call(0, "a", "f", "{}"), DONE])
    assert await answered([content[at : at + 1] for at in range(len(content))]) == [
        "Größe: 3 €.",
        part(0, "a", "f", "{}"),
        Outcome(),
    ]


@pytest.mark.parametrize(
    ("told", "counted"),
    [("-5", 0), ("1e999", MAX_TOKENS), ("1e30", MAX_TOKENS), ("3.0", 3), ('"many"', 0), ("null", 0)],
)
async def test_tokens_that_nobody_can_have_used(told: str, counted: int) -> None:
    usage = f'data: {{"choices": [], "usage": {{"prompt_tokens": {told}}}}}\n\n'.encode()
    assert await answered([delta(content="One."), usage, DONE]) == ["One.", Outcome(input_tokens=counted)]


THOUGHT = delta(reasoning_content="Hm.")
PING = b": still at it\n\n"
FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("a page", {"pieces": [b"<html>\n<p>Sign in</p>"], "content_type": "text/html"}, "text/html instead of a stream"),
    (
        "a whole answer",
        {"pieces": [b'{"choices": []}'], "content_type": "application/json; charset=utf-8"},
        "application/json instead of a stream",
    ),
    ("nothing", {"pieces": []}, "ended early"),
    ("nothing but its end", {"pieces": [DONE]}, "ended early"),
    ("an error of another shape", {"pieces": [event({"object": "error", "message": "x"}), DONE]}, "reported an error"),
    ("a line without end", {"pieces": [b"data: " + b"x" * 500_000] * 4}, f"a line of more than {MAX_LINE_BYTES} bytes"),
    ("pings without end", {"pieces": [PING] * 60, "hang": 0.1, "seconds": 1}, "did not answer in time"),
    (
        "pings without end in its middle",
        {"pieces": [delta(content="One."), *[PING] * 60], "hang": 0.1, "seconds": 1},
        "did not answer in time",
    ),
    ("thoughts without end", {"pieces": [THOUGHT] * 200, "hang": 0.1, "seconds": 1}, "did not answer in time"),
    ("content that is none", {"pieces": [delta(content=7)]}, "not a chat completion chunk"),
    ("parts that are none", {"pieces": [delta(content=["One."])]}, "not a chat completion chunk"),
    ("too deep", {"pieces": [b"data: " + b"[" * 200_000 + b"\n\n"]}, "not a chat completion chunk"),
    ("a redirect", {"status": 307}, "answered with status 307"),
    ("nothing to say", {"status": 204}, "answered with status 204"),
]


@pytest.mark.parametrize(("how", "message"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
async def test_an_answer_that_is_none(how: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError, match=message):
        await answered(**how)


@pytest.mark.parametrize("arguments", ["", "no JSON", "[]", '{"city": "Par', "[" * 100_000], ids=range(5))
def test_a_call_whose_arguments_endpoints_would_refuse(arguments: str) -> None:
    made = Item("i", "assistant", arguments, kind="function_call", call_id="c", name="f")
    (asked, _) = messages(Prompt("", [made]))
    assert asked["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("what", ["chat", "speech", "transcription", "streamed transcription"])
async def test_headers_that_trickle_are_not_waited_for_without_end(what: str) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(300):
                writer.write(f"X-{number}: x\r\n".encode())
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    settings = Endpoint(port=server.sockets[0].getsockname()[1]).settings(timeout_seconds=1)
    began = time.monotonic()
    with pytest.raises(StageError, match="did not answer in time"):
        if what == "chat":
            responder = OpenAIResponder(options(settings))
            async for _ in responder.respond(Prompt("", []), CONTEXT):
                pass
        elif what == "speech":
            await said(OpenAISynthesizer(OpenAISpeechOptions(endpoints=[settings])))
        else:
            await transcript(OpenAITranscriber(options(settings, stream=what.startswith("streamed"))))
    assert time.monotonic() - began < 10
    server.close()


@pytest.mark.parametrize("key", [b"", b"\n", b"one\ntwo", "schlüssel".encode(), b"\xff\xfe", b"\0"], ids=range(6))
def test_a_key_that_no_request_can_have_is_refused_at_the_start(key: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(key)
    with pytest.raises(InvalidField, match=r"endpoints.0.apiKeyFile: expected one line of printable ASCII"):
        OpenAIResponder(options(Endpoint(port=1).settings(api_key_file=str(file))))


@pytest.mark.parametrize("kind", ["text/html", "application/json", "Text/HTML; charset=utf-8"])
async def test_a_page_is_not_spoken(kind: str, endpoint: Endpoint) -> None:
    endpoint.pieces, endpoint.content_type = [b"<html>" * 100], kind
    synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[endpoint.settings()]))
    with pytest.raises(StageError, match=f"answered with {kind.partition(';')[0].lower()} instead of audio"):
        await said(synthesizer)
    await synthesizer.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["null", "7", '["a"]', "{}"])
async def test_a_transcript_that_is_no_text(text: str, stream: bool, endpoint: Endpoint) -> None:
    endpoint.pieces = [f'{{"text": {text}}}'.encode()]
    transcriber = OpenAITranscriber(options(endpoint.settings(), stream=stream))
    with pytest.raises(StageError, match="no field text"):
        await transcript(transcriber)
    await transcriber.close()


async def test_characters_of_a_streamed_transcript(endpoint: Endpoint) -> None:
    endpoint.content_type = EVENTS
    said_first = {"type": "transcript.text.delta", "delta": "One\u2028"}
    endpoint.pieces = [event(said_first), b'data: {"type": "transcript.text.delta", "delta": "\\ud83d two"}\n\n']
    endpoint.pieces.append(event({"type": "transcript.text.done", "text": ""}))
    transcriber = OpenAITranscriber(options(endpoint.settings(), stream=True))
    assert await transcript(transcriber) == "One\u2028\ufffd two"
    endpoint.pieces = [event({"type": "transcript.text.delta", "delta": {"text": "One"}})]
    with pytest.raises(StageError, match="not a transcription event"):
        await transcript(transcriber)
    await transcriber.close()


async def test_a_probability_beyond_all_numbers(endpoint: Endpoint) -> None:
    detector = EndpointTurnDetector(options(endpoint.settings()))
    for answer in (b'{"probability": 1' + b"0" * 400 + b"}", b"[" * 100_000):
        endpoint.pieces = [answer]
        with pytest.raises(StageError, match="no number probability"):
            await detector.finished(SAMPLES, CONTEXT)
    await detector.close()
