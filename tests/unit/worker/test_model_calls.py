"""Who is asked for which session, and how an endpoint is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from litevoice_contracts import events, packets
from litevoice_contracts.envelopes import UpEnvelope
from litevoice_worker.commands import Outcome, Prompt, StageContext
from litevoice_worker.plugins import Pipelines, Stages
from litevoice_worker.stages import StageError
from litevoice_worker.stages.model_calls import MAX_NAME, ModelCalls, Target, calls_of
from tests.stage_context import context
from tests.unit.worker.test_shell import Bench, Voice
from tests.waiting import until


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.ears.close()


FIRST, SECOND = Target("a/v1", "m"), Target("b/v1", "m")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://vllm.models:8000/v1", "vllm.models:8000/v1"),
        ("https://user:secret@models.example/v1/?key=secret", "models.example/v1"),
        ("https://[fd00::1]:8000", "[fd00::1]:8000"),
        ("http://models.example/" + "x" * 2000, ("models.example/" + "x" * 2000)[:MAX_NAME]),
    ],
)
def test_a_name_holds_no_secret_and_has_an_end(url: str, name: str) -> None:
    assert Target.of(url, "m").name == name


def test_what_a_session_has_waited_for_longest_comes_first() -> None:
    calls = ModelCalls("tts", [FIRST, SECOND])
    with calls.asking(context()) as older:
        calls.begin(older, FIRST)
        with calls.asking(context()) as newer, calls.asking(context(session_id="another")):
            calls.begin(newer, SECOND)
            calls.failed(newer, SECOND, "failing", "it failed")
            assert calls.of("s") is older
        assert calls.of("another") is None
    assert calls.of("s") is None
    assert calls._asking == {}, "nothing is kept of a session that waits for nothing"
    assert (newer.tries, newer.failed, newer.failure) == (1, SECOND, "it failed")


def test_an_older_one_may_end_first() -> None:
    calls = ModelCalls("tts", [FIRST])
    first, second = calls.asking(context()), calls.asking(context())
    first.__enter__()
    newer = second.__enter__()
    first.__exit__(None, None, None)
    assert calls.of("s") is newer
    second.__exit__(None, None, None)
    assert calls._asking == {}


def test_who_calls_no_endpoints_has_no_calls() -> None:
    assert calls_of(object()) is None


async def test_a_session_says_which_stage_has_failed_and_whose_fault_it_was(bench: Bench) -> None:
    bench.voice.broken = error = StageError("it answered with status 401")
    error.endpoint = "models.example/v1 (m)"
    runner = bench.runner()
    bench.text_turn(runner)
    await until(lambda: bench.broker.of(events.ResponseFinished))
    failure = runner.report(3).failure
    assert failure is not None
    assert (failure.stage, failure.endpoint, failure.says) == (
        "respond",
        "models.example/v1 (m)",
        "it answered with status 401",
    )
    bench.voice.broken = None
    again: list[packets.Packet] = [packets.CreateResponse(text_only=True)]
    runner.deliver(UpEnvelope("s", 1, 2, 0, again), "g", uncertain=False)
    await until(lambda: len(bench.broker.of(events.ResponseFinished)) == 2)
    assert runner.report(3).failure is None, "the stage has succeeded since"


async def test_a_session_says_whom_it_waits_for(bench: Bench) -> None:
    class Calling(Voice):
        calls = ModelCalls("respond", [Target("a/v1", "m"), Target("b/v1", "m")])

        async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | Outcome]:
            with self.calls.asking(context) as asking:
                self.calls.begin(asking, self.calls.targets[0])
                self.calls.failed(asking, self.calls.targets[0], "timeout", "it did not answer in time")
                self.calls.begin(asking, self.calls.targets[1])
                await asyncio.sleep(3600)
            yield ""

    bench.pipelines = Pipelines({"litevoice": Stages(bench.voice, Calling(), bench.voice)})
    runner = bench.runner()
    bench.text_turn(runner)
    await until(lambda: runner.report(3).endpoint)
    report = runner.report(3)
    assert (report.stage, report.endpoint, report.tries) == ("respond", "b/v1 (m)", 2)
    assert (report.failed_endpoint, report.failed_says) == ("a/v1 (m)", "it did not answer in time")
    runner.close()
    assert runner.report(3).endpoint == ""
