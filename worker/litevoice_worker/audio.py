"""The codecs of a session, samples to bytes and back, and conversion between sample rates."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

from litevoice_contracts.conversation import Codec

Samples: TypeAlias = NDArray[np.int16]

SAMPLE_RATES: dict[str, int] = {"pcm16/24000": 24_000, "g711_ulaw/8000": 8_000, "g711_alaw/8000": 8_000}
SAMPLE_BYTES: dict[str, int] = {"pcm16/24000": 2, "g711_ulaw/8000": 1, "g711_alaw/8000": 1}

UNITS_PER_MILLISECOND = 48
"""Amounts of audio are counted in units of which every codec has a whole number in a sample: sums are exact."""
UNITS_PER_BYTE: dict[str, int] = {"pcm16/24000": 1, "g711_ulaw/8000": 6, "g711_alaw/8000": 6}


def _ulaw_table() -> Samples:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> Samples:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    magnitude = np.where(segment > 0, (magnitude + 0x100) << np.maximum(segment - 1, 0), magnitude)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _encode_table(decoded: Samples) -> NDArray[np.uint8]:
    """The code with the nearest value for each 16-bit sample (index: sample + 32768)."""
    codes = np.argsort(decoded, kind="stable")
    values = decoded[codes].astype(np.int32)
    samples = np.arange(-32768, 32768, dtype=np.int32)
    right = np.clip(np.searchsorted(values, samples), 1, 255)
    nearer_left = samples - values[right - 1] <= values[right] - samples
    return codes[np.where(nearer_left, right - 1, right)].astype(np.uint8)


_DECODE = {"g711_ulaw/8000": _ulaw_table(), "g711_alaw/8000": _alaw_table()}
_ENCODE = {codec: _encode_table(table) for codec, table in _DECODE.items()}


def decode(data: bytes, codec: Codec) -> Samples:
    """Samples at the codec's own rate; a trailing half sample is dropped."""
    if codec == "pcm16/24000":
        return np.frombuffer(data[: len(data) & ~1], dtype="<i2").astype(np.int16, copy=False)
    return _DECODE[codec][np.frombuffer(data, dtype=np.uint8)]


def encode(samples: Samples, codec: Codec) -> bytes:
    """Samples at the codec's own rate, as bytes."""
    if codec == "pcm16/24000":
        return samples.astype("<i2", copy=False).tobytes()
    return _ENCODE[codec][samples.astype(np.int32) + 32768].tobytes()


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """A whole piece of audio at another rate; the same input gives the same output, bit by bit."""
    if from_rate == to_rate or not len(samples):
        return samples
    return _rounded(soxr.resample(samples.astype(np.float32), from_rate, to_rate, quality="HQ"))


class StreamResampler:
    """Audio that arrives piece by piece, at another rate."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        # Low quality is enough for recognition and has the shortest delay.
        self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="LQ")

    def feed(self, samples: Samples) -> Samples:
        return _rounded(self._stream.resample_chunk(samples.astype(np.float32), last=False))

    def end(self) -> Samples:
        """The rest, some 60 ms that wait for what follows; nothing can follow any more."""
        return _rounded(self._stream.resample_chunk(np.empty(0, np.float32), last=True))


class SpeechEncoder:
    """Speech as 16-bit PCM (little endian) at a rate, as it comes, in a codec. The same bytes come out however it is
    cut, and the same as of the whole."""

    def __init__(self, from_rate: int, codec: Codec) -> None:
        rate = SAMPLE_RATES[codec]
        self._codec: Codec = codec
        self._stream = soxr.ResampleStream(from_rate, rate, 1, dtype="float32", quality="HQ")
        self._resamples = from_rate != rate
        self._odd = b""

    def feed(self, pcm: bytes) -> bytes:
        """What is certain by now."""
        pcm = self._odd + pcm
        even = len(pcm) & ~1
        self._odd = pcm[even:]
        samples = np.frombuffer(pcm[:even], dtype="<i2").astype(np.int16, copy=False)
        if self._resamples:
            samples = _rounded(self._stream.resample_chunk(samples.astype(np.float32), last=False))
        return encode(samples, self._codec)

    def end(self) -> bytes:
        """The rest; a trailing half sample is dropped."""
        if not self._resamples:
            return b""
        return encode(_rounded(self._stream.resample_chunk(np.empty(0, np.float32), last=True)), self._codec)


class Given:
    """How much of some speech was given, which may come from its beginning more than once: what was given is left
    out."""

    def __init__(self) -> None:
        self._bytes = self._again = 0

    def from_the_beginning(self) -> None:
        """Its pieces begin, or begin again."""
        self._again = self._bytes

    def new(self, piece: bytes) -> bytes:
        """Of the next piece; it counts as given."""
        new, self._again = piece[self._again :], max(0, self._again - len(piece))
        self._bytes += len(new)
        return new


def _rounded(samples: NDArray[np.float32]) -> Samples:
    """soxr's own 16-bit output is dithered with a seed from the clock: no two workers would give the same bytes."""
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
