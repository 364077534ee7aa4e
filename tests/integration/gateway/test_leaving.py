"""What waits at the broker tells whether a client has left, or its gateway was killed and it may come back."""

from __future__ import annotations

import asyncio
import struct

import pytest

from litevoice_broker.admin import Admin
from litevoice_contracts import events
from litevoice_contracts.names import Names
from tests.integration.gateway.process import Gateways, PlayedWorker, opened, receive
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.timeout(300)

WAITING = 20


async def until_waiting(admin: Admin, names: Names, messages: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await admin.lite_lag(names.gateway_group, 10)).total != messages:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("says_so", [True, False], ids=["with a Close", "without a word"])
async def test_nothing_waits_for_a_client_that_has_left(
    says_so: bool, gateways: Gateways, played_worker: PlayedWorker, admin: Admin, names: Names
) -> None:
    gateway = await gateways.start(sendBufferBytes=65536)
    socket = await gateway.connect(max_queue=1)
    session = await opened(socket)
    await played_worker.say(session, events.ResponseStarted("r1", "i1"))
    socket.transport.pause_reading()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await gateway.request("/v1/status")).json()["slow_readers"] == 0:
            await played_worker.say(session, events.AudioDelta("r1", "i1", bytes(480_000)))
    for number in range(WAITING):
        await played_worker.say(session, events.AudioDelta("r1", "i1", struct.pack("<I", number)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await admin.lite_lag(names.gateway_group, 10)).total < WAITING:
            await asyncio.sleep(0.2)

    if says_so:
        socket.transport.resume_reading()
        await socket.close()
    else:
        socket.transport.abort()
    await until_waiting(admin, names, 0)
    await played_worker.say(session, events.AudioDelta("r1", "i1", b"late"))
    await until_waiting(admin, names, 0)


async def test_what_waits_for_the_clients_of_a_killed_gateway_still_waits(
    gateways: Gateways, played_worker: PlayedWorker, admin: Admin, names: Names
) -> None:
    gateway, other = await gateways.start(), await gateways.start()
    async with gateway.connect() as socket:
        session = await opened(socket)
        await played_worker.say(session, events.ResponseStarted("r1", "i1"))
        seen = (await receive(socket))["event_id"]
        await until_waiting(admin, names, 0)
        gateway.kill()
        for number in range(WAITING):
            await played_worker.say(session, events.AudioDelta("r1", "i1", struct.pack("<I", number)))
        await until_waiting(admin, names, WAITING)
    async with other.connect(query=f"session_id={session}&last_event_id={seen}"):
        await until_waiting(admin, names, 0)
