"""Speech from OpenAI-compatible endpoints: voices, and audio that is heard while it is made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import numpy as np
import pytest

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import PipelineSettings
from litevoice_worker.plugins import make_pipelines
from litevoice_worker.stages import StageError, pieces_of
from litevoice_worker.stages.synthesize_openai import OpenAISpeechOptions, OpenAISynthesizer
from litevoice_worker.testing import Call, run
from tests.integration.worker.model_endpoint import Endpoint, said
from tests.stage_context import CONTEXT
from tests.waiting import until

PCM = (np.sin(np.arange(24_000) / 10) * 9000).astype("<i2").tobytes()


async def test_speech(endpoint: Endpoint) -> None:
    endpoint.pieces = [PCM[:1001], PCM[1001:]]
    synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[endpoint.settings()]))
    assert await said(synthesizer, speed=1.25) == PCM
    whole = await said(synthesizer, "g711_ulaw/8000", voice="echo")
    assert len(whole) == 8000
    endpoint.pieces = [PCM[begin : begin + 999] for begin in range(0, len(PCM), 999)]
    assert await said(synthesizer, "g711_ulaw/8000") == whole, "the same bytes, however they come"
    bodies = [json.loads(body) for _, _, body in endpoint.requests]
    assert bodies[0] == {"model": "m", "input": "Hello.", "voice": "alloy", "response_format": "pcm", "speed": 1.25}
    assert bodies[1]["voice"] == "echo"
    await synthesizer.close()


async def test_voices_that_clients_name_have_other_names_at_the_endpoint(endpoint: Endpoint) -> None:
    endpoint.pieces = [bytes(48)]
    served = endpoint.settings().model_dump(by_alias=True)
    synthesizer = {"use": "openai", "options": {"endpoints": [served], "voice": "own"}}
    mapped = {"name": "mapped", "synthesizer": synthesizer, "voices": {"ash": "af_sky"}}
    whole = [
        mapped,
        {"name": "none", "synthesizer": synthesizer, "voices": {}},
        {"name": "all", "synthesizer": synthesizer},
    ]
    pipelines = await make_pipelines([PipelineSettings.model_validate(one) for one in whole])
    for model in pipelines.named:
        stages = pipelines.of(model)
        for name in ("ash", "coral", "default"):
            speech = stages.synthesizer.synthesize("Hello.", stages.voice(name), 1.0, "pcm16/24000", CONTEXT)
            assert b"".join([piece async for piece in pieces_of(speech)])
    await pipelines.close()
    spoken = [json.loads(body)["voice"] for _, _, body in endpoint.requests]
    assert spoken == ["af_sky", "own", "own", "own", "own", "own", "ash", "coral", "own"]


async def test_a_map_to_a_voice_that_espeak_does_not_have() -> None:
    voices = {"marin": "en+f3", "ash": "alloy"}
    pipeline = PipelineSettings.model_validate({"name": "p", "voices": voices})
    with pytest.raises(InvalidField) as error:
        await make_pipelines([pipeline])
    assert str(error.value) == "pipelines[0].voices.ash: expected a voice of espeak-ng, got 'alloy'"


async def test_speech_is_given_as_it_comes() -> None:
    async with Endpoint(pieces=[PCM[:9_600], PCM[9_600:]], hang=5.0) as endpoint:
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[endpoint.settings(timeout_seconds=30)]))
        began = asyncio.get_running_loop().time()
        pieces = synthesizer.synthesize("Hello.", "default", 1.0, "pcm16/24000", CONTEXT)
        async with aclosing(cast(AsyncGenerator[bytes], pieces)):
            assert await anext(pieces) == PCM[:9_600]
            assert asyncio.get_running_loop().time() - began < 4, "the endpoint has not ended"
        await synthesizer.close()


async def test_an_endpoint_as_slow_as_speech_is_not_too_slow() -> None:
    async with Endpoint(pieces=[PCM[begin : begin + 9_600] for begin in range(0, len(PCM), 9_600)], hang=0.2) as slow:
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[slow.settings(timeout_seconds=1)]))
        assert await said(synthesizer) == PCM
        await synthesizer.close()


async def test_speech_that_breaks_off_is_asked_for_again_and_goes_on_where_it_was() -> None:
    async with Endpoint(pieces=[PCM[:9_601]], cut=True) as broken, Endpoint(pieces=[PCM[:77], PCM[77:]]) as whole:
        both = OpenAISpeechOptions(endpoints=[broken.settings(), whole.settings()])
        synthesizer = OpenAISynthesizer(both)
        assert await said(synthesizer) == PCM
        assert (len(broken.requests), len(whole.requests)) == (1, 1)
        await synthesizer.close()


async def test_speech_that_breaks_off_twice_fails() -> None:
    async with Endpoint(pieces=[PCM[:9_601]], cut=True) as broken:
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[broken.settings()]))
        with pytest.raises(StageError, match="cannot be reached"):
            await said(synthesizer)
        assert len(broken.requests) == 2
        await synthesizer.close()


async def test_an_error_in_json_is_not_spoken() -> None:
    async with (
        Endpoint(pieces=[b'{"error": "no such voice"}'], content_type="application/json") as wrong,
        Endpoint(pieces=[PCM]) as right,
    ):
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[wrong.settings(), right.settings()]))
        assert await said(synthesizer) == PCM
        await synthesizer.close()
        synthesizer = OpenAISynthesizer(OpenAISpeechOptions(endpoints=[wrong.settings()]))
        with pytest.raises(StageError, match="answered with application/json instead of audio"):
            await said(synthesizer)
        await synthesizer.close()


def test_the_caller_hears_a_sentence_before_its_endpoint_has_ended() -> None:
    """Through the worker's shell and session, and on in another worker to the byte; virtual time, real sockets."""

    async def story() -> None:
        async with Endpoint(pieces=[PCM[:14_400], PCM[14_400:]], gate=asyncio.Event()) as endpoint:
            assert endpoint.gate is not None
            options = OpenAISpeechOptions(endpoints=[endpoint.settings(timeout_seconds=600)])
            async with Call(synthesizer=lambda: OpenAISynthesizer(options)) as call:
                call.say("Hello.")
                (sentence,) = await call.sentences(1)
                await until(lambda: call.answers[-1].audio_seconds, "audio has come")
                assert call.answers[-1].audio_seconds == pytest.approx(0.3), "the endpoint has not sent the rest"
                await call.kill_worker()
                endpoint.gate.set()
                answer = await call.answer()
                assert (answer.status, answer.text) == ("completed", sentence)
                assert answer.audio_seconds == pytest.approx(1.0)

    run(story)
