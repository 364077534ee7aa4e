"""What a worker hears, thinks and says in the simulation: exact, so that one lost packet changes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random

import numpy as np

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec
from litevoice_worker.audio import Samples
from litevoice_worker.commands import Outcome, Prompt, StageContext
from litevoice_worker.opening import Stream

FRAME_SECONDS = 0.1
SILENCE = b"\xff" * 800
_STEP = 3000
_FRAME_SAMPLES = 1600
_NUMBER = 400
_CHARACTER_MILLISECONDS = 30


def _ulaw(sample: int) -> bytes:
    """One positive sample of G.711."""
    sample = min(sample + 132, 32767)
    exponent = max(0, sample.bit_length() - 8)
    return bytes([~(exponent << 4 | (sample >> (exponent + 3)) & 0x0F) & 0xFF])


def _tone(level: int) -> bytes:
    """100 ms of a square wave of 500 Hz, whose amplitude is the digit."""
    plus = _ulaw(level * _STEP)
    minus = bytes([plus[0] & 0x7F])
    return (plus * 8 + minus * 8) * 50


TONES = {level: _tone(level) for level in range(1, 10)}


def numbered(frame: bytes, number: int) -> bytes:
    """The tone with a number in its middle, which is not heard; silence stays what it is."""
    return frame if frame == SILENCE else frame[:_NUMBER] + number.to_bytes(4, "big") + frame[_NUMBER + 4 :]


def number_of(frame: bytes) -> int:
    """What `numbered` has put there."""
    return int.from_bytes(frame[_NUMBER : _NUMBER + 4], "big")


def digits_heard(samples: Samples) -> str:
    """What `TONES` said; a piece of one is told as what it is."""
    loudness = np.abs(samples.astype(np.int32))
    loud = np.flatnonzero(loudness > _STEP // 3)
    if not len(loud):
        return ""
    first, last = int(loud[0]), int(loud[-1])
    count = round((last + 1 - first) / _FRAME_SAMPLES)
    pieces = (loudness[first + number * _FRAME_SAMPLES :][:_FRAME_SAMPLES] for number in range(count))
    return "".join(str(round(float(np.median(piece)) / _STEP)) for piece in pieces)


def answer_to(question: str) -> list[str]:
    """Sentences."""
    return [f"You said {question}.", f" That is all of {question}."]


def speech(text: str, codec: Codec) -> bytes:
    text = text.strip()
    size = len(text) * _CHARACTER_MILLISECONDS * CODEC_BYTES_PER_SECOND[codec] // 1000
    return (text.encode() * (size // len(text) + 1))[:size]


class Ears:
    """Speech is what is loud. In the place of litevoice_worker.ears.Ears."""

    busy = 0.0

    def __init__(self, random: Random) -> None:
        self._random = random

    def seconds_to_hear(self, audio_seconds: float) -> float:
        return 0.0

    def listen(self, stream: Stream, windows: Samples, done: Callable[[list[float] | None], None]) -> None:
        found = (np.abs(windows.astype(np.int32)).mean(axis=1) > 200).astype(float).tolist()
        asyncio.get_running_loop().call_later(self._random.uniform(0.001, 0.02), done, found)

    async def close(self) -> None: ...


class Transcriber:
    """`came` is told about each utterance that is recognized."""

    def __init__(self, random: Random, came: Callable[[str], Awaitable[None]]) -> None:
        self._random = random
        self._came = came

    async def transcribe(self, samples: Samples, context: StageContext) -> str:
        await asyncio.sleep(self._random.uniform(0.02, 0.4))
        text = digits_heard(samples)
        await self._came(text)
        return text

    async def close(self) -> None: ...


class Responder:
    """`began` is told about each response that is computed from its beginning: the session, and the question."""

    def __init__(self, random: Random, began: Callable[[str, str], Awaitable[None]]) -> None:
        self._random = random
        self._began = began

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | Outcome]:
        questions: Sequence[str] = [item.text for item in prompt.items if item.role == "user"]
        question = questions[-1] if questions else ""
        await self._began(context.session_id, question)
        await asyncio.sleep(self._random.uniform(0.02, 0.5))
        said = ""
        for sentence in answer_to(question):
            said += sentence
            if len(said) > len(prompt.said):
                yield sentence
                await asyncio.sleep(self._random.uniform(0.0, 0.1))
        yield Outcome()

    async def close(self) -> None: ...


class Synthesizer:
    def __init__(self, random: Random) -> None:
        self._random = random

    async def synthesize(
        self, text: str, voice: str, speed: float, codec: Codec, context: StageContext
    ) -> AsyncIterator[bytes]:
        """Cut anywhere, and now and then slower than it is spoken."""
        await asyncio.sleep(self._random.uniform(0.01, 0.2))
        audio = speech(text, codec)
        pause = self._random.choice([0.0, 0.01, 0.2])
        while audio:
            size = self._random.randint(1, 20_000)
            yield audio[:size]
            audio = audio[size:]
            await asyncio.sleep(self._random.uniform(0.0, pause))

    async def close(self) -> None: ...
