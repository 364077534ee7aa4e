"""Calls of real HTTP endpoints: what is counted of them, and what a session can be told to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from litevoice_worker.metrics import Metrics
from litevoice_worker.stages import StageError
from litevoice_worker.stages.respond_openai import OpenAIResponder
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber
from tests.integration.worker.model_endpoint import Endpoint, options, transcript
from tests.integration.worker.test_openai import STREAM, chunk, collect
from tests.stage_context import CONTEXT
from tests.waiting import until


@pytest.fixture
async def second() -> AsyncIterator[Endpoint]:
    async with Endpoint(pieces=STREAM) as made:
        yield made


class Counted:
    """Of one plug-in's calls."""

    def __init__(self, plugin: Any, stage: str) -> None:
        self._stage, self._metrics = stage, Metrics()
        self._metrics.watch_models(plugin.calls)

    def __call__(self, name: str, endpoint: Endpoint, **labels: str) -> float:
        at = {"endpoint": f"127.0.0.1:{endpoint.port}/v1", "model": "m"}
        stage = {} if "tokens" in name else {"stage": self._stage}
        found = self._metrics.registry.get_sample_value(f"litevoice_worker_model_{name}", {**stage, **at, **labels})
        return found or 0.0


async def test_an_answer_of_the_second_endpoint(second: Endpoint) -> None:
    async with Endpoint(status=401) as first:
        responder = OpenAIResponder(options(first.settings(), second.settings()))
        counted = Counted(responder, "respond")
        await collect(responder)
        assert counted("errors_total", first, kind="unauthorized") == 1
        assert (counted("call_seconds_count", first), counted("call_seconds_count", second)) == (0, 1)
        assert counted("retries_total", second, how="elsewhere") == 1
        assert (counted("tokens_total", second, kind="input"), counted("tokens_total", second, kind="output")) == (
            11,
            7,
        )
        await responder.close()


KINDS = [
    ("timeout", {"silent": True}, 0),
    ("timeout", {"pieces": [chunk("Hello."), chunk("You")], "hang": 30.0}, 0),
    ("unauthorized", {"status": 403}, 0),
    ("throttled", {"status": 429}, 1),
    ("refused", {"status": 400}, 0),
    ("failing", {"status": 503}, 1),
    ("broken", {"status": 204}, 0),
    ("broken", {"pieces": [b"data: {oops\n\n"]}, 0),
    ("broken", {"pieces": [chunk("Hello. You")]}, 0),
    ("unreachable", {"pieces": [chunk("Hello. You")], "cut": True}, 0),
]


@pytest.mark.parametrize(("kind", "how", "again"), KINDS, ids=[f"{kind}: {how}"[:60] for kind, how, _ in KINDS])
async def test_a_failure_is_of_one_kind_and_names_its_endpoint(kind: str, how: dict[str, Any], again: int) -> None:
    async with Endpoint(**how) as endpoint:
        responder = OpenAIResponder(options(endpoint.settings(timeout_seconds=1)))
        counted = Counted(responder, "respond")
        with pytest.raises(StageError) as failure:
            await collect(responder)
        assert failure.value.endpoint == f"127.0.0.1:{endpoint.port}/v1 (m)"
        assert failure.value.endpoint not in str(failure.value), "clients are told the message"
        assert counted("errors_total", endpoint, kind=kind) == 1 + again
        assert counted("retries_total", endpoint, how="again") == again
        await responder.close()


async def test_what_is_not_asked_any_more_is_counted_too() -> None:
    async with Endpoint(status=500) as endpoint:
        responder = OpenAIResponder(options(endpoint.settings()))
        counted = Counted(responder, "respond")
        for _ in range(3):
            with pytest.raises(StageError):
                await collect(responder)
        assert counted("errors_total", endpoint, kind="paused") == 1
        assert len(endpoint.requests) == counted("errors_total", endpoint, kind="failing") == 3
        await responder.close()


async def test_an_answer_without_a_transcript() -> None:
    async with Endpoint(pieces=[b"{}"]) as endpoint:
        transcriber = OpenAITranscriber(options(endpoint.settings()))
        counted = Counted(transcriber, "asr")
        with pytest.raises(StageError) as failure:
            await transcript(transcriber)
        assert failure.value.endpoint == f"127.0.0.1:{endpoint.port}/v1 (m)"
        assert counted("errors_total", endpoint, kind="broken") == 1
        await transcriber.close()


async def test_whom_a_session_waits_for(second: Endpoint) -> None:
    second.silent = True
    async with Endpoint(status=503) as first:
        responder = OpenAIResponder(options(first.settings(), second.settings()))
        assert responder.calls.of(CONTEXT.session_id) is None
        asking = asyncio.create_task(collect(responder))
        await until(lambda: second.requests)
        waits = responder.calls.of(CONTEXT.session_id)
        assert waits is not None
        assert (str(waits.target), waits.tries) == (f"127.0.0.1:{second.port}/v1 (m)", 2)
        assert (str(waits.failed), waits.failure) == (
            f"127.0.0.1:{first.port}/v1 (m)",
            "the chat endpoint answered with status 503",
        )
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        assert responder.calls.of(CONTEXT.session_id) is None, "nobody waits any more"
        await responder.close()
