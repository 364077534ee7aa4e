"""The gateway's way in, WebSocket conformance, the unchanged openai client, and the second port: real processes, real
RocketMQ. `websockets` is the oracle for the wire; the test plays the worker."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets
from openai import AsyncOpenAI
from websockets.exceptions import InvalidStatus

from litevoice_contracts import events
from litevoice_contracts.conversation import Snapshot
from litevoice_contracts.packets import EpochEnd, Update
from litevoice_dev.ports import HOST
from tests.integration.gateway.process import (
    ALICE,
    BOB,
    Gateways,
    PlayedWorker,
    close_code,
    expect_error,
    numbered_audio,
    opened,
)
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.timeout(420)

# The way in


async def test_upgrade_refusals_are_json_before_the_upgrade(gateways: Gateways) -> None:
    gateway = await gateways.start()

    async def refused(key: str | None, query: str = "model=test") -> tuple[int, str]:
        with pytest.raises(InvalidStatus) as refusal:
            async with gateway.connect(key, query=query):
                pass
        response = refusal.value.response
        assert response.headers["Content-Type"] == "application/json"
        return response.status_code, json.loads(response.body or b"{}")["error"]["code"]

    assert await refused(None) == (401, "invalid_api_key")
    assert await refused("wrong") == (401, "invalid_api_key")
    assert await refused(ALICE, "session_id=s_made_up") == (403, "session_not_yours")
    async with gateway.connect() as socket:
        session = await opened(socket)
    assert await refused(BOB, f"session_id={session}") == (403, "session_not_yours")
    assert await refused(ALICE, f"session_id={session}&last_event_id=17") == (400, "invalid_value")
    assert await gateway.metric("litevoice_gateway_connections_total", outcome="unauthorized") == 2
    assert await gateway.metric("litevoice_gateway_connections_total", outcome="forbidden") == 2
    assert ALICE not in gateway.log.read_text()


async def test_browsers_get_in(gateways: Gateways) -> None:
    gateway = await gateways.start()
    protocols = [websockets.Subprotocol("realtime"), websockets.Subprotocol(f"openai-insecure-api-key.{ALICE}")]
    async with gateway.connect(None, subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        await opened(socket)
    reader, writer = await asyncio.open_connection(HOST, gateway.port)
    writer.write(
        f"GET /v1/realtime?model=m HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}"
        f"\r\napi-key: {ALICE}\r\n\r\n".encode()
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 101"), "the header as Firefox writes it"
    writer.close()


async def test_a_full_gateway_says_try_again_later(gateways: Gateways) -> None:
    gateway = await gateways.start(maxSessions=1)
    async with gateway.connect() as first:
        await opened(first)
        async with gateway.connect() as second:
            assert await close_code(second) == 1013
    assert await gateway.metric("litevoice_gateway_connections_total", outcome="overload") == 1


# WebSocket conformance, with `websockets` as the oracle


async def test_conformance(gateways: Gateways, played_worker: PlayedWorker) -> None:
    gateway = await gateways.start(maxFrameBytes=4096)
    async with gateway.connect() as socket:
        session = await opened(socket)
        await asyncio.wait_for(await socket.ping(b"are you there"), PATIENCE_SECONDS)

        async def pieces() -> AsyncIterator[str]:
            text = numbered_audio(1)
            for start in range(0, len(text), 100):
                yield text[start : start + 100]
                if start == 300:
                    await asyncio.wait_for(await socket.ping(), PATIENCE_SECONDS)

        await socket.send(pieces())
        await until(lambda: played_worker.audio_numbers(session) == [1])

        await socket.send(b"binary")
        await expect_error(socket, "invalid_message")
        await socket.send("no json")
        await expect_error(socket, "invalid_json")
        await socket.send('{"type":"input_audio_buffer.append","audio":"*","event_id":"mine"}')
        error = await expect_error(socket, "invalid_base64")
        assert (error["error"]["param"], error["error"]["event_id"]) == ("audio", "mine")
        await socket.send(numbered_audio(3))
        await until(lambda: played_worker.audio_numbers(session) == [1, 3])
        socket.transport.write(b"\x89\x80\0\0\0\0" * 500)  # empty pings: more than a client may send of anything
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await gateway.metric("litevoice_gateway_client_errors_total", code="rate_limited"):
                await asyncio.sleep(0.02)
        await socket.close(1000, "done")
        assert socket.close_code == 1000
    await until(lambda: played_worker.packets(session)[-1:] == [EpochEnd()])


MAX_FRAME_BYTES = 70_000
BROKEN_FRAMES = {
    "no UTF-8": (b"\x81\x84\0\0\0\0\xff\xfe\xfd\xfc", 1007, True),
    "stray continuation": (b"\x80\x81\0\0\0\0x", 1002, True),
    "reserved bit": (b"\xc1\x81\0\0\0\0x", 1002, True),
    "unknown opcode": (b"\x83\x81\0\0\0\0x", 1002, False),
    "unmasked": (b"\x81\x01x", 1002, False),
    "a byte too many": (b"\x81\xff" + struct.pack(">Q", MAX_FRAME_BYTES + 1) + b"\0\0\0\0", 1009, False),
    "a byte too many, in fragments": (
        b"\x01\xff" + struct.pack(">Q", MAX_FRAME_BYTES) + bytes(4 + MAX_FRAME_BYTES) + b"\x80\x81\0\0\0\0x",
        1009,
        True,
    ),
}


async def test_broken_frames_close_with_the_right_code(gateways: Gateways) -> None:
    gateway = await gateways.start(maxFrameBytes=MAX_FRAME_BYTES)
    for what, (frame, code, explained) in BROKEN_FRAMES.items():
        async with gateway.connect() as socket:
            await opened(socket)
            socket.transport.write(frame)
            if explained:
                await expect_error(socket, "protocol_error")
            assert await close_code(socket) == code, what
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await gateway.request("/v1/status")).json()["sessions"]:
            await asyncio.sleep(0.02)


async def test_who_is_gone_fills_no_log(gateways: Gateways) -> None:
    gateway = await gateways.start()
    async with gateway.connect() as socket:
        await opened(socket)
        before = len(gateway.log.read_text().splitlines())
        socket.transport.write(b"\x81\x80\0\0\0\0" * 20_000)  # each is answered with an error
        socket.transport.abort()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await gateway.request("/v1/status")).json()["sessions"]:
            await asyncio.sleep(0.02)
    told = gateway.log.read_text().splitlines()[before:]
    assert len(told) <= 2, told[:5]


# A conversation with the unchanged client


async def test_the_openai_client_talks_through_the_broker(gateways: Gateways, played_worker: PlayedWorker) -> None:
    gateway = await gateways.start()
    client = AsyncOpenAI(api_key=ALICE, websocket_base_url=gateway.url, base_url="http://x/v1")
    async with client.realtime.connect(model="test") as connection:
        created = await asyncio.wait_for(connection.recv(), PATIENCE_SECONDS)
        assert created.type == "session.created"
        session = str(created.session.id)  # type: ignore[union-attr]
        await connection.session.update(session={"type": "realtime", "instructions": "be brief"})
        await until(lambda: played_worker.packets(session))
        (updated,) = played_worker.packets(session)
        assert isinstance(updated, Update)
        assert updated.config.instructions == "be brief"
        await played_worker.say(session, events.SessionUpdated(), snapshot=Snapshot(config=updated.config))
        answer = await asyncio.wait_for(connection.recv(), PATIENCE_SECONDS)
        assert answer.type == "session.updated"
        assert answer.session.instructions == "be brief"  # type: ignore[union-attr]
        await connection.input_audio_buffer.append(audio=base64.b64encode(bytes(960)).decode())
        await played_worker.say(session, events.ResponseStarted("r1", "i1", metadata={"k": "v"}))
        await played_worker.say(
            session, events.TextDelta("r1", "i1", "Hello."), events.AudioDelta("r1", "i1", b"\0\1" * 480)
        )
        await played_worker.say(
            session, events.ResponseFinished("r1", "i1", "completed", "Hello."), snapshot=Snapshot()
        )
        got = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for event in connection:
                got.append(event)
                if event.type == "response.done":
                    break
        assert got[0].type == "response.created"
        assert got[0].response.metadata == {"k": "v"}
        assert got[-1].type == "response.done"
        assert got[-1].event_id == "evt_3_3_5"
    await client.close()


# The second port


async def test_admin_api(gateways: Gateways, played_worker: PlayedWorker) -> None:
    gateway = await gateways.start()
    assert (await gateway.request("/v1/status", token="wrong")).status_code == 401
    assert (await gateway.request("/healthz", token="")).status_code == 200
    for query, field_name in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=1001", "limit"),
        ("sort=name", "sort"),
    ]:
        answer = await gateway.request(f"/v1/sessions?{query}")
        assert answer.status_code == 400
        assert field_name in answer.json()["error"]["message"]
    assert (await gateway.request("/v1/drain", post=True, body={"policy": "Later"})).status_code == 400
    async with gateway.connect() as first, gateway.connect(BOB) as second:
        one, two = await opened(first), await opened(second)
        for number in range(5):
            await second.send(numbered_audio(number))
        await until(lambda: len(played_worker.packets(two)) == 5)
        listed = (await gateway.request("/v1/sessions?limit=1&sort=requests")).json()
        assert listed["total"] == 2
        (top,) = listed["sessions"]
        assert (top["session_id"], top["principal"]) == (two, "bob")
        assert 1 <= top["pending_requests"] <= 5, "messages; a message holds one packet or several"
        assert (await gateway.request(f"/v1/sessions/{one}")).json()["principal"] == "alice"
        status = (await gateway.request("/v1/status")).json()
        assert (status["sessions"], status["ready"], status["pod"]) == (2, True, "gateway-0")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await gateway.metric("litevoice_gateway_packets_published_total") < 5:
                await asyncio.sleep(0.02)
        assert await gateway.metric("litevoice_gateway_sessions") == 2
    assert (await gateway.request("/v1/sessions/nobody")).status_code == 404


async def test_check_config(gateways: Gateways, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"listenPort": "http", "brokr": {}}')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "litevoice_gateway", "--config", str(bad), "--check-config"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, text = await process.communicate()
    assert process.returncode == 2
    for field_name in (b"listenPort", b"brokr", b"apiKeysDir"):
        assert field_name in text
