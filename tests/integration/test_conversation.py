"""The main job as processes: spoken questions, gateways and workers that go away, and nothing lost.

The caller is the unchanged openai client; the audit reads the broker in consumer groups of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from litevoice_broker.admin import Admin
from litevoice_contracts import metrics
from litevoice_contracts.names import Names
from litevoice_dev.local_place import LocalPlace
from litevoice_dev.ports import HOST, free_port
from litevoice_dev.scenarios.audits import audited_events, audited_packets
from litevoice_dev.speech import speak
from litevoice_dev.stack import LocalStack, Member
from litevoice_dev.voice_client import Answer, VoiceClient
from tests.integration.gateway.process import Wire
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import until

pytestmark = pytest.mark.timeout(420)

FIRST, STORY, MEMORY = "what is the capital of France", "tell me a story", "what did I ask first"
"""The story takes half a minute, spoken in real time: much longer than what happens in the middle of it."""


async def interrupted(call: VoiceClient, question: str, disturb: Callable[[], Awaitable[None]]) -> Answer:
    """The answer to `question`, with `disturb` run after a second of its audio."""
    start = len(call.heard)
    spoken_until = await call.microphone.say(await speak(question))
    await call.wait_for(lambda: len(call.answer(start, 0).audio) >= 48_000, 60, "a second of the answer")
    assert not call.answers_since(start), "in the middle of it"
    await disturb()
    await call.wait_for(lambda: call.answers_since(start) >= 1, 120, "the rest of the answer")
    return call.answer(start, spoken_until)


async def test_a_call_moves_between_gateways_and_loses_nothing(stack: LocalStack) -> None:
    place = LocalPlace(stack)
    async with place.requests() as read:
        async with VoiceClient(stack.gateways[0].url, stack.api_key) as call:
            first = await call.ask(await speak(FIRST))
            assert (first.question, first.status) == (FIRST.lower(), "completed")
            assert "paris" in first.text.lower()

            async def drain() -> None:
                owner = await stack.owner(call.session_id)
                # The client keeps its URL, so another gateway must listen there, as behind a Service.
                owner.terminate()
                assert await owner.wait_gone() == 0
                successor = stack.replace_gateway(owner)
                await successor.wait_ready()

            second = await interrupted(call, STORY, drain)
            assert second.status == "completed"
            assert [r.code for r in call.reconnects] == [1012]
            third = await call.ask(await speak(MEMORY))
            assert FIRST.lower() in third.text.lower()
        packets = await audited_packets(read, call)
    events = await audited_events(place, call)
    assert packets.clean, packets
    assert events.clean, events


async def test_a_killed_gateway_loses_no_answer(stack: LocalStack) -> None:
    async with VoiceClient(stack.gateways[0].url, stack.api_key) as call:
        await call.ask(await speak(FIRST))

        async def kill() -> None:
            owner = await stack.owner(call.session_id)
            owner.kill()
            await stack.replace_gateway(owner).wait_ready()

        second = await interrupted(call, STORY, kill)
        assert second.status == "completed"
        third = await call.ask(await speak(MEMORY))
        assert FIRST.lower() in third.text.lower()
    events = await audited_events(LocalPlace(stack), call)
    assert events.clean, events


async def test_a_killed_worker_is_replaced_in_the_middle_of_its_answer(stack: LocalStack) -> None:
    async with VoiceClient(stack.gateways[1].url, stack.api_key) as call:
        undisturbed = await call.ask(await speak(STORY))

        async def kill_all_workers() -> None:
            for worker in stack.workers:
                worker.kill()
            for worker in list(stack.workers):
                await stack.replace_worker(worker).wait_ready()

        answer = await interrupted(call, STORY, kill_all_workers)
        assert answer.status == "completed"
        assert answer.text == undisturbed.text
        assert bytes(answer.audio) == bytes(undisturbed.audio), "continued to the byte"
        third = await call.ask(await speak(MEMORY))
        assert STORY.lower() in third.text.lower()


ENDS = ("completed", "cancelled", "incomplete", "failed")


async def legs_are_told(stack: LocalStack) -> None:
    """Of the way of a question and its answer, how long each leg took."""
    for members, name in (
        (stack.gateways, metrics.GATEWAY_UPLINK_SECONDS),
        (stack.workers, metrics.WORKER_ARRIVAL_SECONDS),
        (stack.workers, metrics.WORKER_FIRST_AUDIO_SECONDS),
        (stack.gateways, metrics.GATEWAY_DELIVERY_SECONDS),
    ):
        count = sum([await member.metric(f"{name}_count") for member in members])
        seconds = sum([await member.metric(f"{name}_sum") for member in members])
        assert count > 0, name
        assert 0 < seconds / count < 10, f"{name}: {seconds / count:.3f} s on the average"


async def asked_twice(gateway: Member) -> bool:
    return await gateway.metric(metrics.GATEWAY_PROBES) >= 2


async def test_workers_that_stand_still_begin_no_turn_twice(stack: LocalStack) -> None:
    """For 15 s and more: the gateway has asked twice, and sends nothing again unasked."""
    gateway = stack.gateways[0]
    async with VoiceClient(gateway.url, stack.api_key) as call:
        await call.ask(await speak(FIRST))
        await legs_are_told(stack)
        replays = await gateway.metric(metrics.GATEWAY_REPLAYS)
        for worker in stack.workers:
            worker.freeze()
        asking = asyncio.create_task(call.ask(await speak(FIRST)))
        await until(lambda: asked_twice(gateway), "two questions")
        for worker in stack.workers:
            worker.thaw()
        answer = await asking
        assert (answer.question, answer.status) == (FIRST.lower(), "completed")
        assert "paris" in answer.text.lower()
    assert await gateway.metric(metrics.GATEWAY_REPLAYS) == replays
    assert await gateway.metric(metrics.GATEWAY_DROPPED, what="stale_attempt") == 0
    ended = [await worker.metric(metrics.WORKER_TURNS, outcome=outcome) for worker in stack.workers for outcome in ENDS]
    assert sum(ended) == 2, "two questions, two turns"
    events = await audited_events(LocalPlace(stack), call)
    assert events.clean, events


async def test_a_gateway_without_a_broker_says_so_and_recovers(
    rocketmq: SharedRocketMQ, admin: Admin, tmp_path: Path
) -> None:
    """Nobody listens at its addresses; then RocketMQ does, still without the topics."""
    proxy, name_server = free_port(), free_port()
    base = f"t{secrets.token_hex(4)}"
    names = Names(f"{base}-requests", f"{base}-replies", 2)
    addresses = (f"{HOST}:{proxy}", f"{HOST}:{name_server}")
    stack = LocalStack(tmp_path / "stack", *addresses, names, worker_names=("worker-0",))
    try:
        gateway = stack.start_gateway()
        await gateway.wait_status(lambda status: not status["ready"] and bool(status["reason"]))
        reason = (await gateway.status())["reason"]
        assert stack.endpoints in reason
        async with Wire(rocketmq.endpoints, proxy), Wire(rocketmq.name_server, name_server):
            await stack.ensure_names()
            stack.start_worker("worker-0")
            await gateway.wait_ready()
            async with VoiceClient(gateway.url, stack.api_key) as call:
                answer = await call.ask(await speak(FIRST))
            assert "paris" in answer.text.lower()
    finally:
        stack.kill()
        await admin.delete_names(names)
