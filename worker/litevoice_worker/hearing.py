"""Turns packets of audio into utterances. The result depends on nothing but the packets since the last restart, so a
worker that gets those packets again decides the same, to the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, Mark, TurnDetection
from litevoice_worker.audio import SAMPLE_BYTES, SAMPLE_RATES, Samples, StreamResampler, decode
from litevoice_worker.endpointing import SAMPLE_RATE, START_WINDOWS, WINDOW_MILLISECONDS, WINDOW_SAMPLES, Endpointer
from litevoice_worker.order import Numbered

MIN_COMMIT_MILLISECONDS = 100
"""A shorter buffer counts as empty when the client commits it."""
QUIET_MILLISECONDS = 2000
"""How much silence beyond the padding makes older packets unnecessary."""
_PADDING_WINDOWS = 2 * START_WINDOWS  # on top of the padding: what has just begun to look like speech


class Vad(Protocol):
    """Voice activity detection for one stream."""

    def reset(self) -> None:
        """Forgets the stream."""

    def probability(self, window: Samples) -> float:
        """Probability of speech, 0 to 1, in the next 512 samples at 16 kHz."""


@dataclass(frozen=True, slots=True)
class Started:
    """Speech began; `audio_ms` includes the padding before it."""

    audio_ms: int


@dataclass(frozen=True, slots=True)
class Utterance:
    """Samples at 16 kHz, and when it ends in the session's audio."""

    samples: Samples
    audio_ms: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Heard:
    """How far a packet was read, and what was found there; None: read to the end, nothing found."""

    found: Started | Utterance | None
    consumed_bytes: int


class Listener:
    """One session's ear. With turn detection off, all audio belongs to the utterance until it is committed.

    Attributes:
        audio_ms: audio heard since the session began.
    """

    def __init__(self, vad: Vad, max_utterance_seconds: int) -> None:
        self._vad = vad
        self._max_samples = max_utterance_seconds * SAMPLE_RATE
        self._detection: TurnDetection | None = None
        self.restart(None, 0)

    def restart(self, detection: TurnDetection | None, audio_ms: int) -> None:
        """Forgets all audio; the next to arrive begins at `audio_ms`."""
        self._detection = detection
        self._endpointer = Endpointer(detection) if detection else None
        self._vad.reset()
        self._base_ms = float(audio_ms)
        self._resampler: StreamResampler | None = None
        self._resampler_codec: Codec | None = None
        self._chunks: list[Samples] = []
        self._samples = 0
        self._windows = 0
        self._pending = np.empty(0, np.int16)  # samples that do not fill a window yet
        self._start_sample = 0
        self._packets: list[Numbered] = []
        self._heard_ms = 0.0

    @property
    def audio_ms(self) -> int:
        return int(self._base_ms + self._heard_ms)

    @property
    def empty(self) -> bool:
        """No audio has been heard since the restart."""
        return not self._heard_ms

    @property
    def open(self) -> bool:
        """An utterance is open: its audio must not be forgotten."""
        return self._endpointer.speaking if self._endpointer else bool(self._samples)

    def hear(self, packet: Numbered) -> Heard:
        """Reads a packet's audio from its offset until something is found or it ends."""
        codec, data, offset = packet.codec, packet.audio, packet.offset
        if self._detection is not None and not self.open and (offset == 0 or not self._packets):
            self._packets.append(packet)
        slice_bytes = SAMPLE_RATES[codec] * WINDOW_MILLISECONDS // 1000 * SAMPLE_BYTES[codec]
        while offset < len(data):
            piece = data[offset : offset + slice_bytes]
            offset += len(piece)
            found = self._hear_slice(piece, codec)
            if found is not None:
                return Heard(found, offset)
        return Heard(None, offset)

    def commit(self) -> Utterance | None:
        """The open utterance as it is now; None if there is (next to) none."""
        if not self.open or self._samples - self._start_sample < MIN_COMMIT_MILLISECONDS * SAMPLE_RATE // 1000:
            return None
        return self._utterance()

    def quiet(self) -> tuple[Mark, int, list[Numbered]] | None:
        """After a whole packet, once there is much silence: the last packet that is no longer needed, the time of its
        end, and the packets after it, which must be heard again after a restart."""
        if self._detection is None or self.open:
            return None
        padding_ms = self._detection.prefix_padding_ms + _PADDING_WINDOWS * WINDOW_MILLISECONDS
        if self._heard_ms < QUIET_MILLISECONDS + padding_ms:
            return None
        kept_ms, index = 0.0, len(self._packets)
        while index > 0 and kept_ms < padding_ms:
            index -= 1
            kept_ms += _milliseconds(self._packets[index])
        if index == 0:
            return None
        mark = self._packets[index - 1].mark
        return mark, int(self._base_ms + self._heard_ms - kept_ms), self._packets[index:]

    def _hear_slice(self, piece: bytes, codec: Codec) -> Started | Utterance | None:
        if self._resampler is None or self._resampler_codec != codec:
            self._resampler, self._resampler_codec = StreamResampler(SAMPLE_RATES[codec], SAMPLE_RATE), codec
        samples = self._resampler.feed(decode(piece, codec))
        self._heard_ms += len(piece) * 1000 / CODEC_BYTES_PER_SECOND[codec]
        self._chunks.append(samples)
        self._samples += len(samples)
        if self._endpointer is not None:
            found = self._detect(self._endpointer, samples)
            if found is not None:
                return found
        if self.open and self._samples - self._start_sample >= self._max_samples:
            return self._utterance()
        return None

    def _detect(self, endpointer: Endpointer, samples: Samples) -> Started | Utterance | None:
        self._pending = np.concatenate((self._pending, samples))
        while len(self._pending) >= WINDOW_SAMPLES:
            window, self._pending = self._pending[:WINDOW_SAMPLES], self._pending[WINDOW_SAMPLES:]
            self._windows += 1
            change = endpointer.feed(self._vad.probability(window))
            if change == "stopped":
                return self._utterance()
            if change == "started":
                assert self._detection is not None
                self._packets.clear()
                padding = self._detection.prefix_padding_ms * SAMPLE_RATE // 1000
                self._start_sample = max(0, (self._windows - START_WINDOWS) * WINDOW_SAMPLES - padding)
                return Started(int(self._base_ms + self._start_sample * 1000 / SAMPLE_RATE))
        return None

    def _utterance(self) -> Utterance:
        return Utterance(np.concatenate(self._chunks)[self._start_sample :], self.audio_ms)


def _milliseconds(packet: Numbered) -> float:
    return len(packet.audio) * 1000 / CODEC_BYTES_PER_SECOND[packet.codec]
