"""Spoken questions and answers as files: espeak-ng speaks the questions, WAV holds both."""

from __future__ import annotations

import asyncio
import io
import wave
from pathlib import Path

import numpy as np
import soxr

RATE = 24_000
"""Samples per second of the Realtime protocol's PCM16, mono."""


class SpeechFailed(RuntimeError):  # noqa: N818 - reads as what it is
    """espeak-ng is missing or refused; the message says which."""


async def speak(text: str, *, voice: str = "en", words_per_minute: int = 150) -> bytes:
    """PCM16 mono at RATE of `text` as espeak-ng says it. Raises SpeechFailed."""
    command = ("espeak-ng", "-v", voice, "-s", str(words_per_minute), "--stdout", "--", text)
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise SpeechFailed("espeak-ng is not installed; scripts/install-dev installs it") from error
    output, complaint = await process.communicate()
    if process.returncode:
        raise SpeechFailed(f"espeak-ng exited with {process.returncode}: {complaint.decode(errors='replace')[:200]}")
    with wave.open(io.BytesIO(output)) as wav:
        rate, samples = wav.getframerate(), np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2")
    resampled = soxr.resample(samples, rate, RATE, quality="HQ")
    return np.asarray(resampled, dtype="<i2").tobytes()


def write_wav(path: Path, pcm: bytes) -> None:
    """Writes PCM16 mono at RATE."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes(pcm)


def read_wav(path: Path) -> bytes:
    """PCM16 mono at RATE. Raises SpeechFailed for a file of another form."""
    with wave.open(str(path), "rb") as wav:
        if (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) != (1, 2, RATE):
            raise SpeechFailed(f"{path.name}: expected 16 bit mono at {RATE} Hz")
        return wav.readframes(wav.getnframes())
