"""What Smart Turn is given to hear, and what is wrong with its file. The network here has its shape: it tells how loud
the highest bands were at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE
from litevoice_worker.stages.judge_smart_turn import SECONDS, SmartTurnDetector, SmartTurnOptions
from tests.stage_context import CONTEXT


def network(name: str = "input_features", bands: int = 80) -> bytes:
    """Of the last 100 frames' upper half."""
    numbers = {"starts": [40, 700], "ends": [80, 800], "axes": [1, 2]}
    made = [numpy_helper.from_array(np.array(value, np.int64), key) for key, value in numbers.items()]
    graph = helper.make_graph(
        [
            helper.make_node("Slice", [name, *numbers], ["end"]),
            helper.make_node("ReduceMean", ["end"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Sigmoid", ["mean"], ["probability"]),
        ],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", bands, 800])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])],
        made,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


async def detector(folder: Path, content: bytes | None = None) -> SmartTurnDetector:
    path = folder / "smart-turn.onnx"
    path.write_bytes(network() if content is None else content)
    made = SmartTurnDetector(SmartTurnOptions(model=str(path)))
    await made.start()
    return made


def whistle(hertz: float, seconds: float) -> Samples:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (8000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


async def test_it_hears_the_end_of_what_was_said(tmp_path: Path) -> None:
    made = await detector(tmp_path)
    low, high = whistle(300, 2), whistle(6000, 2)
    ends_high, ends_low = await asyncio.gather(
        made.finished(np.concatenate([low, high]), CONTEXT), made.finished(np.concatenate([high, low]), CONTEXT)
    )
    assert ends_high > ends_low
    endless = np.concatenate([whistle(6000, 30), high])
    assert await made.finished(endless, CONTEXT) == await made.finished(endless[-SECONDS * SAMPLE_RATE :], CONTEXT)


@pytest.mark.parametrize(("hertz", "band"), [(100, 2), (500, 12), (1000, 26), (2000, 44), (4000, 62), (7500, 78)])
async def test_bands_are_those_of_whispers_encoder(tmp_path: Path, hertz: float, band: int) -> None:
    """As librosa's mel filters have it: 80 of them up to 8 kHz, Slaney's scale."""
    features = (await detector(tmp_path)).features(whistle(hertz, 1.0))
    assert features.shape == (80, 800)
    assert abs(int(features[:, 750].argmax()) - band) <= 1
    assert features[:, :650].max() < features[:, 750].max() - 1, "silence before it"
    assert features.max() - features.min() == pytest.approx(2.0), "80 dB"


async def test_silence_and_nothing_are_heard(tmp_path: Path) -> None:
    made = await detector(tmp_path)
    for samples in (np.zeros(0, np.int16), np.zeros(16_000, np.int16)):
        assert 0 <= await made.finished(samples, CONTEXT) <= 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"no network", "an ONNX network"), (network("audio"), "Smart Turn v3"), (network(bands=128), "Smart Turn v3")],
)
async def test_another_file_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    with pytest.raises(InvalidField, match=expected) as error:
        await detector(tmp_path, content)
    assert error.value.field == "model"


async def test_no_file_is_refused() -> None:
    with pytest.raises(InvalidField, match="a readable file, /nowhere/x: No such file or directory"):
        await SmartTurnDetector(SmartTurnOptions(model="/nowhere/x")).start()


def test_the_network_of_these_tests_is_one() -> None:
    onnx.checker.check_model(onnx.load_from_string(network()))
