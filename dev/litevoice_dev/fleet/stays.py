"""Callers who cannot come back: their calls are theirs to end, whatever becomes of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from litevoice_dev.fleet.records import Stay

CALL_SECONDS = (20.0, 40.0)
QUESTION_SECONDS = 5.0
REFUSED_SECONDS = 1.0
_ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "tell me a story"}]}
_MESSAGES = (
    {"type": "conversation.item.create", "item": _ITEM},
    {"type": "response.create", "response": {"output_modalities": ["text"]}},
)


@dataclass
class Stayer:
    """`stays`: all calls that are over. A call that was refused is none, and is tried again."""

    number: int
    urls: Sequence[str]
    key: str
    seed: int = 0
    stays: list[Stay] = field(default_factory=list)

    async def run(self) -> None:
        """Until it is cancelled, which hangs up."""
        chance = random.Random(self.seed * 1000 + self.number)
        while True:
            if not await self._call(chance.uniform(*CALL_SECONDS)):
                await asyncio.sleep(REFUSED_SECONDS)

    async def _call(self, seconds: float) -> bool:
        try:
            async with connect(
                f"{self.urls[0]}/realtime?model=litevoice",
                additional_headers={"Authorization": f"Bearer {self.key}"},
                compression=None,
                max_size=None,
                proxy=None,
                ping_interval=2,
                ping_timeout=10,
            ) as socket:
                if json.loads(await socket.recv())["type"] != "session.created":
                    return False
                await self._stay(socket, time.monotonic(), seconds)
                return True
        except (OSError, InvalidHandshake, InvalidMessage, EOFError, ConnectionClosed, TimeoutError):
            return False

    async def _stay(self, socket: ClientConnection, began: float, seconds: float) -> None:
        asking = asyncio.create_task(self._ask(socket))
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await socket.recv()
        except TimeoutError:
            self.stays.append(Stay(self.number, began, time.monotonic(), hung_up=True))
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            self.stays.append(Stay(self.number, began, time.monotonic(), hung_up=False, code=code))
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

    async def _ask(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                for message in _MESSAGES:
                    await socket.send(json.dumps(message))
                await asyncio.sleep(QUESTION_SECONDS)
