"""What a gateway does when somebody does not keep up: a client that reads slowly, a broker that is not there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import struct

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from litevoice_contracts import events
from litevoice_dev.ports import HOST, free_port
from tests.integration.gateway.process import Gateways, PlayedWorker, Wire, close_code, numbered_audio, opened, receive
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.timeout(420)


async def test_a_slow_readers_replies_wait_at_the_broker(gateways: Gateways, played_worker: PlayedWorker) -> None:
    gateway = await gateways.start(sendBufferBytes=65536)
    async with gateway.connect() as healthy:
        other = await opened(healthy)
        async with gateway.connect(max_queue=1) as slow:
            session = await opened(slow)
            await played_worker.say(session, events.ResponseStarted("r1", "i1"))
            slow.transport.pause_reading()
            count, published = 0, 0
            async with asyncio.timeout(60):
                while (await gateway.request("/v1/status")).json()["slow_readers"] == 0:
                    for _ in range(10):
                        audio = struct.pack("<I", count) + bytes(48_000)
                        await played_worker.say(session, events.AudioDelta("r1", "i1", audio))
                        count += 1
            info = (await gateway.request(f"/v1/sessions/{session}")).json()
            assert info["reading"] is False
            for _ in range(200):
                await played_worker.say(session, events.AudioDelta("r1", "i1", struct.pack("<I", count)))
                count += 1
            published = count
            await played_worker.say(other, events.InputCleared())
            assert (await receive(healthy))["type"] == "input_audio_buffer.cleared", "the others notice nothing"
            waiting = (await gateway.request(f"/v1/sessions/{session}")).json()["next_position"]
            assert waiting < published, "what the client has not read is not in the pod"
            slow.transport.resume_reading()
            numbers: list[int] = []
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(numbers) < published:
                    message = await receive(slow)
                    if message["type"] == "response.output_audio.delta":
                        numbers.append(struct.unpack_from("<I", base64.b64decode(message["delta"]))[0])
            assert numbers == list(range(published))
            assert (await gateway.request("/v1/status")).json()["slow_readers"] == 0


# The broker is not there


async def test_a_gateway_without_a_broker_waits_for_it_and_says_why(
    gateways: Gateways, rocketmq: SharedRocketMQ
) -> None:
    port = free_port()
    gateway = await gateways.start(ready=False, endpoints=f"{HOST}:{port}")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await gateway.request("/readyz")
                if str(port) in answer.text:
                    break
            await asyncio.sleep(0.05)
    assert answer.status_code == 503
    with pytest.raises(InvalidStatus) as refusal:
        async with gateway.connect():
            pass
    assert refusal.value.response.status_code == 503
    assert json.loads(refusal.value.response.body or b"")["error"]["code"] == "unavailable"

    async with Wire(rocketmq.endpoints, port):
        await gateway.wait_ready(PATIENCE_SECONDS)
        async with gateway.connect() as socket:
            await opened(socket)


async def test_when_the_broker_goes_away_packets_wait_then_the_session_is_sent_elsewhere(
    gateways: Gateways, played_worker: PlayedWorker, rocketmq: SharedRocketMQ
) -> None:
    port = free_port()
    async with Wire(rocketmq.endpoints, port) as wire:
        gateway = await gateways.start(endpoints=f"{HOST}:{port}", maxPendingPackets=50)
        async with gateway.connect() as socket, gateway.connect() as brief:
            session, other = await opened(socket), await opened(brief)
            await socket.send(numbered_audio(0))
            await until(functools.partial(played_worker.has_audio, session, 1))
            wire.cut()
            await brief.send(numbered_audio(0))
            for number in range(1, 60):
                await socket.send(numbered_audio(number))
            assert await close_code(socket) == 1013
            wire.mend()
            await until(functools.partial(played_worker.has_audio, session, 50))
            await until(functools.partial(played_worker.has_audio, other, 1))
            await gateway.wait_ready(PATIENCE_SECONDS)
        numbers = played_worker.audio_numbers(session)
        assert numbers == list(range(len(numbers))), "what was taken was kept"
        lost = await gateway.metric("litevoice_gateway_packets_lost_total")
        assert lost <= 60 - len(numbers), "the rest was never read, or is counted"
