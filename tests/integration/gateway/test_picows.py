"""A trap of picows on uvloop: frames that are cut short for a reader that is slow now and then."""

from __future__ import annotations

import asyncio
import json
import random
import socket

import uvloop
import websockets
from picows import WSCloseCode, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from litevoice_gateway.server import PICOWS_OPTIONS

FRAMES = 6000


class Talker(WSListener):
    """Sends frames of very different sizes, and stops while the write buffer is full."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._writable = asyncio.Event()
        self._writable.set()
        transport.underlying_transport.set_write_buffer_limits(high=256 * 1024, low=64 * 1024)
        transport.underlying_transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self._task = asyncio.create_task(self._talk(transport))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _talk(self, transport: WSTransport) -> None:
        rest = random.Random(4711)
        for number in range(FRAMES):
            text = json.dumps({"number": number, "padding": "x" * rest.choice((50, 300, 12_900))})
            transport.send(WSMsgType.TEXT, text.encode())
            if rest.random() < 0.4:
                await self._writable.wait()
                await asyncio.sleep(0)
        transport.send_close(WSCloseCode.OK)


async def listen() -> list[int]:
    def greet(_request: WSUpgradeRequest) -> WSListener:
        return Talker()

    server = await ws_create_server(greet, "127.0.0.1", 0, read_buffer_init_size=1024, **PICOWS_OPTIONS)
    serving = asyncio.create_task(server.serve_forever())
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    narrow.connect(server.sockets[0].getsockname())
    narrow.setblocking(False)
    rest, numbers = random.Random(42), []
    async with websockets.connect("ws://gateway/", sock=narrow, max_queue=2, compression=None, proxy=None) as client:
        async for message in client:
            numbers.append(json.loads(message)["number"])
            if rest.random() < 0.02:
                await asyncio.sleep(rest.choice((0, 0.005, 0.05)))
    serving.cancel()
    server.close()
    return numbers


def test_a_reader_that_stumbles_gets_every_frame_whole() -> None:
    assert uvloop.run(listen()) == list(range(FRAMES))
