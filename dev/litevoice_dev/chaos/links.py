"""TCP ways between two processes that can be cut: connections are refused, reset, swallowed or slow."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from litevoice_dev.ports import HOST, free_port

DELAY_SECONDS = 0.3
"""What comes in meanwhile goes on together with it: later, not slower."""
_CHUNK_BYTES = 65_536


class Link:
    """A way from a port of its own to a port of this machine. Bytes keep their order, whatever happens to it.

    Attributes:
        mode: ``open``, or one of the schedule's LINK_MODES. ``reset`` ends what is open and takes new connections.
    """

    def __init__(self, far_port: int) -> None:
        self.port = free_port()
        self.mode = "open"
        self._far_port = far_port
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, HOST, self.port)
        return self

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self, mode: str) -> None:
        """Raises ValueError for an unknown mode."""
        if mode not in ("refuse", "reset", "black-hole", "delay"):
            raise ValueError(f"mode: refuse, reset, black-hole or delay, got {mode!r}")
        self.mode = mode
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        if mode in ("refuse", "reset"):
            self._abort()
        if mode == "black-hole":
            self._flows.clear()

    async def mend(self) -> None:
        """What was held up flows on; what a black hole swallowed was held up."""
        self.mode = "open"
        self._flows.set()
        if self._server is None:
            await self.start()

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection(HOST, self._far_port)
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(far_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        self._tasks.update(pumps)
        try:
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._tasks.difference_update(pumps)
            for end in (writer, far_writer):
                self._open.discard(end)
                end.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """One direction. An end of the stream is passed on; a reset resets the other side, too."""
        try:
            while data := await source.read(_CHUNK_BYTES):
                if self.mode == "delay":
                    await asyncio.sleep(DELAY_SECONDS)
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
            await self._flows.wait()
            with contextlib.suppress(OSError, RuntimeError):
                sink.write_eof()
        except ConnectionError:
            sink.transport.abort()
