"""Callers of `bench.alerts` who do not read what they are sent: it waits for them at the broker."""

from __future__ import annotations

import asyncio
import json
import time
from types import TracebackType

from websockets.asyncio.client import ClientConnection

from bench.alerts_owner import Owner
from litevoice_contracts import events, metrics
from litevoice_contracts.envelopes import DownEnvelope
from tests.integration.operator.test_alerts import GatewayPod

SPEECH = bytes(480_000)
"""Ten seconds of it, of which some fit into the sockets' buffers."""
PATIENCE_SECONDS = 60.0
SETTLE_SECONDS = 0.5


class SlowReader:
    """A caller of `pod`, to whom `owner` sends until he is behind; from then on nothing of it is in the pod."""

    def __init__(self, pod: GatewayPod, owner: Owner) -> None:
        self._pod, self._owner = pod, owner
        self._socket: ClientConnection | None = None
        self.session = ""

    async def __aenter__(self) -> SlowReader:
        socket = self._socket = await self._pod.connect(max_queue=1)
        self.session = json.loads(await socket.recv())["session"]["id"]
        slow = self._slow()
        await self._say(events.ResponseStarted("r1", "i1"))
        socket.transport.pause_reading()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._slow() == slow:
            await self._say(events.AudioDelta("r1", "i1", SPEECH))
            if time.monotonic() > deadline:
                raise TimeoutError("a caller who reads nothing is no slow reader")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.transport.abort()

    async def wait(self, messages: int) -> None:
        """Until so many wait for him; raises ValueError when there are more already. They are there on return."""
        while (waiting := await self._owner.waiting(self.session)) != messages:
            if waiting > messages:
                raise ValueError(f"{waiting} messages wait already")
            for _ in range(messages - waiting):
                await self._say(events.AudioDelta("r1", "i1", b"\0\0"))

    async def settled(self) -> None:
        """Until the gateway takes none of the messages that wait."""
        before = -1
        while (waiting := await self._owner.waiting(self.session)) != before:
            before = waiting
            await asyncio.sleep(SETTLE_SECONDS)

    def _slow(self) -> float:
        return self._pod.metric(metrics.GATEWAY_SLOW_READERS)

    async def _say(self, happened: events.DownEvent) -> None:
        await self._owner.say(self.session, DownEnvelope(0, 1, [happened]).encode())
