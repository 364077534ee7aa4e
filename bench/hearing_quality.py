"""Where speech begins and ends, with the gate and without it, in recordings of people: the table of ADR 9.

    python -m bench.hearing_quality FOLDER_OR_FILE …

Takes WAV and raw 16 kHz files, for instance those of the Debian packages asterisk-core-sounds-en-wav, alsa-utils and
pocketsphinx-testdata. Each is spoken into a place with or without noise at -55 dBFS, at three gains. "Later" is the
same without a gate after 1.1 s more of the place: what the network's own past makes of the same words.
"""

from __future__ import annotations

import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soxr
from numpy.typing import NDArray

from litevoice_worker.audio import Samples
from litevoice_worker.gate import Gate
from litevoice_worker.hearing import Started
from litevoice_worker.opening import Stream
from litevoice_worker.stages.vad import SileroNetwork
from tests.ear import Ear, sliced

RATE = 24_000
WINDOW_MS = 32
PLACE_SECONDS, LATER_SECONDS, AFTER_SECONDS = 8.0, 1.1, 2.0
GAINS = (0, -20, -30)
NOISES = ("none", "white", "pink")

Floats = NDArray[np.float64]


def recording(path: Path) -> Floats:
    """At 24 kHz, the loudest sample at -6 dBFS."""
    if path.suffix == ".raw":
        rate, samples = 16_000, np.fromfile(path, "<i2").astype(float)
    else:
        with wave.open(str(path)) as file:
            rate = file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)[:: file.getnchannels()]
    samples = soxr.resample(samples, rate, RATE)
    return np.asarray(samples / np.abs(samples).max() * 16_384)


def noise(kind: str, count: int, generator: np.random.Generator) -> Floats:
    if kind == "none":
        return np.zeros(count)
    spectrum = np.fft.rfft(generator.standard_normal(count))
    if kind == "pink":
        hertz = np.fft.rfftfreq(count, 1 / RATE)
        spectrum = np.where(hertz < 20, 0, spectrum / np.sqrt(np.maximum(hertz, 20)))
    samples = np.fft.irfft(spectrum, count)
    return np.asarray(samples / samples.std() * 32_768 * 10 ** (-55 / 20))


def times(network: SileroNetwork, samples: Floats, shift_ms: int) -> list[int]:
    """When speech begins and ends, alternately, in ms."""

    def probabilities(stream: Stream, windows: Samples) -> list[float]:
        return network.advance([stream], [windows])[0]

    ear = Ear(probabilities)
    ear.hear(sliced(np.clip(np.rint(samples), -32_768, 32_767).astype("<i2").tobytes()))
    ends = [event.audio_ms for event in ear.found]
    assert all(isinstance(event, Started) == (index % 2 == 0) for index, event in enumerate(ear.found))
    return [end - shift_ms for end in ends]


def compare(ours: Sequence[int], theirs: Sequence[int]) -> tuple[int, int, int]:
    """Of the other's times: within one window, further away, and missing or added."""
    if len(ours) != len(theirs):
        return 0, 0, max(len(ours), len(theirs))
    near = sum(abs(a - b) <= WINDOW_MS for a, b in zip(ours, theirs, strict=True))
    return near, len(ours) - near, 0


def main() -> None:
    files = [file for name in sys.argv[1:] for file in ([Path(name)] if Path(name).is_file() else Path(name).iterdir())]
    files = sorted(file for file in files if file.suffix in (".wav", ".raw"))
    network = SileroNetwork()
    print(f"{len(files)} recordings\n")
    print(
        "| gain | noise | times | gate: within 32 ms | further | not the same | later: within 32 ms | further | not |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for gain in GAINS:
        for kind in NOISES:
            generator = np.random.default_rng(1)
            gated, later, total = np.zeros(3, int), np.zeros(3, int), 0
            for file in files:
                voice = recording(file) * 10 ** (gain / 20)
                place = int((PLACE_SECONDS + LATER_SECONDS) * RATE) + int(generator.integers(0, 768))
                whole = np.concatenate((np.zeros(place), voice, np.zeros(int(AFTER_SECONDS * RATE))))
                whole += noise(kind, len(whole), generator)
                skipped = int(LATER_SECONDS * RATE)
                with_gate = times(network, whole[skipped:], 0)
                with patch.object(Gate, "loud", lambda _gate, _energy: True):
                    without = times(network, whole[skipped:], 0)
                    longer = times(network, whole, int(LATER_SECONDS * 1000))
                total += len(without)
                gated += compare(with_gate, without)
                later += compare(longer, without)
            cells = [str(gain), kind, str(total), *map(str, gated), *map(str, later)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
