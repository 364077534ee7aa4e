"""Two protocols at one port of a real gateway process: the unchanged core serves one that it has never seen."""

from __future__ import annotations

import asyncio

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from litevoice_contracts import events
from litevoice_contracts.packets import Audio, EpochEnd
from tests.integration.gateway.process import ALICE, Gateways, PlayedWorker, close_code, opened
from tests.unit.gateway.echo_protocol import ACK, GOAWAY, HELLO, SOUND, SUBPROTOCOL
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.timeout(420)


async def receive(socket: ClientConnection) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        message = await socket.recv()
    assert isinstance(message, bytes)
    return message


async def test_binary_frames_acknowledgements_and_goaway(gateways: Gateways, played_worker: PlayedWorker) -> None:
    gateway = await gateways.start(module="tests.integration.gateway.echo_gateway")

    def echo(key: str) -> connect:
        url = f"{gateway.url}/realtime?key={key}"
        return connect(url, subprotocols=[websockets.Subprotocol(SUBPROTOCOL)], proxy=None)

    with pytest.raises(InvalidStatus) as refusal:
        async with echo("wrong"):
            pass
    assert refusal.value.response.body == b'{"no": "invalid_api_key"}'

    async with gateway.connect(query="can_return=true") as openai, echo(ALICE) as socket:
        await opened(openai)
        hello = await receive(socket)
        session, codec = hello.removeprefix(HELLO).decode().split()
        assert codec == "g711_ulaw/8000"
        for number in range(1, 4):
            await socket.send(number.to_bytes(4, "big") + bytes([number]) * 160)
        acknowledged = 0
        while acknowledged < 3:
            ack = await receive(socket)
            assert ack.startswith(ACK)
            acknowledged = int.from_bytes(ack[1:], "big")
        await until(lambda: len(played_worker.packets(session)) == 3)
        assert played_worker.packets(session) == [Audio(bytes([number]) * 160) for number in range(1, 4)]
        await played_worker.say(session, events.SpeechStarted("i1", 0))
        await played_worker.say(session, events.AudioDelta("r1", "i2", b"sound"))
        assert await receive(socket) == SOUND + bytes(7) + b"\1sound"
        await gateway.request("/v1/drain", post=True)
        assert await receive(socket) == GOAWAY, "while the turn is open, before any Close"
        assert await close_code(socket) == 1012
        assert await close_code(openai) == 1012
    await until(lambda: played_worker.packets(session)[-1:] == [EpochEnd()])
