"""What teams test their own stages with: virtual time, calls, and workers that die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from litevoice_contracts.conversation import SessionConfig, TurnDetection
from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import Samples
from litevoice_worker.commands import FunctionCall, FunctionCallPart, Outcome, Prompt, StageContext
from litevoice_worker.sentences import unsaid
from litevoice_worker.stages import NoOptions, Plugin, StageError, Transcript
from litevoice_worker.testing import Call
from litevoice_worker.virtual_time import run
from tests.unit.worker.world import tone

STORY = "Once there was a boat. It went out to sea. It met a whale. It came home."


class Teller(Plugin[NoOptions]):
    """Thinks for an hour before each sentence. `log`: of all of them."""

    def __init__(self, log: list[object]) -> None:
        super().__init__(NoOptions())
        self.log = log

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str]:
        self.log.append((context.attempt, context.idempotency_key, context.said))
        try:
            for sentence in unsaid(STORY, prompt.said):
                await asyncio.sleep(3600)
                yield sentence
            self.log.append("told")
        finally:
            self.log.append("cleaned up")

    async def close(self) -> None:
        self.log.append("closed")


def test_hours_take_milliseconds_and_threads_their_time() -> None:
    async def story() -> tuple[float, float]:
        loop, began = asyncio.get_running_loop(), time.monotonic()
        sleeping = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.to_thread(time.sleep, 0.2)
        assert loop.time() == 0.0, "the clock stands still while a thread works"
        await sleeping
        return loop.time(), time.monotonic() - began

    virtual, real = run(story)
    assert virtual == 3600.0
    assert 0.2 <= real < 30.0


def test_sockets_take_real_time() -> None:
    async def story() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        async with asyncio.timeout(1.0):
            got = await reader.read()
        writer.close()
        server.close()
        return got

    assert run(story) == b"hello\n"


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("text_only", [False, True])
def test_a_killed_worker_runs_no_further(after: int, text_only: bool) -> None:
    log = list[object]()

    async def story() -> None:
        async with Call(lambda: Teller(log), config=SessionConfig(text_only=text_only)) as call:
            call.say("a story")
            await asyncio.sleep(1) if after == 0 else await call.sentences(after)
            said = "".join(call.answers[0].sentences) if after else ""
            died, done = len(log), "told" in log
            await call.kill_worker()
            answer = await call.answer()
            assert (answer.status, answer.text, answer.question) == ("completed", STORY, "a story")
            assert [item.text for item in call.conversation] == ["a story", STORY]
            if done:
                return  # all was said before
            key = call.answers[0].response_id
            assert log[0] == (0, key, "")
            assert log[died] == (1, key, said)
            assert log[died + 1 :].count("cleaned up") == 1, "of the second, not of the dead one"

    run(story)
    assert log.count("closed") == 1


def test_a_worker_that_leaves_in_good_order_cleans_up() -> None:
    log = list[object]()

    async def story() -> None:
        async with Call(lambda: Teller(log)) as call:
            call.say("a story")
            await call.sentences(2)
            await call.leave_worker()
            assert log[1:3] == ["cleaned up", "closed"]
            assert (await call.answer()).text == STORY

    run(story)


class Ears(Plugin[NoOptions]):
    async def transcribe(self, samples: Samples, context: StageContext) -> str:
        await asyncio.sleep(1)
        return f"{len(samples) / 16_000:.0f} s in {context.language}"


def test_speech_is_heard_transcribed_and_answered() -> None:
    async def story() -> None:
        config = SessionConfig(transcription_language="de")
        async with Call(transcriber=lambda: Ears(NoOptions()), config=config) as call:
            await call.speak(bytes(24_000) + tone(1, 2.0))
            await call.kill_worker()
            answer = await call.answer()
            assert call.transcripts == [answer.text] == ["3 s in de"]
            assert answer.audio_seconds == pytest.approx(len(answer.text) * 0.06)

    run(story)


class EarsThatCorrect(Plugin[NoOptions]):
    async def transcribe(self, samples: Samples, context: StageContext) -> AsyncIterator[str]:
        yield "hello "
        await asyncio.sleep(1)
        yield "wor"
        yield Transcript("Hello, world!")


def test_the_end_of_a_transcript_takes_the_place_of_its_pieces() -> None:
    async def story() -> None:
        async with Call(transcriber=lambda: EarsThatCorrect(NoOptions())) as call:
            await call.speak(bytes(24_000) + tone(1, 2.0))
            await call.answer()
            assert call.transcripts == ["Hello, world!"]

    run(story)


class Caller(Plugin[NoOptions]):
    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | FunctionCall | Outcome]:
        if prompt.items[-1].text == "fail":
            raise StageError("no such thing")
        yield FunctionCall("c1", str(prompt.tools[0]["name"]), "{}")
        yield Outcome("completed", "", 1, 2)


def test_functions_and_failures() -> None:
    async def story() -> None:
        async with Call(lambda: Caller(NoOptions())) as call:
            call.say("look it up", tools=[{"type": "function", "name": "look_up"}])
            assert [(item.name, item.call_id) for item in (await call.answer()).calls] == [("look_up", "c1")]
            call.say("fail")
            failed = await call.answer(1)
            assert (failed.status, failed.reason) == ("failed", "no such thing")
            call.say("a", tools=[])
            assert (await call.answer(2)).reason == "internal error"

    run(story)


def test_what_a_stage_raises_is_shown_whole(caplog: pytest.LogCaptureFixture) -> None:
    """Where it failed and why, with its text: the log of a real worker has no text."""

    async def story() -> None:
        async with Call(lambda: Caller(NoOptions())) as call:
            call.say("a", tools=[])
            await call.answer()
            call.say("fail")
            await call.answer(1)

    run(story)
    assert "IndexError: list index out of range" in caplog.text
    assert f'File "{__file__}"' in caplog.text
    assert caplog.text.count("Traceback") == 1, "a StageError is an answer, not a fault"


def test_an_answer_that_never_comes_fails_the_test_at_once() -> None:
    class Silent(Plugin[NoOptions]):
        async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str]:
            await asyncio.Event().wait()
            yield ""

    async def story() -> None:
        async with Call(lambda: Silent(NoOptions())) as call:
            call.say("hello")
            await call.answer()

    with pytest.raises(TimeoutError):
        run(story)


def test_a_stage_that_does_not_start() -> None:
    class Wrong(Teller):
        async def start(self) -> None:
            raise InvalidField("database", "a file")

    async def story() -> None:
        async with Call(lambda: Wrong([])):
            raise AssertionError

    with pytest.raises(InvalidField, match="database"):
        run(story)


class Writer(Plugin[NoOptions]):
    """Writes a call slowly, and while the client reads along says something."""

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | FunctionCallPart]:
        yield FunctionCallPart(0, "c", "book")
        for piece in ('{"table"', ": 4", "}"):
            yield FunctionCallPart(0, arguments=piece)
            await asyncio.sleep(5)
        for sentence in unsaid("It is being booked.", prompt.said):
            yield sentence


@pytest.mark.parametrize("seconds", [1, 6, 12, 17])
def test_a_call_that_is_written_when_the_worker_dies_is_made_once(seconds: int) -> None:
    async def story() -> None:
        async with Call(lambda: Writer(NoOptions())) as call:
            call.say("a table", tools=[{"name": "book"}])
            await asyncio.sleep(seconds)
            await call.kill_worker()
            answer = await call.answer()
            assert answer.text == "It is being booked."
            assert [(item.call_id, item.text) for item in answer.calls] == [("c", '{"table": 4}')]
            assert [item.kind for item in call.conversation] == ["message", "message", "function_call"]

    run(story)


class Patient(Plugin[NoOptions]):
    """Who has said little has not finished."""

    async def finished(self, samples: Samples, context: StageContext) -> float:
        return 1.0 if len(samples) > 16_000 else 0.0


def test_a_turn_detector_of_ones_own() -> None:
    config = SessionConfig(turn_detection=TurnDetection(silence_duration_ms=300, eagerness="low"))

    async def story() -> list[str]:
        detector = lambda: Patient(NoOptions())  # noqa: E731
        async with Call(transcriber=lambda: Ears(NoOptions()), turn_detector=detector, config=config) as call:
            await call.speak(tone(9, 0.5), silence_seconds=0.6)
            await call.speak(tone(9, 1.5), silence_seconds=0.6)
            await call.answer()
            return call.transcripts

    assert run(story) == ["1 s in  2 s in "]
