"""Gateway processes for the integration tests, and a worker that the test plays through the project's broker client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import struct
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from litevoice_broker.config import BrokerConfig
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_contracts import events
from litevoice_contracts.addresses import split_address
from litevoice_contracts.conversation import Snapshot
from litevoice_contracts.envelopes import Bundle, DownEnvelope, MessageId, UpEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_contracts.names import ClientId, Names
from litevoice_contracts.packets import Packet, audio_of
from litevoice_dev import processes
from litevoice_dev.ports import HOST, free_port
from litevoice_dev.stack import Member
from tests.integration.cutting import cut_off
from tests.integration.sending import send_lite
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import PATIENCE_SECONDS

ALICE, BOB, ADMIN = "alices-secret-key", "bobs-secret-key", "the-admin-token-of-the-tests"


@dataclass
class Gateway(Member):
    """One `python -m litevoice_gateway` process."""

    port: int = 0
    admin_port: int = 0

    async def request(
        self, path: str, *, post: bool = False, method: str = "", token: str = ADMIN, body: Any = None
    ) -> httpx.Response:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            return await http.request(
                method or ("POST" if post else "GET"),
                f"{self.admin_url}{path}",
                headers={"Authorization": f"Bearer {token}"} if token else {},
                json=body,
            )

    def connect(self, key: str | None = ALICE, *, query: str = "model=test", **options: Any) -> connect:
        headers = dict(options.pop("additional_headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return connect(
            f"{self.url}/realtime?{query}",
            additional_headers=headers,
            max_size=None,
            proxy=None,
            compression=None,
            **options,
        )


class Gateways:
    """Starts gateways that share names and keys. `broker`: settings of that section, merged over the defaults."""

    def __init__(
        self, folder: Path, endpoints: str, name_server: str, names: Names, broker: Mapping[str, Any] | None = None
    ) -> None:
        self._broker = dict(broker or {})
        self._folder = folder
        self.endpoints = endpoints
        self._name_server = name_server
        self._names = names
        self.running: list[Gateway] = []
        for path, content in {
            "api/alice": ALICE,
            "api/bob": BOB,
            "keys/session-signing-key": secrets.token_hex(32),
            "keys/admin-token": ADMIN,
        }.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(content)

    async def start(
        self, *, ready: bool = True, endpoints: str = "", module: str = "litevoice_gateway", **changes: Any
    ) -> Gateway:
        number, port = len(self.running), free_port()
        admin_host, admin_port = changes.get("adminHost", HOST), changes.get("adminPort", 0) or free_port()
        settings = {
            "broker": {
                "endpoints": endpoints or self.endpoints,
                "nameServer": self._name_server,
                "requestTopic": self._names.request_topic,
                "replyTopic": self._names.reply_topic,
                "partitions": self._names.partitions,
                **self._broker,
            },
            "listenHost": HOST,
            "listenPort": port,
            "adminHost": admin_host,
            "adminPort": admin_port,
            "apiKeysDir": str(self._folder / "api"),
            "keysDir": str(self._folder / "keys"),
            # The played worker does not begin a turn again: after a replay, all that it says would be left out.
            "probeSeconds": 600,
            **changes,
        }
        config, log = self._folder / f"gateway-{number}.json", self._folder / f"gateway-{number}.log"
        config.write_text(json.dumps(settings))
        name, admin_url = f"gateway-{number}", f"http://{admin_host}:{admin_port}"
        process = processes.spawn(
            [sys.executable, "-X", "dev", "-W", "ignore", "-m", module, "--config", str(config)],
            log=log,
            env={"HOME": str(self._folder), "POD_NAME": name},
            admin_url=admin_url,
            admin_token=ADMIN,
        )
        gateway = Gateway(name, process, admin_url, log, ADMIN, f"ws://{HOST}:{port}/v1", port, admin_port)
        self.running.append(gateway)
        if ready:
            await gateway.wait_ready(PATIENCE_SECONDS)
        return gateway

    def stop(self) -> None:
        for gateway in self.running:
            gateway.kill()


@dataclass
class PlayedWorker:
    """The test's hands at the broker: what gateways have published, and a way to answer."""

    names: Names
    producer: Producer
    envelopes: defaultdict[str, list[UpEnvelope]] = field(default_factory=lambda: defaultdict(list))

    async def take(self, messages: list[PartitionMessage] | Any) -> None:
        for message in messages:
            for data in Bundle.decode(message.properties, message.body).envelopes:
                envelope = UpEnvelope.decode(data)
                self.envelopes[envelope.session_id].append(envelope)

    def of(self, session: str) -> list[UpEnvelope]:
        """In the order of the partition."""
        return self.envelopes[session]

    def packets(self, session: str) -> list[Packet]:
        return [packet for envelope in self.of(session) for packet in envelope.packets]

    def audio_numbers(self, session: str) -> list[int]:
        """What `numbered_audio` put into the packets, as the worker would apply them: each (epoch, seq) once."""
        seen: set[tuple[int, int]] = set()
        numbers = []
        for envelope in self.of(session):
            for seq, packet in enumerate(envelope.packets, envelope.seq):
                audio = audio_of(packet, envelope.codec)
                if audio and (envelope.epoch, seq) not in seen:
                    seen.add((envelope.epoch, seq))
                    numbers.append(struct.unpack_from("<I", audio)[0])
        return numbers

    def has_audio(self, session: str, count: int) -> bool:
        return len(self.audio_numbers(session)) >= count

    async def say(
        self,
        session: str,
        *happened: DownEvent,
        turn: int = 1,
        attempt: int = 0,
        snapshot: Snapshot | None = None,
        number: MessageId | None = None,
    ) -> None:
        epoch = max((envelope.epoch for envelope in self.of(session)), default=0)
        body = DownEnvelope(epoch, turn, list(happened), attempt, snapshot, number).encode()
        await send_lite(self.producer, self.names.reply_topic, session, body)


@pytest.fixture
async def gateways(tmp_path: Path, rocketmq: SharedRocketMQ, names: Names) -> AsyncIterator[Gateways]:
    made = Gateways(tmp_path, rocketmq.endpoints, rocketmq.name_server, names)
    yield made
    made.stop()


@pytest.fixture
async def played_worker(rocketmq: SharedRocketMQ, names: Names) -> AsyncIterator[PlayedWorker]:
    def config(role: str) -> BrokerConfig:
        return BrokerConfig(rocketmq.endpoints, ClientId.new("test", HOST, role))

    producer = Producer(config("down"), [names.reply_topic])
    worker = PlayedWorker(names, producer)
    consumers = [
        PartitionConsumer(config(f"up-{number}"), topic, names.worker_group, handler=worker.take, long_poll_seconds=5)
        for number, topic in enumerate(names.partition_topics)
    ]
    await producer.start()
    for consumer in consumers:
        await consumer.start()
    await producer.wait_ready(PATIENCE_SECONDS)
    yield worker
    await asyncio.gather(*map(cut_off, consumers))
    await producer.close()


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        message: dict[str, Any] = json.loads(await socket.recv())
        return message


async def opened(socket: ClientConnection) -> str:
    """The session's id, from session.created."""
    created = await receive(socket)
    assert created["type"] == "session.created", created
    return str(created["session"]["id"])


async def expect_error(socket: ClientConnection, code: str) -> dict[str, Any]:
    message = await receive(socket)
    assert message["type"] == "error", message
    assert message["error"]["code"] == code
    return message


async def close_code(socket: ClientConnection) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    assert socket.close_code is not None
    return socket.close_code


def numbered_audio(number: int, size: int = 960) -> str:
    """20 ms of audio that begins with a number."""
    audio = base64.b64encode(struct.pack("<I", number) + bytes(size - 4)).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


async def play_log(worker: PlayedWorker, session: str, count: int, start: int = 0, attempt: int = 0) -> None:
    for number in range(start, start + count):
        await worker.say(session, events.AudioDelta("r1", "i1", struct.pack("<I", number)), attempt=attempt)


def delta_numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [
        struct.unpack("<I", base64.b64decode(message["delta"]))[0]
        for message in messages
        if message["type"] == "response.output_audio.delta"
    ]


class Wire:
    """A TCP way from `host:port` to the first of `endpoints` that can be cut, or held up with nothing lost."""

    def __init__(self, endpoints: str, port: int, host: str = HOST) -> None:
        self._far = split_address(endpoints.split(";", maxsplit=1)[0])
        self._near = (host, port)
        self._whole = True
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._forward, *self._near)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        self._whole = False
        for writer in self._open:
            writer.transport.abort()

    def hold(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        self._whole = True
        self._flows.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._open |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
