"""Stands in for `grpc.aio.insecure_channel`: the client's end of a link to a model proxy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio

from tests.simulation.loop import CURRENT, VirtualLoop
from tests.simulation.model.network import Link, Network, field
from tests.simulation.model.proxy import Proxy


def failure(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details, None)


class Channel:
    """One channel; connects with its first call, and never again: `Connection` makes a new one."""

    def __init__(self, network: Network, proxies: dict[str, Proxy], target: str) -> None:
        process = CURRENT.get()
        assert process is not None
        self.loop: VirtualLoop = network.loop
        self.proxy = proxies[target]
        self.link = Link(network, process, target)
        self.link.on_broken = self._broken
        self.pending: dict[asyncio.Future[Any], None] = {}
        self.streams: list[_Telemetry] = []
        self.closed = False
        if not self.proxy.up:
            self.link.alive = False
            self.link.down(self._broken)

    # --- grpc.aio.Channel

    def unary_unary(self, method: str, **_: Any) -> Callable[..., Any]:
        name = method.rpartition("/")[2]

        async def call(request: Any, metadata: Any = None, timeout: float | None = None) -> Any:
            def ask(answered: Callable[[Any], None]) -> None:
                client = field(metadata, "x-mq-client-id")
                self.link.up(lambda: self.proxy.handle(name, self.link, client, request, answered))

            return await self._ask(ask, timeout)

        return call

    def unary_stream(self, method: str, **_: Any) -> Callable[..., Any]:
        async def call(request: Any, metadata: Any = None, timeout: float | None = None) -> AsyncIterator[Any]:
            copy = type(request)()
            copy.CopyFrom(request)

            def ask(answered: Callable[[Any], None]) -> None:
                client = field(metadata, "x-mq-client-id")
                self.link.up(lambda: self.proxy.receive(self.link, client, copy, answered))

            for part in await self._ask(ask, timeout):
                yield part

        return call

    def stream_stream(self, method: str, **_: Any) -> Callable[..., Any]:
        def call(metadata: Any = None) -> _Telemetry:
            stream = _Telemetry(self, field(metadata, "x-mq-client-id"))
            self.streams.append(stream)
            return stream

        return call

    async def close(self, grace: float | None = None) -> None:
        self.closed = True
        self.link.close()
        for future in list(self.pending):
            future.cancel()
        for stream in self.streams:
            stream.end(asyncio.CancelledError())

    # --- inside

    async def _ask(self, ask: Callable[[Callable[[Any], None]], None], timeout: float | None) -> Any:
        if self.closed:
            raise grpc.aio.UsageError("Channel is closed.")
        if not self.link.open:
            await asyncio.sleep(0)
            raise failure(grpc.StatusCode.UNAVAILABLE, "connection refused")
        future: asyncio.Future[Any] = self.loop.create_future()
        self.pending[future] = None
        timer = None
        if timeout is not None:
            late = failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            timer = self.loop.call_later(timeout, _fail, future, late)
        ask(lambda answer: self.link.down(lambda: _answer(future, answer)))
        try:
            return await future
        finally:
            del self.pending[future]
            if timer is not None:
                timer.cancel()

    def _broken(self) -> None:
        self.link.open = False
        error = failure(grpc.StatusCode.UNAVAILABLE, "connection reset")
        for future in list(self.pending):
            _fail(future, error)
        for stream in self.streams:
            stream.end(error)


class _Telemetry:
    """A bidirectional stream of TelemetryCommands."""

    def __init__(self, channel: Channel, client: str) -> None:
        self._channel = channel
        self._client = client
        self._commands: deque[Any] = deque()
        self._waiting: asyncio.Future[Any] | None = None
        self._end: BaseException | None = None

    async def write(self, command: Any) -> None:
        channel = self._channel
        if self._end is not None or not channel.link.open:
            raise self._end or failure(grpc.StatusCode.UNAVAILABLE, "connection refused")
        channel.link.up(lambda: channel.proxy.greet(channel.link, self._client, command, self._tell))

    async def read(self) -> Any:
        if self._commands:
            return self._commands.popleft()
        if self._end is not None:
            raise self._end
        self._waiting = self._channel.loop.create_future()
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def cancel(self) -> None:
        self.end(asyncio.CancelledError())

    def end(self, error: BaseException) -> None:
        if self._end is None:
            self._end = error
            if self._waiting is not None and not self._waiting.done():
                if isinstance(error, asyncio.CancelledError):
                    self._waiting.cancel()
                else:
                    self._waiting.set_exception(error)

    def _tell(self, command: Any) -> None:
        """At the proxy."""
        self._channel.link.down(lambda: self._arrived(command))

    def _arrived(self, command: Any) -> None:
        if self._end is not None:
            return
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(command)
        else:
            self._commands.append(command)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _answer(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)
