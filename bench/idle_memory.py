"""Memory per idle WebSocket connection: picows as the gateway uses it, beside picows on uvloop's own transport,
aiohttp and websockets, in one run.

    .venv/bin/python bench/idle_memory.py [--connections 2000]

Each server is a process of its own; this one holds the clients' sockets. Measured is the server's resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop

HOST = "127.0.0.1"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
Serve = Callable[[], Awaitable[int]]


async def picows(**options: Any) -> int:
    from picows import WSListener, ws_create_server

    server = await ws_create_server(
        lambda _request: WSListener(), HOST, 0, backlog=4096, read_buffer_init_size=1024, **options
    )
    _keep.append(server)
    return int(server.sockets[0].getsockname()[1])


async def picows_aiofastnet() -> int:
    from litevoice_gateway.server import PICOWS_OPTIONS

    return await picows(**PICOWS_OPTIONS)


async def picows_uvloop() -> int:
    return await picows(use_aiofastnet=False)


async def aiohttp() -> int:
    from aiohttp import web

    async def handle(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.receive()
        return response

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, backlog=4096)
    await site.start()
    _keep.append(runner)
    return int(runner.addresses[0][1])


async def websockets() -> int:
    from websockets.asyncio.server import ServerConnection, serve

    async def handle(connection: ServerConnection) -> None:
        await connection.wait_closed()

    server = await serve(handle, HOST, 0, compression=None, ping_interval=None, backlog=4096)
    _keep.append(server)
    return int(next(iter(server.sockets)).getsockname()[1])


SERVERS: dict[str, Serve] = {
    "picows, aiofastnet (the gateway's)": picows_aiofastnet,
    "picows, uvloop's transport": picows_uvloop,
    "aiohttp": aiohttp,
    "websockets": websockets,
}
_keep: list[object] = []


def run_server(name: str, pipe: Connection) -> None:
    async def run() -> None:
        pipe.send(await SERVERS[name]())
        await asyncio.Event().wait()

    uvloop.run(run())


def resident_bytes(pid: int) -> int:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def connect(port: int, connections: int) -> list[socket.socket]:
    """Upgraded connections; each has got its answer."""
    clients = []
    for _ in range(connections):
        client = socket.create_connection((HOST, port))
        client.sendall(REQUEST)
        if not client.recv(4096).startswith(b"HTTP/1.1 101"):
            raise RuntimeError("the server did not upgrade")
        clients.append(client)
    return clients


def bytes_per_connection(name: str, connections: int) -> float:
    """The first connections, which fill the server's pools, do not count."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=run_server, args=(name, theirs), daemon=True)
    server.start()
    try:
        port = ours.recv()
        assert server.pid is not None
        warm = connect(port, connections // 10)
        before = resident_bytes(server.pid)
        clients = connect(port, connections)
        after = resident_bytes(server.pid)
        for client in (*warm, *clients):
            client.close()
    finally:
        server.kill()
    return (after - before) / connections


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2000, help="per server (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    peer = 0.0
    for name in SERVERS:
        found = bytes_per_connection(name, chosen.connections)
        peer = peer or found
        print(f"{name:38} {found / 1024:6.1f} KiB per connection, {found / peer:.2f} times the gateway's", flush=True)


if __name__ == "__main__":
    main()
