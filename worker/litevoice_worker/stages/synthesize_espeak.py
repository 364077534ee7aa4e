"""Text to speech with the program espeak-ng: one short process per sentence; the same text gives the same audio."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from litevoice_contracts.conversation import Codec
from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import SAMPLE_RATES, Samples, encode, resample
from litevoice_worker.commands import StageContext
from litevoice_worker.stages import Plugin, StageError

TIMEOUT_SECONDS = 20.0
MAX_PROCESSES = 4
"""Processes at a time; further sentences wait."""
MAX_KNOWN_VOICES = 1000
"""Names that are tried out; any further one counts as a voice that espeak-ng does not have."""
_VOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,39}")
_WORDS_PER_MINUTE = 175
_MIN_WORDS_PER_MINUTE, _MAX_WORDS_PER_MINUTE = 80, 450


class EspeakOptions(BaseModel):
    """Options of espeak-ng."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    voice: Annotated[str, Field(min_length=1, max_length=128)] = "en"
    """Voice of the sessions that name none, or none of espeak-ng's."""


class EspeakSynthesizer(Plugin[EspeakOptions]):
    """espeak-ng with one of its voices. A session's voice that espeak-ng does not have falls back to `voice`."""

    Options = EspeakOptions

    def __init__(self, options: EspeakOptions, program: str = "espeak-ng") -> None:
        super().__init__(options)
        self._voice = options.voice
        self._program = program
        self._known: dict[str, bool] = {}
        self._slots = asyncio.Semaphore(MAX_PROCESSES)

    async def synthesize(
        self,
        text: str,
        voice: str,
        speed: float,
        codec: Codec,
        context: StageContext,  # noqa: ARG002
    ) -> bytes:
        if not any(character.isalnum() for character in text):
            return b""
        words = min(max(round(_WORDS_PER_MINUTE * speed), _MIN_WORDS_PER_MINUTE), _MAX_WORDS_PER_MINUTE)
        name = await self._choose(voice)
        wav = await self._run(["-v", name, "-s", str(words), "-b", "1", "--stdin", "--stdout"], text.encode())
        samples, rate = _read_wav(wav)
        return encode(resample(samples, rate, SAMPLE_RATES[codec]), codec)

    async def start(self) -> None:
        """Raises InvalidField, which says what is missing, if espeak-ng or its default voice is not installed."""
        if shutil.which(self._program) is None:
            raise InvalidField("", f"the program {self._program}, which is not installed, or another synthesizer")
        if not await self.has_voice(self._voice):
            raise InvalidField("voice", f"a voice of {self._program}, got {self._voice!r}")

    async def _choose(self, voice: str) -> str:
        return voice if voice != "default" and await self.has_voice(voice) else self._voice

    async def has_voice(self, voice: str) -> bool:
        """Each is tried once: for a voice it does not have, espeak-ng fails in various ways, or even crashes."""
        if not _VOICE.fullmatch(voice):
            return False
        if voice not in self._known:
            if len(self._known) >= MAX_KNOWN_VOICES:
                return False
            try:
                await self._run(["-v", voice, "-q", "--stdin"], b"a")
                self._known[voice] = True
            except StageError:
                self._known[voice] = False
        return self._known[voice]

    async def _run(self, arguments: list[str], text: bytes) -> bytes:
        async with self._slots:
            return await asyncio.to_thread(self._run_blocking, arguments, text)

    def _run_blocking(self, arguments: list[str], text: bytes) -> bytes:
        """In a thread and by vfork: a fork of the event loop runs into gRPC's fork handlers and fails now and then."""
        try:
            result = subprocess.run(
                [self._program, *arguments],
                input=text,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StageError(f"{self._program} took longer than {TIMEOUT_SECONDS:.0f} s") from error
        except OSError as error:
            raise StageError(f"the program {self._program} cannot be started") from error
        if result.returncode != 0:
            raise StageError(f"{self._program} exited with status {result.returncode}")
        return result.stdout


def _read_wav(wav: bytes) -> tuple[Samples, int]:
    """Samples and rate. In a pipe the header's lengths mean nothing: the audio goes on to the end."""
    start = wav.find(b"data")
    if len(wav) < 44 or wav[:4] != b"RIFF" or start < 0:
        raise StageError("espeak-ng produced no audio")
    rate = int.from_bytes(wav[24:28], "little")
    data = wav[start + 8 :]
    return np.frombuffer(data[: len(data) & ~1], dtype="<i2").astype(np.int16), rate
