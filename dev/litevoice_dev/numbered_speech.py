"""Audio in which every 20 ms say their own number aloud, so that what a recognizer was given tells by itself what is
missing, doubled or out of order. Unlike the microphone's marks, the numbers survive resampling and G.711. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from litevoice_dev.microphone import PACKET_BYTES
from litevoice_dev.speech import RATE

NUMBERS = 1 << 11
"""Frames are numbered 0 to NUMBERS - 1, and then from 0 again."""
BROKEN = -1
"""In place of the number of a frame that nobody has spoken like this."""
_NUMBER_BITS, _CHECK_BITS = 11, 5
_SEGMENTS = _NUMBER_BITS + _CHECK_BITS
_LOUD = 8000
_CHECK = (1 << _CHECK_BITS) - 1


def frame(number: int) -> bytes:
    """20 ms of PCM16 at 24 kHz: one bit after the other, as a high or a low level; then bits that check the others."""
    number %= NUMBERS
    bits = (_word(number) >> np.arange(_SEGMENTS)) & 1
    levels = np.where(bits, _LOUD, -_LOUD).astype("<i2")
    return np.repeat(levels, PACKET_BYTES // 2 // _SEGMENTS).tobytes()


def numbers(samples: NDArray[np.int16], rate: int) -> list[int]:
    """The frames in `samples`, which begin with one; silent ones are left out."""
    size = PACKET_BYTES // 2 * rate // RATE
    whole = samples[: len(samples) - len(samples) % size].astype(np.float64)
    found = []
    for one in whole.reshape(-1, size):
        segments = one.reshape(_SEGMENTS, -1)
        middle = segments.shape[1] // 4
        levels = segments[:, middle:-middle].mean(axis=1)
        if np.abs(levels).max() < _LOUD / 4:
            continue
        word = int(((levels > 0) << np.arange(_SEGMENTS)).sum())
        number = word & (NUMBERS - 1)
        found.append(number if word == _word(number) and np.abs(levels).min() > _LOUD / 4 else BROKEN)
    return found


def written(found: Iterable[int]) -> str:
    """As a transcript: ``3..17 19..40``."""
    runs: list[list[int]] = []
    for number in found:
        if runs and runs[-1][-1] + 1 == number and number != 0:
            runs[-1][-1] = number
        else:
            runs.append([number, number])
    return " ".join(f"{first}..{last}" for first, last in runs)


def read(transcript: str) -> list[int]:
    """What `written` has written."""
    return list(_read(transcript))


def _read(transcript: str) -> Iterator[int]:
    for run in transcript.split():
        first, _, last = run.partition("..")
        yield from range(int(first), int(last) + 1)


def _word(number: int) -> int:
    return number | ((number * 7 ^ number >> 5) & _CHECK) << _NUMBER_BITS
