"""The recognizer's process: what native code does to it costs one utterance, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import Samples
from litevoice_worker.stages import StageDied, StageError, transcribe_pocketsphinx
from litevoice_worker.stages.transcribe_pocketsphinx import PocketsphinxOptions, PocketsphinxTranscriber
from tests.stage_context import CONTEXT
from tests.waiting import until, watching_the_loop

PROGRAMS = ("pocketsphinx_child", "failing_recognizer")
FAILING = Path(__file__).parent / "processes" / "failing_recognizer.py"


def utterance(first: int, samples: int = 16_000) -> Samples:
    made = np.zeros(samples, np.int16)
    made[0] = first
    return made


GOOD, SEGFAULT, HANG, HANG_WITHOUT_ALARM = (utterance(first) for first in (0, 1, 2, 3))


@pytest.fixture
async def recognizer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PocketsphinxTranscriber]:
    monkeypatch.setattr(transcribe_pocketsphinx, "DECODE_SECONDS", 0.5)
    made = PocketsphinxTranscriber(PocketsphinxOptions(), FAILING)
    await made.start()
    yield made
    await made.close()


@pytest.mark.parametrize(("utterance", "how"), [(SEGFAULT, "crashed"), (HANG, "hung"), (HANG_WITHOUT_ALARM, "hung")])
async def test_one_that_fails_costs_one_utterance(
    recognizer: PocketsphinxTranscriber, utterance: Samples, how: str
) -> None:
    """Also with others waiting behind it; and the event loop goes on."""
    async with watching_the_loop() as pauses:
        for _ in range(2):
            results = await asyncio.gather(
                *(recognizer.transcribe(samples, CONTEXT) for samples in (GOOD, utterance, GOOD, GOOD)),
                return_exceptions=True,
            )
            failure = results.pop(1)
            assert isinstance(failure, StageDied)
            assert failure.how == how
            assert results == ["16000 samples"] * 3
    assert pauses.longest < 1.0, "nothing waited for the process but the utterances"


async def test_many_failures_in_a_row_are_slowed_down_but_end(recognizer: PocketsphinxTranscriber) -> None:
    began = time.monotonic()
    for _ in range(4):
        with pytest.raises(StageDied):
            await recognizer.transcribe(SEGFAULT, CONTEXT)
    assert time.monotonic() - began > 0.2 + 0.4, "backoff"
    assert await recognizer.transcribe(GOOD, CONTEXT) == "16000 samples"


async def test_a_long_utterance_may_take_longer(recognizer: PocketsphinxTranscriber) -> None:
    assert await recognizer.transcribe(utterance(0, 16_000 * 60), CONTEXT) == "960000 samples"


async def test_a_process_that_somebody_kills_is_replaced() -> None:
    recognizer = PocketsphinxTranscriber(PocketsphinxOptions())
    await recognizer.start()
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(StageError):
        await recognizer.transcribe(GOOD, CONTEXT)
    assert await recognizer.transcribe(GOOD, CONTEXT) == ""
    await recognizer.close()
    await until(lambda: not children(), "no process stays")


async def test_one_that_does_not_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    recognizer = PocketsphinxTranscriber(PocketsphinxOptions(grammar_file=str(tmp_path / "empty")), FAILING)
    with pytest.raises(InvalidField, match="a recognizer that starts"):
        await recognizer.start()
    await recognizer.close()


async def test_closing_ends_it_in_the_middle_of_an_utterance(recognizer: PocketsphinxTranscriber) -> None:
    waiting = asyncio.create_task(recognizer.transcribe(HANG, CONTEXT))
    await asyncio.sleep(0)
    await recognizer.close()
    with pytest.raises((StageError, asyncio.CancelledError)):
        await waiting
    await until(lambda: not children(), "no process stays")


def children() -> list[int]:
    """Of this process, that run a recognizer and have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()
            program = (path / "cmdline").read_text()
            if int(parent[1]) == os.getpid() and parent[0] != "Z" and any(name in program for name in PROGRAMS):
                found.append(int(path.name))
        except OSError:
            continue
    return found
