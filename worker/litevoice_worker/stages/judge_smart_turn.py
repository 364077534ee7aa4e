"""Whether a user who pauses has finished, by Smart Turn v3: a small open network that hears how he spoke. Its file does
not come with litevoice (docs/models.md)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import Samples
from litevoice_worker.commands import StageContext
from litevoice_worker.endpointing import SAMPLE_RATE
from litevoice_worker.opening import Floats
from litevoice_worker.stages import Plugin

SECONDS = 8
"""What the network hears: the last of what was said, after silence if that was less."""
_SAMPLES = SECONDS * SAMPLE_RATE
_FRAME, _HOP, _BANDS = 400, 160, 80
_INPUT, _SHAPE = "input_features", [_BANDS, _SAMPLES // _HOP]
_Bands: TypeAlias = NDArray[np.float64]
_LINEAR_HERTZ, _LINEAR_MELS, _LOG_STEP = 1000.0, 15.0, np.log(6.4) / 27.0


class SmartTurnOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    """The network's file, smart-turn-v3.*.onnx."""


class SmartTurnDetector(Plugin[SmartTurnOptions]):
    """One pause after another: each takes a core for some tens of milliseconds."""

    Options = SmartTurnOptions

    def __init__(self, options: SmartTurnOptions) -> None:
        super().__init__(options)
        self._bands = _bands()
        self._window = np.hanning(_FRAME + 1)[:-1]
        self._one = asyncio.Semaphore(1)

    async def start(self) -> None:
        path = Path(self.options.model)
        chosen = ort.SessionOptions()
        chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
        try:
            content = await asyncio.to_thread(path.read_bytes)
            self._network = ort.InferenceSession(content, chosen, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise InvalidField("model", f"a readable file, {path}: {error.strerror}") from error
        except Exception as error:
            raise InvalidField("model", f"an ONNX network, {path}: {type(error).__name__}") from error
        inputs = [(one.name, one.shape[1:]) for one in self._network.get_inputs()]
        if inputs != [(_INPUT, _SHAPE)]:
            raise InvalidField("model", f"Smart Turn v3, whose input is {_INPUT} {_SHAPE}; {path} has {inputs}")

    async def finished(self, samples: Samples, context: StageContext) -> float:  # noqa: ARG002
        async with self._one:
            return await asyncio.to_thread(self._judge, samples)

    def _judge(self, samples: Samples) -> float:
        (probabilities,) = self._network.run(None, {_INPUT: self.features(samples)[None]})
        return float(np.asarray(probabilities).reshape(-1)[0])

    def features(self, samples: Samples) -> Floats:
        """(80, 800): the logarithm of the energy in each band, every 10 ms, as Whisper's encoder hears it."""
        heard = np.zeros(_SAMPLES, np.float32)
        last = samples[-_SAMPLES:].astype(np.float32) / 32768
        heard[_SAMPLES - len(last) :] = last
        heard = (heard - heard.mean()) / np.sqrt(heard.var() + 1e-7)
        padded = np.pad(heard.astype(np.float64), _FRAME // 2, mode="reflect")
        frames = sliding_window_view(padded, _FRAME)[:_SAMPLES:_HOP]
        power = np.abs(np.fft.rfft(frames * self._window)) ** 2
        loudness = np.log10(np.maximum(power @ self._bands, 1e-10)).T
        loudness = np.maximum(loudness, loudness.max() - 8.0)
        features: Floats = ((loudness + 4.0) / 4.0).astype(np.float32)
        return features


def _bands() -> _Bands:
    """(201, 80): how much of each frequency is in each band. They have equal width in mels, as Slaney counts them, and
    equal area."""
    highest = _LINEAR_MELS + np.log(SAMPLE_RATE / 2 / _LINEAR_HERTZ) / _LOG_STEP
    mels = np.linspace(0.0, highest, _BANDS + 2)
    edges = np.where(
        mels < _LINEAR_MELS,
        mels * _LINEAR_HERTZ / _LINEAR_MELS,
        _LINEAR_HERTZ * np.exp(_LOG_STEP * (mels - _LINEAR_MELS)),
    )
    frequencies = np.linspace(0, SAMPLE_RATE / 2, _FRAME // 2 + 1)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    bands: _Bands = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    return bands
