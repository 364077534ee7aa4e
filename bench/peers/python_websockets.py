"""A gateway as one would write it in Python with `websockets`, as far as the measurement needs one: accepts, reads
append events, decodes their audio, collects 100 ms of each session, and writes one message per partition and beat to a
canned sink on this machine, which confirms each.

    python -m bench.peers.python_websockets LISTEN_PORT SINK_PORT
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import struct
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

HOST = "127.0.0.1"
PARTITIONS = 8
BEAT_SECONDS = 0.1
CREATED = json.dumps({"type": "session.created", "session": {"type": "realtime"}})
_HEADER = struct.Struct(">32sQII")
_LENGTH = struct.Struct(">I")


class Partition:
    """What waits for the next beat, by session: first number, packets, audio."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, list[bytes]]] = {}

    def add(self, session: int, sequence: int, audio: bytes) -> None:
        self._waiting.setdefault(session, (sequence, []))[1].append(audio)

    async def depart(self, sink_port: int, offset_seconds: float) -> None:
        """One message per beat: a length, then each session's id, first number, packets, bytes and audio. One is in
        flight at a time, as with a broker that must keep the order."""
        reader, writer = await asyncio.open_connection(HOST, sink_port)
        loop = asyncio.get_running_loop()
        beat = loop.time() + offset_seconds
        while True:
            beat += BEAT_SECONDS
            await asyncio.sleep(max(0.0, beat - loop.time()))
            waiting, self._waiting = self._waiting, {}
            if not waiting:
                continue
            message = bytearray()
            for session, (first, packets) in waiting.items():
                audio = b"".join(packets)
                message += _HEADER.pack(b"%032d" % session, first, len(packets), len(audio)) + audio
            writer.write(_LENGTH.pack(len(message)) + message)
            await writer.drain()
            await reader.readexactly(1)


async def main(listen_port: int, sink_port: int) -> None:
    partitions = [Partition() for _ in range(PARTITIONS)]
    sessions = itertools.count()

    async def connection(socket: ServerConnection) -> None:
        session = next(sessions)
        partition = partitions[session % PARTITIONS]
        sequence = 0
        try:
            await socket.send(CREATED)
            async for message in socket:
                event = json.loads(message)
                if event["type"] == "input_audio_buffer.append":
                    partition.add(session, sequence, base64.b64decode(event["audio"]))
                    sequence += 1
        except ConnectionClosed:
            pass

    departures = [
        asyncio.create_task(partition.depart(sink_port, BEAT_SECONDS * number / PARTITIONS))
        for number, partition in enumerate(partitions)
    ]
    async with serve(connection, HOST, listen_port, compression=None):
        await asyncio.gather(*departures)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
