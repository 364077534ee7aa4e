"""Real gateway processes on a real RocketMQ: upgrade, WebSocket conformance, resume, takeover, drain, slow readers.

The test plays the worker: it reads the partitions and publishes to the LiteTopics through the project's broker client.
`websockets` is the oracle for the wire; the unchanged openai client is the client.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import secrets
import signal
import struct
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from openai import AsyncOpenAI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from litevoice_broker.connection import BrokerConfig
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_contracts import events
from litevoice_contracts.conversation import Item, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, UpEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_contracts.names import ClientId, Names
from litevoice_contracts.packets import Audio, EpochEnd, Packet, Update
from litevoice_dev.rocketmq import HOST, LocalRocketMQ, free_port

ALICE, BOB, ADMIN = "alices-secret-key", "bobs-secret-key", "the-admin-token-of-the-tests"
pytestmark = pytest.mark.timeout(180)


async def until(condition: Callable[[], object], timeout_seconds: float = 30.0) -> None:
    async with asyncio.timeout(timeout_seconds):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Gateway:
    """One `python -m litevoice_gateway` process."""

    process: asyncio.subprocess.Process
    port: int
    admin_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}/v1/realtime"

    async def ask(self, path: str, *, post: bool = False, token: str = ADMIN, body: Any = None) -> httpx.Response:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            return await http.request(
                "POST" if post else "GET",
                f"http://{HOST}:{self.admin_port}{path}",
                headers={"Authorization": f"Bearer {token}"} if token else {},
                json=body,
            )

    async def ready(self, timeout_seconds: float = 60) -> None:
        reason = "no answer"
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        answer = await self.ask("/readyz")
                        reason = answer.text
                        if answer.status_code == 200:
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"gateway is not ready: {reason}\n{self.log.read_text()[-3000:]}") from None

    async def metric(self, name: str, **labels: str) -> float:
        text = (await self.ask("/metrics")).text
        wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        return next((float(line.split()[-1]) for line in text.splitlines() if line.split()[:1] == [wanted]), 0.0)

    def connect(self, key: str | None = ALICE, *, query: str = "model=test", **options: Any) -> connect:
        headers = dict(options.pop("additional_headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return connect(
            f"{self.url}?{query}", additional_headers=headers, max_size=None, proxy=None, compression=None, **options
        )


class Gateways:
    """Starts gateways that share names and keys."""

    def __init__(self, folder: Path, endpoints: str, names: Names) -> None:
        self._folder = folder
        self._endpoints = endpoints
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

    async def start(self, *, ready: bool = True, endpoints: str = "", **changes: Any) -> Gateway:
        number, port, admin_port = len(self.running), free_port(), free_port()
        settings = {
            "broker": {
                "endpoints": endpoints or self._endpoints,
                "requestTopic": self._names.request_topic,
                "replyTopic": self._names.reply_topic,
                "partitions": self._names.partitions,
            },
            "listenHost": HOST,
            "listenPort": port,
            "adminHost": HOST,
            "adminPort": admin_port,
            "apiKeysDir": str(self._folder / "api"),
            "keysDir": str(self._folder / "keys"),
            **changes,
        }
        config, log = self._folder / f"gateway-{number}.json", self._folder / f"gateway-{number}.log"
        config.write_text(json.dumps(settings))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", "-W", "ignore", "-m", "litevoice_gateway", "--config", str(config)),
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "POD_NAME": f"gateway-{number}"},
            stderr=log.open("wb"),
        )
        gateway = Gateway(process, port, admin_port, log)
        self.running.append(gateway)
        if ready:
            await gateway.ready()
        return gateway

    async def stop(self) -> None:
        for gateway in self.running:
            if gateway.process.returncode is None:
                gateway.process.kill()
                await gateway.process.wait()


@dataclass
class Worker:
    """The test's hands at the broker: what gateways have published, and a way to answer."""

    names: Names
    producer: Producer
    envelopes: list[UpEnvelope] = field(default_factory=list)

    async def take(self, messages: list[PartitionMessage] | Any) -> None:
        for message in messages:
            self.envelopes.append(UpEnvelope.decode(message.properties, message.body))

    def of(self, session: str) -> list[UpEnvelope]:
        """In the order of the partition."""
        return [envelope for envelope in self.envelopes if envelope.session_id == session]

    def packets(self, session: str) -> list[Packet]:
        return [packet for envelope in self.of(session) for packet in envelope.packets]

    def audio_numbers(self, session: str) -> list[int]:
        """What `numbered_audio` put into the packets, as the worker would apply them: each (epoch, seq) once."""
        seen: set[tuple[int, int]] = set()
        numbers = []
        for envelope in self.of(session):
            for seq, packet in enumerate(envelope.packets, envelope.seq):
                if isinstance(packet, Audio) and (envelope.epoch, seq) not in seen:
                    seen.add((envelope.epoch, seq))
                    numbers.append(struct.unpack_from("<I", packet.data)[0])
        return numbers

    def has_audio(self, session: str, count: int) -> bool:
        return len(self.audio_numbers(session)) >= count

    async def say(
        self, session: str, *happened: DownEvent, turn: int = 1, attempt: int = 0, snapshot: Snapshot | None = None
    ) -> None:
        epoch = max((envelope.epoch for envelope in self.of(session)), default=0)
        body = DownEnvelope(epoch, turn, list(happened), attempt, snapshot).encode()
        await self.producer.send_lite(self.names.reply_topic, session, body)


@pytest.fixture
async def gateways(tmp_path: Path, rocketmq: LocalRocketMQ, names: Names) -> AsyncIterator[Gateways]:
    made = Gateways(tmp_path, rocketmq.endpoints, names)
    yield made
    await made.stop()


@pytest.fixture
async def worker(rocketmq: LocalRocketMQ, names: Names) -> AsyncIterator[Worker]:
    def config(role: str) -> BrokerConfig:
        return BrokerConfig(rocketmq.endpoints, ClientId.new("test", HOST, role))

    producer = Producer(config("down"), [names.reply_topic])
    worker = Worker(names, producer)
    consumers = [
        PartitionConsumer(config(f"up-{number}"), topic, names.worker_group, handler=worker.take, long_poll_seconds=5)
        for number, topic in enumerate(names.partition_topics)
    ]
    await producer.start()
    for consumer in consumers:
        await consumer.start()
    await producer.wait_ready(30)
    yield worker
    await asyncio.gather(*(consumer.leave() for consumer in consumers))
    await producer.close()


async def receive(socket: ClientConnection, timeout_seconds: float = 20) -> dict[str, Any]:
    async with asyncio.timeout(timeout_seconds):
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
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    assert socket.close_code is not None
    return socket.close_code


def numbered_audio(number: int, size: int = 960) -> str:
    """20 ms of audio that begins with a number."""
    audio = base64.b64encode(struct.pack("<I", number) + bytes(size - 4)).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


# The way in


async def test_upgrade_refusals_are_json_before_the_upgrade(gateways: Gateways) -> None:
    gateway = await gateways.start()

    async def refused(key: str | None, query: str = "model=test") -> tuple[int, str]:
        with pytest.raises(InvalidStatus) as refusal:
            async with gateway.connect(key, query=query):
                pass
        response = refusal.value.response
        assert response.headers["Content-Type"] == "application/json"
        return response.status_code, json.loads(response.body or b"{}")["error"]["code"]

    assert await refused(None) == (401, "invalid_api_key")
    assert await refused("wrong") == (401, "invalid_api_key")
    assert await refused(ALICE, "session_id=s_made_up") == (403, "session_not_yours")
    async with gateway.connect() as socket:
        session = await opened(socket)
    assert await refused(BOB, f"session_id={session}") == (403, "session_not_yours")
    assert await refused(ALICE, f"session_id={session}&last_event_id=17") == (400, "invalid_value")
    assert await gateway.metric("litevoice_gateway_connections_total", outcome="unauthorized") == 2
    assert await gateway.metric("litevoice_gateway_connections_total", outcome="forbidden") == 2
    assert ALICE not in gateway.log.read_text()


async def test_browsers_get_in(gateways: Gateways) -> None:
    gateway = await gateways.start()
    protocols = [websockets.Subprotocol("realtime"), websockets.Subprotocol(f"openai-insecure-api-key.{ALICE}")]
    async with gateway.connect(None, subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        await opened(socket)
    reader, writer = await asyncio.open_connection(HOST, gateway.port)
    writer.write(
        f"GET /v1/realtime?model=m HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}"
        f"\r\napi-key: {ALICE}\r\n\r\n".encode()
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 101"), "the header as Firefox writes it"
    writer.close()


async def test_a_full_gateway_says_try_again_later(gateways: Gateways) -> None:
    gateway = await gateways.start(maxSessions=1)
    async with gateway.connect() as first:
        await opened(first)
        async with gateway.connect() as second:
            assert await close_code(second) == 1013
    assert await gateway.metric("litevoice_gateway_connections_total", outcome="overload") == 1


# WebSocket conformance, with `websockets` as the oracle


async def test_conformance(gateways: Gateways, worker: Worker) -> None:
    gateway = await gateways.start(maxFrameBytes=4096)
    async with gateway.connect() as socket:
        session = await opened(socket)
        await asyncio.wait_for(await socket.ping(b"are you there"), 10)

        async def pieces() -> AsyncIterator[str]:
            text = numbered_audio(1)
            for start in range(0, len(text), 100):
                yield text[start : start + 100]
                if start == 300:
                    await asyncio.wait_for(await socket.ping(), 10)

        await socket.send(pieces())
        await until(lambda: worker.audio_numbers(session) == [1])

        await socket.send(numbered_audio(2, 6000))
        error = await expect_error(socket, "message_too_large")
        assert error["error"]["param"] == "message"
        await socket.send(b"binary")
        await expect_error(socket, "invalid_message")
        await socket.send("no json")
        await expect_error(socket, "invalid_json")
        await socket.send('{"type":"input_audio_buffer.append","audio":"*","event_id":"mine"}')
        error = await expect_error(socket, "invalid_base64")
        assert (error["error"]["param"], error["error"]["event_id"]) == ("audio", "mine")
        await socket.send(numbered_audio(3))
        await until(lambda: worker.audio_numbers(session) == [1, 3])
        await socket.close(1000, "done")
        assert socket.close_code == 1000
    await until(lambda: worker.packets(session)[-1:] == [EpochEnd()])


BROKEN_FRAMES = {
    "no UTF-8": (b"\x81\x84\0\0\0\0\xff\xfe\xfd\xfc", 1007, True),
    "stray continuation": (b"\x80\x81\0\0\0\0x", 1002, True),
    "reserved bit": (b"\xc1\x81\0\0\0\0x", 1002, True),
    "unknown opcode": (b"\x83\x81\0\0\0\0x", 1002, False),
    "unmasked": (b"\x81\x01x", 1002, False),
    "a gigabyte": (b"\x81\xff" + struct.pack(">Q", 1 << 30) + b"\0\0\0\0", 1009, False),
}


async def test_broken_frames_close_with_the_right_code(gateways: Gateways) -> None:
    gateway = await gateways.start()
    for what, (frame, code, explained) in BROKEN_FRAMES.items():
        async with gateway.connect() as socket:
            await opened(socket)
            socket.transport.write(frame)
            if explained:
                await expect_error(socket, "protocol_error")
            assert await close_code(socket) == code, what
    async with asyncio.timeout(10):
        while (await gateway.ask("/v1/status")).json()["sessions"]:
            await asyncio.sleep(0.02)


# A conversation with the unchanged client


async def test_the_openai_client_talks_through_the_broker(gateways: Gateways, worker: Worker) -> None:
    gateway = await gateways.start()
    client = AsyncOpenAI(api_key=ALICE, websocket_base_url=f"ws://{HOST}:{gateway.port}/v1", base_url="http://x/v1")
    async with client.realtime.connect(model="test") as connection:
        created = await asyncio.wait_for(connection.recv(), 20)
        assert created.type == "session.created"
        session = str(created.session.id)  # type: ignore[union-attr]
        await connection.session.update(session={"type": "realtime", "instructions": "be brief"})
        await until(lambda: worker.packets(session))
        (updated,) = worker.packets(session)
        assert isinstance(updated, Update)
        assert updated.config.instructions == "be brief"
        await worker.say(session, events.SessionUpdated(), snapshot=Snapshot(config=updated.config))
        answer = await asyncio.wait_for(connection.recv(), 20)
        assert answer.type == "session.updated"
        assert answer.session.instructions == "be brief"  # type: ignore[union-attr]
        await connection.input_audio_buffer.append(audio=base64.b64encode(bytes(960)).decode())
        await worker.say(session, events.ResponseStarted("r1", "i1", metadata={"k": "v"}))
        await worker.say(session, events.TextDelta("r1", "i1", "Hello."), events.AudioDelta("r1", "i1", b"\0\1" * 480))
        await worker.say(session, events.ResponseFinished("r1", "i1", "completed", "Hello."), snapshot=Snapshot())
        got = []
        async with asyncio.timeout(20):
            async for event in connection:
                got.append(event)
                if event.type == "response.done":
                    break
        assert got[0].type == "response.created"
        assert got[0].response.metadata == {"k": "v"}
        assert got[-1].type == "response.done"
        assert got[-1].event_id == "evt_3_3_5"
    await client.close()


# Resume and takeover


async def play_log(worker: Worker, session: str, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        await worker.say(session, events.AudioDelta("r1", "i1", struct.pack("<I", number)))


def delta_numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [
        struct.unpack("<I", base64.b64decode(message["delta"]))[0]
        for message in messages
        if message["type"] == "response.output_audio.delta"
    ]


async def test_another_gateway_takes_over_after_the_last_event(gateways: Gateways, worker: Worker) -> None:
    first, second = await gateways.start(), await gateways.start()
    async with first.connect() as socket:
        session = await opened(socket)
        await socket.send(numbered_audio(1))
        await worker.say(
            session,
            events.ItemCreated(Item("u1", "user", "hi")),
            snapshot=Snapshot(items=[Item("u1", "user", "hi")], turn=1),
        )
        await worker.say(session, events.ResponseStarted("r1", "i1"))
        await play_log(worker, session, 20)
        seen: list[dict[str, Any]] = []
        while len(delta_numbers(seen)) < 10:
            seen.append(await receive(socket))
        query = f"session_id={session}&last_event_id={seen[-1]['event_id']}"
        async with second.connect(query=query) as other:
            assert await opened(other) == session
            rest: list[dict[str, Any]] = []
            while delta_numbers(rest)[-1:] != [19]:
                rest.append(await receive(other))
            assert delta_numbers(rest) == list(range(10, 20))
            assert await close_code(socket) == 4001
            await other.send(numbered_audio(2))
            await until(lambda: worker.audio_numbers(session) == [1, 2])
            ends = [type(packet) for packet in worker.packets(session)]
            assert ends == [Audio, EpochEnd, Audio]
            one, two = {envelope.epoch for envelope in worker.of(session)}
            newest = worker.of(session)[-1]
            assert newest.epoch == max(one, two)
            assert newest.seq == 0
            assert newest.snapshot is not None
            assert [item.text for item in newest.snapshot.items] == ["hi"]
            await play_log(worker, session, 5, start=20)
            rest = [await receive(other) for _ in range(5)]
            assert delta_numbers(rest) == list(range(20, 25))
    assert await second.metric("litevoice_gateway_takeovers_total") == 1
    assert await first.metric("litevoice_gateway_evictions_total") == 1


async def test_after_kill_9_another_gateway_goes_on(gateways: Gateways, worker: Worker) -> None:
    first, second = await gateways.start(), await gateways.start()
    async with first.connect() as socket:
        session = await opened(socket)
        await socket.send(numbered_audio(1))
        await until(functools.partial(worker.has_audio, session, 1))
        await play_log(worker, session, 10)
        seen = [await receive(socket) for _ in range(6)]
        first.process.kill()
        await play_log(worker, session, 5, start=10)
        query = f"session_id={session}&last_event_id={seen[-1]['event_id']}"
        async with second.connect(query=query) as other:
            assert await opened(other) == session
            assert delta_numbers([await receive(other) for _ in range(9)]) == list(range(6, 15))
            await other.send(numbered_audio(2))
            await until(functools.partial(worker.has_audio, session, 2))
    assert worker.audio_numbers(session) == [1, 2]


async def test_the_same_gateway_takes_over_from_itself(gateways: Gateways, worker: Worker) -> None:
    gateway = await gateways.start()
    async with gateway.connect() as socket:
        session = await opened(socket)
        await socket.send(numbered_audio(1))
        await play_log(worker, session, 6)
        seen = [await receive(socket) for _ in range(3)]
        for round_number in range(3):
            query = f"session_id={session}&last_event_id={seen[2]['event_id']}"
            async with gateway.connect(query=query) as other:
                assert await opened(other) == session
                assert delta_numbers([await receive(other) for _ in range(3)]) == [3, 4, 5]
                if round_number == 0:
                    assert await close_code(socket) == 4001
                await other.send(numbered_audio(2 + round_number))
                await until(functools.partial(worker.has_audio, session, 2 + round_number))
    assert worker.audio_numbers(session) == [1, 2, 3, 4]
    assert (await gateway.ask("/v1/status")).json()["sessions"] == 0


async def test_a_log_that_never_was_is_an_expired_session(gateways: Gateways) -> None:
    gateway = await gateways.start(restoreTimeoutSeconds=1)
    async with gateway.connect() as socket:
        session = await opened(socket)
    async with gateway.connect(query=f"session_id={session}&last_event_id=evt_40_38") as socket:
        await expect_error(socket, "session_expired")
        assert await close_code(socket) == 1008


# Drain


async def test_a_drain_under_load_loses_nothing(gateways: Gateways, worker: Worker) -> None:
    first, second = await gateways.start(), await gateways.start()
    current = first
    count = 12
    sent = [0] * count
    received: list[list[int]] = [[] for _ in range(count)]
    sessions = [""] * count
    reconnects = [0] * count
    stop = asyncio.Event()

    async def talk(number: int) -> None:
        client = AsyncOpenAI(api_key=ALICE, websocket_base_url=f"ws://{HOST}:{first.port}/v1", base_url="http://x/v1")
        last = ""

        def reconnecting(_event: Any) -> Any:
            reconnects[number] += 1
            target = {"session_id": sessions[number], "last_event_id": last}
            client.websocket_base_url = f"ws://{HOST}:{current.port}/v1"
            return {"extra_query": target}

        async with client.realtime.connect(
            model="test", on_reconnecting=reconnecting, initial_delay=0.02, max_retries=50
        ) as connection:

            async def listen() -> None:
                nonlocal last
                async for event in connection:
                    last = str(getattr(event, "event_id", last))
                    if event.type == "session.created":
                        sessions[number] = str(event.session.id)  # type: ignore[union-attr]
                    elif event.type == "response.output_audio.delta":
                        received[number].append(struct.unpack("<I", base64.b64decode(event.delta))[0])

            listening = asyncio.create_task(listen())
            while not stop.is_set():
                with contextlib.suppress(ConnectionClosed):  # not sent: the client has not noticed the Close yet
                    await connection.send_raw(numbered_audio(sent[number]))
                    sent[number] += 1
                await asyncio.sleep(0.02)
            await until(lambda: len(received[number]) == deltas)
            listening.cancel()
        await client.close()

    deltas = 60
    talks = [asyncio.create_task(talk(number)) for number in range(count)]
    await until(lambda: all(sessions))
    current = second

    async def answers() -> None:
        for number in range(deltas):
            await asyncio.gather(
                *(worker.say(name, events.AudioDelta("r1", "i1", struct.pack("<I", number))) for name in sessions)
            )
            await asyncio.sleep(0.03)

    answering = asyncio.create_task(answers())
    await until(lambda: all(len(got) > 10 for got in received))
    first.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(first.process.wait(), 60) == 0
    await until(lambda: all(reconnects))
    await answering
    stop.set()
    await asyncio.gather(*talks)
    for number in range(count):
        await until(functools.partial(worker.has_audio, sessions[number], sent[number]))
        assert worker.audio_numbers(sessions[number]) == list(range(sent[number]))
        assert received[number] == list(range(deltas))
    log = [json.loads(line) for line in first.log.read_text().splitlines() if line.startswith("{")]
    (over,) = [line["report"] for line in log if line["message"] == "drain is over"]
    assert (over["sessions"], over["moved"]) == (count, count)
    assert over.get("lost_packets", 0) == 0
    assert over.get("forced", 0) == 0


async def test_a_draining_gateway_takes_nobody_and_reports(gateways: Gateways) -> None:
    gateway = await gateways.start(drainTurnWaitSeconds=30, drainTimeoutSeconds=30)
    async with gateway.connect() as socket:
        await opened(socket)
        assert (await gateway.ask("/v1/drain")).json() == {}
        begun = await gateway.ask("/v1/drain", post=True, body={"policy": "Complete"})
        assert begun.status_code == 202
        assert begun.json()["state"] == "draining"
        ready = await gateway.ask("/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "draining")
        with pytest.raises(InvalidStatus) as refusal:
            async with gateway.connect():
                pass
        assert refusal.value.response.status_code == 503
        assert refusal.value.response.headers["Retry-After"]
        await socket.close()
    async with asyncio.timeout(20):
        while (report := (await gateway.ask("/v1/drain")).json())["state"] != "drained":
            await asyncio.sleep(0.05)
    assert (report["sessions"], report["completed"]) == (1, 1)
    gateway.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(gateway.process.wait(), 20) == 0


# Slow readers


async def test_a_slow_readers_replies_wait_at_the_broker(gateways: Gateways, worker: Worker) -> None:
    gateway = await gateways.start(sendBufferBytes=65536)
    async with gateway.connect() as healthy:
        other = await opened(healthy)
        async with gateway.connect(max_queue=1) as slow:
            session = await opened(slow)
            await worker.say(session, events.ResponseStarted("r1", "i1"))
            slow.transport.pause_reading()
            count, published = 0, 0
            async with asyncio.timeout(60):
                while (await gateway.ask("/v1/status")).json()["slow_readers"] == 0:
                    for _ in range(10):
                        audio = struct.pack("<I", count) + bytes(48_000)
                        await worker.say(session, events.AudioDelta("r1", "i1", audio))
                        count += 1
            info = (await gateway.ask(f"/v1/sessions/{session}")).json()
            assert info["reading"] is False
            for _ in range(200):
                await worker.say(session, events.AudioDelta("r1", "i1", struct.pack("<I", count)))
                count += 1
            published = count
            await worker.say(other, events.InputCleared())
            assert (await receive(healthy))["type"] == "input_audio_buffer.cleared", "the others notice nothing"
            waiting = (await gateway.ask(f"/v1/sessions/{session}")).json()["next_position"]
            assert waiting < published, "what the client has not read is not in the pod"
            slow.transport.resume_reading()
            numbers: list[int] = []
            async with asyncio.timeout(90):
                while len(numbers) < published:
                    message = await receive(slow, 60)
                    if message["type"] == "response.output_audio.delta":
                        numbers.append(struct.unpack_from("<I", base64.b64decode(message["delta"]))[0])
            assert numbers == list(range(published))
            assert (await gateway.ask("/v1/status")).json()["slow_readers"] == 0


# The broker is not there


class Wire:
    """A TCP way to the proxy that can be cut."""

    def __init__(self, endpoints: str, port: int) -> None:
        host, _, number = endpoints.split(";", maxsplit=1)[0].partition(":")
        self._far = (host, int(number))
        self._port = port
        self._whole = True
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._forward, HOST, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        self._whole = False
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        self._whole = True

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._open |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._open -= {writer, far_writer}

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()


async def test_a_gateway_without_a_broker_waits_for_it_and_says_why(
    gateways: Gateways, rocketmq: LocalRocketMQ
) -> None:
    port = free_port()
    gateway = await gateways.start(ready=False, endpoints=f"{HOST}:{port}")
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await gateway.ask("/readyz")
                if str(port) in answer.text:
                    break
            await asyncio.sleep(0.05)
    assert answer.status_code == 503
    with pytest.raises(InvalidStatus) as refusal:
        async with gateway.connect():
            pass
    assert refusal.value.response.status_code == 503
    assert json.loads(refusal.value.response.body or b"")["error"]["code"] == "unavailable"

    async with Wire(rocketmq.endpoints, port):
        await gateway.ready()
        async with gateway.connect() as socket:
            await opened(socket)


async def test_when_the_broker_goes_away_packets_wait_then_the_session_is_sent_elsewhere(
    gateways: Gateways, worker: Worker, rocketmq: LocalRocketMQ
) -> None:
    port = free_port()
    async with Wire(rocketmq.endpoints, port) as wire:
        gateway = await gateways.start(endpoints=f"{HOST}:{port}", maxPendingPackets=50)
        async with gateway.connect() as socket, gateway.connect() as brief:
            session, other = await opened(socket), await opened(brief)
            await socket.send(numbered_audio(0))
            await until(functools.partial(worker.has_audio, session, 1))
            wire.cut()
            await brief.send(numbered_audio(0))
            for number in range(1, 60):
                await socket.send(numbered_audio(number))
            assert await close_code(socket) == 1013
            wire.mend()
            await until(functools.partial(worker.has_audio, session, 60), 60)
            await until(functools.partial(worker.has_audio, other, 1), 60)
            await gateway.ready()
        assert worker.audio_numbers(session) == list(range(60))
        assert await gateway.metric("litevoice_gateway_packets_lost_total") == 0


# The second port


async def test_admin_api(gateways: Gateways, worker: Worker) -> None:
    gateway = await gateways.start()
    assert (await gateway.ask("/v1/status", token="wrong")).status_code == 401
    assert (await gateway.ask("/healthz", token="")).status_code == 200
    for query, field_name in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=1001", "limit"),
        ("sort=name", "sort"),
    ]:
        answer = await gateway.ask(f"/v1/sessions?{query}")
        assert answer.status_code == 400
        assert field_name in answer.json()["error"]["message"]
    assert (await gateway.ask("/v1/drain", post=True, body={"policy": "Later"})).status_code == 400
    async with gateway.connect() as first, gateway.connect(BOB) as second:
        one, two = await opened(first), await opened(second)
        for number in range(5):
            await second.send(numbered_audio(number))
        await until(lambda: len(worker.packets(two)) == 5)
        listed = (await gateway.ask("/v1/sessions?limit=1&sort=requests")).json()
        assert listed["total"] == 2
        (top,) = listed["sessions"]
        assert (top["session_id"], top["principal"], top["pending_requests"]) == (two, "bob", 5)
        assert (await gateway.ask(f"/v1/sessions/{one}")).json()["principal"] == "alice"
        status = (await gateway.ask("/v1/status")).json()
        assert (status["sessions"], status["ready"], status["pod"]) == (2, True, "gateway-0")
        async with asyncio.timeout(10):
            while await gateway.metric("litevoice_gateway_packets_published_total") < 5:
                await asyncio.sleep(0.02)
        assert await gateway.metric("litevoice_gateway_sessions") == 2
    assert (await gateway.ask("/v1/sessions/nobody")).status_code == 404


async def test_check_config(gateways: Gateways, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"listenPort": "http", "brokr": {}}')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "litevoice_gateway", "--config", str(bad), "--check-config"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, text = await process.communicate()
    assert process.returncode == 2
    for field_name in (b"listenPort", b"brokr", b"apiKeysDir"):
        assert field_name in text
