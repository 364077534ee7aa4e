"""Stages that give what nobody can use, in a whole session: the caller is told, and the session goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from litevoice_contracts.conversation import SessionConfig, TurnDetection
from litevoice_worker.audio import Samples
from litevoice_worker.commands import Outcome, Prompt, StageContext
from litevoice_worker.runner import MAX_TRANSCRIPT_CHARACTERS
from litevoice_worker.stages import NoOptions, Plugin, StageError
from litevoice_worker.testing import Call
from litevoice_worker.virtual_time import run
from tests.unit.worker.world import tone

TOO_LONG = f"the transcriber gave more than {MAX_TRANSCRIPT_CHARACTERS} characters"


class Whole(Plugin[NoOptions]):
    async def transcribe(self, samples: Samples, context: StageContext) -> str:
        return "x" * (MAX_TRANSCRIPT_CHARACTERS + 1)


class Streamed(Plugin[NoOptions]):
    async def transcribe(self, samples: Samples, context: StageContext) -> AsyncIterator[str]:
        while True:
            yield "y" * 1000


@pytest.mark.parametrize("transcriber", [Whole, Streamed])
def test_a_transcript_that_no_conversation_can_hold(transcriber: type[Whole | Streamed]) -> None:
    async def story() -> None:
        config = SessionConfig(turn_detection=TurnDetection())
        async with Call(transcriber=lambda: transcriber(NoOptions()), config=config) as call:
            await call.speak(tone(1, 1.2))
            answer = await call.answer()
            assert (answer.status, answer.reason) == ("failed", TOO_LONG)
            call.say("and now?")
            assert (await call.answer(1)).status == "completed"

    run(story)


class Pieces:
    """An iterator that is no generator."""

    def __init__(self, pieces: list[Any]) -> None:
        self._left = pieces

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Any:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


class Agent(Plugin[NoOptions]):
    def __init__(self, pieces: list[Any]) -> None:
        super().__init__(NoOptions())
        self._pieces = pieces

    def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[Any]:
        return Pieces(list(self._pieces))


class Angry(Plugin[NoOptions]):
    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str]:
        yield "One."
        raise StageError("z" * 10_000_000)


@pytest.mark.parametrize(
    ("pieces", "ended"),
    [
        (["One.", " Two."], ("completed", "", "One. Two.")),
        (["One.", None], ("failed", "internal error", "One.")),
        (["One.", b" Two."], ("failed", "internal error", "One.")),
        (["One.", Outcome("failed", "z" * 10_000_000)], ("failed", "z" * 500, "One.")),
    ],
    ids=["an iterator", "None", "bytes", "a long reason"],
)
def test_answers(pieces: list[Any], ended: tuple[str, str, str]) -> None:
    async def story() -> None:
        async with Call(lambda: Agent(pieces), config=SessionConfig(text_only=True)) as call:
            call.say("well?")
            answer = await call.answer()
            assert (answer.status, answer.reason) == ended[:2]
            assert ended[2].startswith(answer.text)

    run(story)


def test_what_a_stage_says_of_its_failure_is_not_long() -> None:
    async def story() -> None:
        async with Call(lambda: Angry(NoOptions()), config=SessionConfig(text_only=True)) as call:
            call.say("well?")
            answer = await call.answer()
            assert (answer.status, answer.reason) == ("failed", "z" * 500)

    run(story)
