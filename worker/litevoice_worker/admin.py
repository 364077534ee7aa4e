"""The worker's second port: health, readiness and metrics, for probes and Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from litevoice_contracts.control import HEALTH_PATH, METRICS_PATH, READY_PATH

REQUEST_TIMEOUT_SECONDS = 5.0
MAX_HEAD_BYTES = 16 * 1024


class AdminServer:
    """HTTP/1.1, one GET per connection. `unready_reason` returns "" when the worker is ready."""

    def __init__(self, registry: CollectorRegistry, unready_reason: Callable[[], str]) -> None:
        self._registry = registry
        self._unready_reason = unready_reason
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, content_type, body = self._answer(head.split("\r\n", 1)[0].split(" "))
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        writer.close()

    def _answer(self, request: list[str]) -> tuple[str, str, bytes]:
        text = "text/plain; charset=utf-8"
        if len(request) != 3:
            return "400 Bad Request", text, b"expected a request line\n"
        method, target, _ = request
        if method != "GET":
            return "405 Method Not Allowed", text, b"only GET\n"
        match target.partition("?")[0]:
            case path if path == HEALTH_PATH:
                return "200 OK", text, b"ok\n"
            case path if path == READY_PATH:
                reason = self._unready_reason()
                return (
                    ("503 Service Unavailable", text, f"{reason}\n".encode()) if reason else ("200 OK", text, b"ok\n")
                )
            case path if path == METRICS_PATH:
                return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case _:
                return "404 Not Found", text, f"paths: {HEALTH_PATH}, {READY_PATH}, {METRICS_PATH}\n".encode()
