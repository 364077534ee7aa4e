"""The shell asks the pipeline's turn detector, and does not wait for one that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import SessionConfig, Snapshot, TurnDetection
from litevoice_contracts.envelopes import UpEnvelope
from litevoice_worker import runner as runner_module
from litevoice_worker.audio import Samples
from litevoice_worker.commands import StageContext
from litevoice_worker.plugins import Pipelines, Stages
from litevoice_worker.stages import StageError
from tests.unit.worker.test_shell import Bench
from tests.unit.worker.world import tone
from tests.waiting import until


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.ears.close()


class Detector:
    """Says `finished`, or what it is given to raise; `asked`: for whom."""

    def __init__(self, finished: float | Exception) -> None:
        self.said = finished
        self.asked: list[StageContext] = []

    async def finished(self, samples: Samples, context: StageContext) -> float:
        self.asked.append(context)
        if isinstance(self.said, Exception):
            raise self.said
        if self.said < 0:
            await asyncio.sleep(3600)
        return self.said

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("said", "ends"),
    [(0.9, True), (0.1, False), (-1.0, True), (StageError("away"), True), (ValueError("secret words"), True)],
    ids=["finished", "not finished", "it hangs", "it fails", "it crashes"],
)
async def test_a_turn_detector_is_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, said: float | Exception, *, ends: bool
) -> None:
    monkeypatch.setattr(runner_module, "JUDGE_SECONDS", 0.05)
    detector = Detector(said)
    bench.pipelines = Pipelines({"litevoice": Stages(bench.voice, bench.voice, bench.voice, detector)})
    paused(bench)
    await until(lambda: bool(detector.asked), "it is asked")
    assert detector.asked[0].idempotency_key.startswith("end_")
    if ends:
        await until(lambda: bench.broker.of(events.InputCommitted))
        return
    await until(lambda: bench.voice.heard)  # what was said so far is recognized
    assert not bench.broker.of(events.InputCommitted)


async def test_without_a_turn_detector_silence_is_the_end(bench: Bench) -> None:
    """The session was begun with a pipeline that had one."""
    paused(bench)
    await until(lambda: bench.broker.of(events.InputCommitted))


def paused(bench: Bench) -> None:
    """Somebody has spoken, and is silent for 0.5 s."""
    detection = TurnDetection(silence_duration_ms=300, eagerness="medium")
    sent: list[packets.Packet] = [packets.Audio(tone(1, 1.0)), packets.Audio(tone(0, 0.5))]
    snapshot = Snapshot(config=SessionConfig(turn_detection=detection))
    bench.runner().deliver(UpEnvelope("s", 1, 0, 0, sent, snapshot=snapshot), "g", uncertain=False)
