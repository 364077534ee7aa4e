"""Worker processes on a real RocketMQ: who owns what, and that a death, a farewell or a bad message costs no session
anything. The test plays the gateway, with the gateway's own packet log and state and the project's broker client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import pytest

from litevoice_broker.fence import Fence
from litevoice_broker.lite.channel import Delivery
from litevoice_broker.producer import Producer
from litevoice_contracts import events, metrics
from litevoice_contracts.conversation import Item, SessionConfig
from litevoice_contracts.envelopes import Bundle, DownEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_contracts.names import Names, partition_of
from litevoice_contracts.packets import Audio, CreateItem, CreateResponse, Packet
from litevoice_dev.ports import HOST, free_port
from litevoice_dev.speech import speak
from litevoice_dev.stack import LocalStack, Member
from litevoice_gateway import commands as gateway
from litevoice_gateway.limits import Limits
from litevoice_gateway.packet_log import PacketLog
from litevoice_gateway.session_state import SessionState
from litevoice_worker.claims import STILL_SECONDS
from litevoice_worker.partitions import ranking
from tests.integration.conftest import BrokerKit
from tests.integration.gateway.process import Wire
from tests.integration.sending import send_fifo
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

WORKERS = ("worker-0", "worker-1")
STORY, MEMORY = "tell me a story", "what did i ask first"
PACKET_SECONDS = 0.1
PACKET_BYTES = 4800


@dataclass
class Caller:
    """One session: streams audio in real time, silence when nothing is said, and replays when a worker asks."""

    session_id: str
    names: Names
    producer: Producer
    heard: list[tuple[float, DownEvent]] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.state = SessionState(0, SessionConfig())
        self._out: list[gateway.Command] = []
        limits = Limits()
        self._packets = PacketLog(self.session_id, limits, self.state, lambda: int(time.time() * 1000), self._out)
        self._packets.begin(time.monotonic())
        self._speech = b""
        self._failed: list[BaseException] = []

    def send(self, packet: Packet) -> None:
        now = time.monotonic()
        self._packets.add(packet, "pcm16/24000", now)
        self._packets.flush(now)
        self._publish()

    def delivered(self, delivery: Delivery) -> None:
        counted = self.state.apply(delivery.position, DownEnvelope.decode(delivery.body))
        for entry in () if isinstance(counted, str) else counted:
            match entry.event:
                case events.Progress() as progress:
                    self._packets.progress(progress)
                case events.TurnReplay():
                    self.asked += 1
                    self._packets.answer(time.monotonic())
                    self._publish()
                case event:
                    self.heard.append((time.monotonic(), event))

    async def stream(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            piece, self._speech = self._speech[:PACKET_BYTES], self._speech[PACKET_BYTES:]
            self.send(Audio(piece.ljust(PACKET_BYTES, b"\0")))
            due += PACKET_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def say(self, question: str) -> None:
        self._speech += await speak(question)

    def audio(self, response: int) -> bytes:
        """Of the n-th response."""
        ids = [event.response_id for _, event in self.heard if isinstance(event, events.ResponseStarted)]
        if response >= len(ids):
            return b""
        mine = (event for _, event in self.heard if isinstance(event, events.AudioDelta))
        return b"".join(event.audio for event in mine if event.response_id == ids[response])

    @property
    def answers(self) -> list[events.ResponseFinished]:
        return [event for _, event in self.heard if isinstance(event, events.ResponseFinished)]

    @property
    def longest_silence(self) -> float:
        """Seconds between two pieces of audio."""
        times = [at for at, event in self.heard if isinstance(event, events.AudioDelta)]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)

    def _publish(self) -> None:
        topic = self.names.session_partition_topic(self.session_id)
        for command in self._out:
            if isinstance(command, gateway.Publish):
                properties, body = Bundle("g_test", [command.envelope.encode()]).encode()
                self.producer.enqueue_fifo(topic, topic, properties, body, self._confirmed)
        self._out.clear()

    def _confirmed(self, error: BaseException | None) -> None:
        if error is not None:
            self._failed.append(error)


class Office:
    """The callers of a test, and the worker processes."""

    def __init__(self, kit: BrokerKit, stack: LocalStack, producer: Producer) -> None:
        self.kit = kit
        self.stack = stack
        self.names = kit.names
        self.producer = producer
        self.callers: dict[str, Caller] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def call(self, partition: int) -> Caller:
        """A caller in that partition."""
        ids = (f"s-{secrets.token_hex(6)}-{number}" for number in itertools.count())
        session_id = next(i for i in ids if partition_of(i, self.names.partitions) == partition)
        caller = self.callers[session_id] = Caller(session_id, self.names, self.producer)
        channel = await self.kit.channel(lambda delivery: self.callers[delivery.name].delivered(delivery))
        await channel.subscribe([session_id])
        self._tasks.append(asyncio.create_task(caller.stream()))
        return caller

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result


@pytest.fixture
async def office(rocketmq: SharedRocketMQ, kit: BrokerKit, tmp_path: Path) -> AsyncIterator[Office]:
    stack = LocalStack(tmp_path, rocketmq.endpoints, rocketmq.name_server, names=kit.names, worker_names=WORKERS)
    office = Office(kit, stack, await kit.producer())
    try:
        for name in WORKERS:
            stack.start_worker(name)
        await asyncio.gather(*(worker.wait_ready() for worker in stack.workers))
        await until(lambda: shared_out(stack), "every partition to have its owner", 60)
        yield office
        await office.close()
    finally:
        stack.kill()


async def shared_out(stack: LocalStack) -> bool:
    """Every worker has exactly the partitions that are its own."""
    firsts = [ranking(partition, WORKERS)[0] for partition in range(stack.names.partitions)]
    owned = [await worker.metric(metrics.WORKER_PARTITIONS) for worker in stack.workers]
    return owned == [firsts.count(worker.name) for worker in stack.workers]


def owner_of(office: Office, partition: int) -> Member:
    name = ranking(partition, WORKERS)[0]
    return next(worker for worker in office.stack.workers if worker.name == name)


async def undisturbed_story(office: Office, partition: int) -> bytes:
    caller = await office.call(partition)
    await caller.say(STORY)
    await until(lambda: caller.answers, "the undisturbed story", 120)
    return caller.audio(0)


async def seconds_of_audio(caller: Caller, seconds: float) -> None:
    await until(lambda: len(caller.audio(0)) >= seconds * 48_000, f"{seconds} s of the answer")


@pytest.mark.parametrize("farewell", ["kill -9", "SIGTERM"])
async def test_a_worker_that_goes_in_the_middle_of_an_answer_costs_nothing(office: Office, farewell: str) -> None:
    victim = owner_of(office, 0)
    undisturbed = asyncio.create_task(undisturbed_story(office, 1 if owner_of(office, 1) is not victim else 0))
    caller = await office.call(0)
    await caller.say(STORY)
    await seconds_of_audio(caller, 5)  # of half a minute, in real time
    assert not caller.answers
    gone = time.monotonic()
    if farewell == "kill -9":
        victim.kill()
    else:
        victim.terminate()
        assert await victim.wait_gone(30) == 0
    await until(lambda: caller.asked, "another worker asking for the turn", 20)
    asked_after = time.monotonic() - gone
    await until(lambda: caller.answers, "the rest of the answer", 120)
    assert caller.answers[0].status == "completed"
    assert caller.audio(0) == await undisturbed, "continued to the byte"
    kinds = [type(event) for _, event in caller.heard if not isinstance(event, events.AudioDelta | events.TextDelta)]
    assert kinds == [
        events.SpeechStarted,
        events.SpeechStopped,
        events.InputCommitted,
        events.InputTranscribed,
        events.ResponseStarted,
        events.ResponseFinished,
    ]
    print(f"{farewell}: asked after {asked_after:.2f} s, longest silence {caller.longest_silence:.2f} s")
    assert caller.longest_silence < 10, "at once, even on a loaded machine; not after the broker's 30 s order lock"

    await caller.say(MEMORY)
    await until(lambda: len(caller.answers) > 1, "an answer from memory")
    assert caller.answers[1].text == f"Your first question was: {STORY}."


async def test_a_worker_that_comes_back_takes_its_partitions_again(office: Office) -> None:
    victim = owner_of(office, 0)
    survivor = next(worker for worker in office.stack.workers if worker is not victim)
    caller = await office.call(0)
    victim.kill()
    everything = office.names.partitions
    await until(lambda: owns(survivor, everything), "the survivor to own everything")
    await office.stack.replace_worker(victim).wait_ready()
    await until(lambda: shared_out(office.stack), "the partitions to be shared again")
    await caller.say("what is the capital of France")
    await until(lambda: caller.answers, "an answer after two changes")
    assert caller.answers[0].text == "The capital of France is Paris."


async def test_a_frozen_worker_that_thaws_publishes_nothing_for_what_it_lost(
    rocketmq: SharedRocketMQ, kit: BrokerKit, tmp_path: Path
) -> None:
    """The other worker is this test, which takes its partition and is silent."""
    own, other = WORKERS
    partition = next((p for p in range(kit.names.partitions) if ranking(p, WORKERS)[0] == own), None)
    if partition is None:
        own, other, partition = other, own, 0
    fence = kit.closed_later(Fence(kit.config(other), kit.names, on_lost=lambda partition: None, admin=kit.admin))
    await fence.start()
    await fence.wait_ready(60)
    await fence.announce()
    stack = LocalStack(tmp_path, rocketmq.endpoints, rocketmq.name_server, names=kit.names, worker_names=WORKERS)
    office = Office(kit, stack, await kit.producer())
    try:
        worker = stack.start_worker(own)
        await worker.wait_ready()
        caller = await office.call(partition)
        await caller.say(STORY)
        await seconds_of_audio(caller, 3)
        worker.freeze()
        await fence.acquire(partition)
        await asyncio.sleep(STILL_SECONDS + 1)
        heard = len(caller.heard)
        worker.thaw()
        await until(lambda: re.search("partition (is another|taken over)", worker.log.read_text()), "the loss")
        await asyncio.sleep(2)  # its next pieces of audio would have come after 0.1 s
        assert len(caller.heard) == heard
        assert fence.owns(partition), "it steals nothing"
        await office.close()
    finally:
        stack.kill()


async def test_a_worker_stays_a_member_while_the_broker_is_away(
    rocketmq: SharedRocketMQ, kit: BrokerKit, tmp_path: Path
) -> None:
    port = free_port()
    stack = LocalStack(tmp_path, f"{HOST}:{port}", rocketmq.name_server, names=kit.names, worker_names=("worker-0",))
    try:
        async with Wire(rocketmq.endpoints, port):
            worker = stack.start_worker("worker-0")
            await worker.wait_ready()
            await until(lambda: owns(worker, kit.names.partitions), "its partitions")
        await until(lambda: "broker connection lost" in worker.log.read_text(), "the outage")
        async with httpx.AsyncClient(trust_env=False) as http:
            for _ in range(20):
                assert (await http.get(f"{worker.admin_url}/readyz")).status_code == 200
                await asyncio.sleep(0.1)
    finally:
        stack.kill()


async def owns(worker: Member, partitions: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return await worker.metric(metrics.WORKER_PARTITIONS) == partitions
    return False


async def test_bad_messages_do_not_stop_a_partition(office: Office) -> None:
    caller = await office.call(0)
    topic = office.names.partition_topic(0)
    good, body = Bundle("g_x", [b"nonsense", msgspec.msgpack.encode(["../../etc/passwd", 1, 0, 0, []])]).encode()
    messages: list[tuple[dict[str, str], bytes]] = [
        ({}, b"nonsense"),
        (good | {"v": "99"}, body),
        (good | {"gateway": "../../etc/passwd"}, body),
        (good | {"count": "7"}, body),
        (good, b"\xc1" * 1000),
        (good, body),
    ]
    bad = len(messages) + 1
    for properties, content in messages:
        await send_fifo(office.producer, topic, "x", properties, content)
    caller.send(CreateItem(Item("typed", "user", "what is the capital of France")))
    caller.send(CreateResponse(text_only=True))
    await until(lambda: caller.answers, "the answer behind the bad messages")
    assert caller.answers[0].text == "The capital of France is Paris."
    worker = owner_of(office, 0)
    assert await worker.metric(metrics.WORKER_DROPPED, what="bad_envelope") == bad
    log = worker.log.read_text()
    assert log.count("envelope skipped") == bad
    assert "capital" not in log, "no content in logs"


async def test_without_a_broker_a_worker_says_so(rocketmq: SharedRocketMQ, names: Names, tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, "127.0.0.1:9", rocketmq.name_server, names=names, worker_names=("worker-0",))
    worker = stack.start_worker("worker-0")
    try:
        async with httpx.AsyncClient(trust_env=False) as http:

            async def reason() -> str:
                with contextlib.suppress(httpx.TransportError):
                    answer = await http.get(f"{worker.admin_url}/readyz")
                    if answer.status_code == 503 and "127.0.0.1:9" in answer.text:
                        return answer.text
                return ""

            await until(reason, "a reason that names the broker")
            assert (await http.get(f"{worker.admin_url}/healthz")).status_code == 200
            assert (await http.get(f"{worker.admin_url}/secrets")).status_code == 404
            assert (await http.post(f"{worker.admin_url}/healthz")).status_code == 405
        worker.terminate()
        assert await worker.wait_gone() == 0
    finally:
        stack.kill()
