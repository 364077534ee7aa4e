"""The audio of a session since its gate opened: resampled, cut into windows for the network, kept for the utterance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from litevoice_contracts.conversation import Codec
from litevoice_worker.audio import SAMPLE_RATES, Samples, StreamResampler, decode
from litevoice_worker.endpointing import SAMPLE_RATE, WINDOW_SAMPLES

Floats = NDArray[np.float32]
NO_SAMPLES: Samples = np.empty(0, np.int16)


class Stream:
    """What the network remembers since the gate opened; `memory` belongs to who runs the network, None at first."""

    __slots__ = ("memory",)

    def __init__(self) -> None:
        self.memory: Floats | None = None


class Opening:
    """Audio since (some time before) the gate opened, at 16 kHz.

    Attributes:
        first: position of the first sample.
        start: where the open utterance begins, if there is one.
        quiet: windows since the last loud one.
    """

    __slots__ = ("_chunks", "_codec", "_pending", "_resampler", "first", "quiet", "start", "stream")

    def __init__(self, codec: Codec, first: int) -> None:
        self.stream = Stream()
        self.first = self.start = first
        self.quiet = 0
        self._codec = codec
        self._resampler = StreamResampler(SAMPLE_RATES[codec], SAMPLE_RATE)
        self._chunks: list[Samples] = []
        self._pending = NO_SAMPLES  # what the network has not had

    @property
    def ready(self) -> int:
        """Windows for the network."""
        return len(self._pending) // WINDOW_SAMPLES

    def convert(self, audio: bytes, codec: Codec) -> Samples:
        """More audio."""
        if codec != self._codec:
            self._chunks.append(self._resampler.end())
            self._codec, self._resampler = codec, StreamResampler(SAMPLE_RATES[codec], SAMPLE_RATE)
        samples = self._resampler.feed(decode(audio, codec))
        self._chunks.append(samples)
        return samples

    def feed(self, audio: bytes) -> None:
        """More audio, for the network too."""
        samples = self.convert(audio, self._codec)
        self._pending = np.concatenate((self._pending, samples)) if len(self._pending) else samples

    def take(self, count: int) -> Samples:
        """The next windows, as rows."""
        size = count * WINDOW_SAMPLES
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken.reshape(count, WINDOW_SAMPLES)

    def utterance(self, end: int | None) -> Samples:
        """From `start` to `end`; None: as far as there is anything, and nothing may follow."""
        if end is None:
            self._chunks.append(self._resampler.end())
        samples = np.concatenate(self._chunks) if self._chunks else NO_SAMPLES
        return samples[self.start - self.first : None if end is None else end - self.first].copy()
