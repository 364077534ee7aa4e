"""TLS in front of a gateway on this machine: what clients that insist on `wss:` connect to."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import InvalidMessage

from litevoice_dev import tls
from litevoice_dev.ports import HOST, free_port


async def test_a_client_that_trusts_the_certificate_gets_through_and_no_other(tmp_path: Path) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    certificate, port = tls.certificate(tmp_path / "tls"), free_port()
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o077 == 0, "nobody else reads the key"
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serve_websockets(echo, HOST, 0) as behind:
        target = next(iter(behind.sockets)).getsockname()[:2]
        front = await tls.serve(certificate, port, target)
        async with asyncio.timeout(30):
            async with connect(f"wss://localhost:{port}/", ssl=trusting, proxy=None) as socket:
                await socket.send("x" * 200_000)
                assert await socket.recv() == "x" * 200_000
            with pytest.raises(ssl.SSLCertVerificationError):
                async with connect(f"wss://localhost:{port}/", proxy=None):
                    pass
    with pytest.raises(InvalidMessage):  # nobody is behind it any more
        async with asyncio.timeout(30), connect(f"wss://localhost:{port}/", ssl=trusting, proxy=None):
            pass
    front.close()
