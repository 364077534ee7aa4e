"""The conversation that every client holds, step by step. Each step ends with an answer, which the client has whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from litevoice_dev.clients.catalog import CONTINUES, GONE, NEW_SESSION, OWN_HISTORY
from litevoice_dev.clients.driven import Driven, Missed
from litevoice_dev.clients.results import HELD
from litevoice_dev.speech import speak

SECOND_BYTES = 48_000
ANSWER_SECONDS = 20.0
STORY_SECONDS = 45.0
_STORY, _STORY_END = "tell me a story", "corner of the world"
_LONG, _LONG_END = "tell me the story of the lighthouse", "say thank you"


class Story:
    """`drain`: begins to drain the client's gateway; only the step `drained` needs it. `patience`: for an answer."""

    def __init__(
        self, driven: Driven, drain: Callable[[], None] | None = None, *, patience: float = ANSWER_SECONDS
    ) -> None:
        self.driven = driven
        self._drain = drain
        self._patience = patience
        self._mark = 0

    async def outcome(self, step: str) -> str:
        """HELD, or what was missed. An error that the library tells is a miss, too: some give up at one."""
        errors = len(self.driven.errors)
        try:
            await getattr(self, step)()
        except Missed as missed:
            return "; ".join([str(missed), *self.driven.errors[errors:]])
        return "; ".join(self.driven.errors[errors:]) or HELD

    async def spoken(self) -> None:
        await self._say("what is the capital of france")
        await self._answered("paris")
        if not any("capital of france" in text.lower() for text in self.driven.heard):
            raise Missed("no transcript of what was said")

    async def typed(self) -> None:
        await self._type("what is two plus three")
        await self._answered("is 5")

    async def interrupted(self) -> None:
        await self._type(_LONG)
        # Audio of the answer before may still come: a client that speaks too early interrupts nothing.
        await self.driven.until(lambda: len(self._text()) > 20, self._patience, "long answer")
        before = self.driven.audio_bytes
        await self.driven.until(
            lambda: self.driven.audio_bytes - before > 1.5 * SECOND_BYTES, self._patience, "its audio"
        )
        await self._say("tell me about the sun", mark=False)
        await self._answered("million earths")
        if _LONG_END in self._text():
            raise Missed("the long answer went on to its end")

    async def called(self) -> None:
        calls = len(self.driven.calls)
        await self._type("how is the weather in lisbon")
        await self.driven.until(lambda: len(self.driven.calls) > calls, self._patience, "function call")
        if "lisbon" not in self.driven.calls[-1].lower():
            raise Missed(f"the function was called with {self.driven.calls[-1]}")
        await self._answered("seventeen degrees")

    async def edited(self) -> None:
        await self.driven.do("forget", text="capital of france")
        await asyncio.sleep(1.0)
        await self._type("what have i asked")
        await self._answered("you asked", "weather in lisbon")
        if "capital of france" in self._text():
            raise Missed("what was deleted is remembered")

    async def drained(self) -> None:
        """It is not known to come back, so it may end what it has begun, and ask on."""
        assert self._drain is not None
        before = self.driven.audio_bytes
        await self._type(_STORY)
        await self.driven.until(lambda: self.driven.audio_bytes - before > SECOND_BYTES, self._patience, "story")
        self._drain()
        await self._answered(_STORY_END, seconds=STORY_SECONDS)
        await self._type("what is two plus five")
        await self._answered("is 7")

    async def moved(self, move: Callable[[], Awaitable[None]]) -> str:
        """What becomes of a client that is asked to connect elsewhere in the middle of an answer."""
        driven = self.driven
        before = driven.audio_bytes
        await self._type(_STORY)
        await driven.until(lambda: driven.audio_bytes - before > SECOND_BYTES, self._patience, "story")
        await move()
        try:
            await self._answered(_STORY_END, seconds=STORY_SECONDS)
            return CONTINUES
        except Missed:
            await self._type("what did i ask first")
        try:
            await self._answered("first question")
        except Missed:
            return GONE
        return OWN_HISTORY if _STORY in self._text() else NEW_SESSION

    async def _type(self, text: str) -> None:
        self._mark = len(self.driven.text)
        await self.driven.do("type", text=text)

    async def _say(self, text: str, *, mark: bool = True) -> None:
        if mark:
            self._mark = len(self.driven.text)
        await self.driven.microphone.say(await speak(text))

    def _text(self) -> str:
        return self.driven.text[self._mark :].lower()

    async def _answered(self, *parts: str, seconds: float = 0.0) -> None:
        """Until the answer has these parts, and the client says that it is over. Raises Missed."""
        seconds = seconds or self._patience
        await self.driven.until(
            lambda: all(part in self._text() for part in parts), seconds, f"answer with {' and '.join(parts)!r}"
        )
        await self.driven.until(lambda: self.driven.over, seconds, "end of the answer")
