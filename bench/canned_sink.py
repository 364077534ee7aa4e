"""The broker's place for gateways that have none: reads messages with a length before them, confirms each with a byte.

python -m bench.canned_sink PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys

HOST = "127.0.0.1"
_LENGTH = struct.Struct(">I")


async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            await reader.readexactly(length)
            writer.write(b"\1")


async def main(port: int) -> None:
    async with await asyncio.start_server(take, HOST, port, limit=1 << 20) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
