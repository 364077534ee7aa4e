"""Proxies that never answer, and a broker that refuses: told, left, and gone on with when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess
from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.lite.channel import REFUSED_SECONDS, Delivery
from litevoice_broker.producer import Producer
from litevoice_broker.remoting import RemotingClient
from litevoice_contracts.names import Names
from litevoice_dev.ports import HOST
from tests.integration.sending import send_fifo, send_lite
from tests.integration.shared_rocketmq import AnyRocketMQ
from tests.integration.silent_way import SilentWay
from tests.waiting import until

LEFT_SECONDS = 8.0
PATIENCE_SECONDS = 2.0
CREATE_GROUP = 200
CLUSTER_INFO = 106


@pytest.mark.parametrize("gives_up", ["the caller", "the call"])
async def test_trap_a_connection_that_was_cut_stays_silent_after_the_cut(gives_up: str, rocketmq: AnyRocketMQ) -> None:
    """Questions to the broker had no answer for 16 s after a node was there again, and sessions were taken back."""
    async with SilentWay(rocketmq.name_server) as way:
        seconds = 30.0 if gives_up == "the caller" else PATIENCE_SECONDS
        client = RemotingClient(way.address, access=AdminAccess(), timeout_seconds=seconds)
        for _ in range(2):
            await client.call(CLUSTER_INFO)
        way.cut()
        other = asyncio.create_task(client.call(CLUSTER_INFO))
        with pytest.raises((TimeoutError, BrokerUnavailable)):
            async with asyncio.timeout(PATIENCE_SECONDS + 1):
                await client.call(CLUSTER_INFO)
        with pytest.raises(BrokerUnavailable):
            await other
        await client.call(CLUSTER_INFO)
        assert way.connections == 2
        await client.close()


@contextlib.asynccontextmanager
async def accepts_and_is_silent() -> AsyncIterator[int]:
    """A TCP server that reads and never writes: neither HTTP/2 nor a TLS handshake gets anywhere."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def swallows_connections() -> AsyncIterator[int]:
    """A full backlog: the kernel drops what asks for a connection, as a firewall would."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind((HOST, 0))
        listening.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@contextlib.asynccontextmanager
async def takes_settings_and_is_silent() -> AsyncIterator[int]:
    """A gRPC server whose telemetry stream is accepted and stays empty."""

    async def telemetry(requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            await asyncio.Event().wait()
        yield b""

    handlers = {"Telemetry": grpc.stream_stream_rpc_method_handler(telemetry)}
    server = grpc.aio.server()
    service = "apache.rocketmq.v2.MessagingService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@pytest.mark.parametrize("proxy", [accepts_and_is_silent, swallows_connections, takes_settings_and_is_silent])
async def test_a_proxy_that_never_answers_is_told_and_left_for_the_next(
    kit: Any, proxy: Callable[[], contextlib.AbstractAsyncContextManager[int]]
) -> None:
    async with proxy() as port:
        config = kit.config("producer", endpoints=f"{HOST}:{port};{kit.endpoints}")
        producer = kit.closed_later(Producer(config, kit.names.partition_topics))
        producer._connection._next_address = 0
        reasons: list[str] = []
        producer.on_health(lambda: reasons.append(producer.unready_reason))
        await producer.start()
        started = time.monotonic()
        await producer.wait_ready(60)
        assert time.monotonic() - started < LEFT_SECONDS
        assert any(f"endpoints: cannot reach proxy {HOST}:{port}" in reason for reason in reasons)
        await send_fifo(producer, kit.names.partition_topic(0), "g", {}, b"x")


async def test_a_tls_handshake_that_never_ends_is_told(kit: Any) -> None:
    async with accepts_and_is_silent() as port:
        config = kit.config("producer", endpoints=f"{HOST}:{port}", tls=True)
        producer = kit.closed_later(Producer(config, kit.names.partition_topics))
        await producer.start()
        async with asyncio.timeout(LEFT_SECONDS):
            await until(lambda: f"cannot reach proxy {HOST}:{port}" in producer.unready_reason)


async def let_consume(admin: Admin, names: Names, group: str, topic: str, *, enabled: bool) -> None:
    attributes = {"+lite.bind.topic": topic, "+lite.sub.model": "Exclusive"} if topic else {}
    body = {"groupName": group, "consumeEnable": enabled, "consumeMessageOrderly": True, "attributes": attributes}
    for address in (await admin.cluster.masters()).values():
        await admin.cluster.client(address).call(CREATE_GROUP, {}, json.dumps(body).encode())
    assert await admin.names_exist(names) == []


@pytest.mark.timeout(120)
async def test_polls_that_are_refused_make_their_client_unready(kit: Any, admin: Admin, names: Names) -> None:
    """The groups may not consume any more."""
    seen: list[Delivery] = []
    took: list[bytes] = []

    async def take(messages: Any) -> None:
        took.extend(message.body for message in messages)

    channel = await kit.channel(seen.append)
    consumer = await kit.consumer(0, take)
    producer = await kit.producer()
    await channel.subscribe(["s-refused"])
    groups = ((names.gateway_group, names.reply_topic), (names.worker_group, ""))
    for group, topic in groups:
        await let_consume(admin, names, group, topic, enabled=False)
    await until(lambda: not channel.ready and not consumer.ready, timeout_seconds=3 * REFUSED_SECONDS)
    assert "not allowed to consume" in channel.unready_reason
    assert "ReceiveMessage" in consumer.unready_reason
    for group, topic in groups:
        await let_consume(admin, names, group, topic, enabled=True)
    await send_lite(producer, names.reply_topic, "s-refused", b"down")
    await send_fifo(producer, names.partition_topic(0), "g", {}, b"up")
    await until(lambda: [delivery.body for delivery in seen] == [b"down"] and took == [b"up"])
    await until(lambda: channel.ready and consumer.ready)
