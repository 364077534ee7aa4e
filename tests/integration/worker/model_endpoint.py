"""A real HTTP server in the shape of OpenAI's API, which records requests and answers what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from litevoice_contracts.conversation import Codec
from litevoice_contracts.settings import OpenAICompatible
from litevoice_dev.ports import free_port
from litevoice_worker.commands import StageContext
from litevoice_worker.stages import pieces_of
from litevoice_worker.stages.synthesize_openai import OpenAISynthesizer
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber, OpenAITranscriptionOptions
from tests.stage_context import CONTEXT

Send = Callable[[bytes], Awaitable[None]]


@dataclass
class Endpoint:
    """An HTTP server that records requests and answers what the test says.

    Attributes:
        pieces: parts of the body, written one by one; `hang`: seconds before each part after the first.
        gate: what these wait for.
        cut: the connection is closed in the middle of the body.
    """

    status: int = 200
    pieces: list[bytes] = field(default_factory=list)
    hang: float = 0.0
    silent: bool = False
    content_type: str = "text/plain"
    gate: asyncio.Event | None = None
    cut: bool = False
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    async def __aenter__(self) -> Endpoint:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def settings(self, **more: Any) -> OpenAICompatible:
        return OpenAICompatible(base_url=f"http://127.0.0.1:{self.port}/v1", model="m", **more)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
                body = await self._body(reader, headers)
                self.requests.append((head[0], headers, body))
                if self.silent:
                    await asyncio.sleep(60)
                await self._answer(writer)
                if self.cut:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            return body
        return await reader.readexactly(int(headers.get("content-length", "0")))

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"HTTP/1.1 {self.status} X\r\nContent-Type: {self.content_type}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        for number, piece in enumerate(self.pieces):
            if number and self.hang:
                await writer.drain()
                await asyncio.sleep(self.hang)
            if number and self.gate is not None:
                await self.gate.wait()
            if piece:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
        if not self.cut:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


SAMPLES = np.arange(-8000, 8000, dtype=np.int16)


async def transcript(transcriber: OpenAITranscriber, of: StageContext = CONTEXT) -> str:
    return "".join([piece async for piece in pieces_of(transcriber.transcribe(SAMPLES, of))])


def options(*endpoints: OpenAICompatible, stream: bool = False) -> OpenAITranscriptionOptions:
    return OpenAITranscriptionOptions(endpoints=list(endpoints), stream=stream)


async def said(
    synthesizer: OpenAISynthesizer, codec: Codec = "pcm16/24000", voice: str = "default", speed: float = 1.0
) -> bytes:
    return b"".join([piece async for piece in synthesizer.synthesize("Hello.", voice, speed, codec, CONTEXT)])
