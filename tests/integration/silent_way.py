"""A way to a server on which a cut leaves behind what real ones do: connections that stay silent when it is over."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from litevoice_contracts.addresses import split_address
from litevoice_dev.ports import HOST


class SilentWay:
    """To `address`, ``host:port``. TCP tries again after longer and longer pauses, up to two minutes; here those that
    were open at a cut say nothing any more.

    Attributes:
        connections: that were made so far.
    """

    def __init__(self, address: str) -> None:
        self._far = split_address(address)
        self._cuts = self.connections = 0
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, HOST, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    def cut(self) -> None:
        """A moment long."""
        self._cuts += 1

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        await asyncio.gather(self._pump(reader, far_writer, self._cuts), self._pump(far_reader, writer, self._cuts))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, cuts: int) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await source.read(1 << 16):
                if cuts == self._cuts:
                    sink.write(data)
        sink.close()
