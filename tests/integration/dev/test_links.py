"""The links between the processes of a chaos run, with real sockets: what they pass on, and how they are cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from litevoice_dev.chaos.links import DELAY_SECONDS, Link
from litevoice_dev.ports import HOST, free_port

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """To somebody who gives back all that it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    port = free_port()
    server = await asyncio.start_server(echo, HOST, port)
    link = await Link(port).start()
    yield link
    await link.close()
    server.close()


async def opened(link: Link) -> Streams:
    return await asyncio.open_connection(HOST, link.port)


async def echoed(streams: Streams, data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    async with asyncio.timeout(10):
        return await reader.readexactly(len(data))


async def test_everything_comes_through_in_order_and_so_does_the_end(link: Link) -> None:
    reader, writer = streams = await opened(link)
    data = bytes(number % 251 for number in range(1_000_000))
    sending = asyncio.create_task(echoed(streams, data))
    assert await sending == data
    writer.write_eof()
    assert await reader.read() == b""


@pytest.mark.parametrize("mode", ["refuse", "reset"])
async def test_what_is_open_is_reset(link: Link, mode: str) -> None:
    streams = await opened(link)
    assert await echoed(streams, b"before") == b"before"
    await link.cut(mode)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await echoed(streams, b"during")
    if mode == "refuse":
        with pytest.raises(ConnectionRefusedError):
            await opened(link)
    else:
        assert await echoed(await opened(link), b"again") == b"again"
    await link.mend()
    assert await echoed(await opened(link), b"after") == b"after"


async def test_a_black_hole_gives_everything_back_when_it_is_mended(link: Link) -> None:
    old = await opened(link)
    assert await echoed(old, b"before") == b"before"
    await link.cut("black-hole")
    new = await opened(link)
    waiting = [asyncio.create_task(echoed(streams, b"during")) for streams in (old, new)]
    done, _ = await asyncio.wait(waiting, timeout=0.3)
    assert not done
    await link.mend()
    assert await asyncio.gather(*waiting) == [b"during", b"during"]


async def test_delay_keeps_the_order(link: Link) -> None:
    streams = await opened(link)
    await link.cut("delay")
    began = time.monotonic()
    assert await echoed(streams, b"1") + await echoed(streams, b"2") == b"12"
    assert time.monotonic() - began >= 4 * DELAY_SECONDS


async def test_an_unknown_way_to_cut_is_named(link: Link) -> None:
    with pytest.raises(ValueError, match="mode: refuse, reset, black-hole or delay, got 'bend'"):
        await link.cut("bend")
