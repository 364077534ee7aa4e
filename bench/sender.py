"""Sends the audio of many sessions to a real RocketMQ, with one of two clients in one of two shapes.

    python -m bench.sender CLIENT SHAPE ENDPOINTS TOPIC PARTITIONS SESSIONS SECONDS

CLIENT: ours or official. SHAPE: session (a message for each session's 100 ms) or bundle (one for each partition's).
Prints JSON lines: begin, end, and a result with CPU seconds and the milliseconds until each confirmation.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from litevoice_broker.config import BrokerConfig
from litevoice_broker.producer import Producer
from litevoice_contracts.names import ClientId

Shape = Literal["session", "bundle"]
Send = Callable[[int, str, bytes, Callable[[BaseException | None], None]], None]
"""Partition, message group, body; the last is called once it is confirmed, or has failed."""

BEAT_SECONDS = 0.1
BEAT_BYTES = 4800
"""PCM16 at 24 kHz."""
WARMUP_SECONDS = 2


def departures(shape: Shape, sessions: int, partitions: int) -> list[tuple[float, int, str, int]]:
    """What leaves in one beat: when in it, to which partition, of which message group, how many bytes."""
    if shape == "session":
        return [
            (BEAT_SECONDS * number / sessions, number % partitions, f"s_{number:046d}", BEAT_BYTES)
            for number in range(sessions)
        ]
    of_partition = [len(range(partition, sessions, partitions)) for partition in range(partitions)]
    return [
        (BEAT_SECONDS * partition / partitions, partition, f"p_{partition}", BEAT_BYTES * count)
        for partition, count in enumerate(of_partition)
        if count
    ]


class Record:
    """What was confirmed; callbacks come from other threads, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.measuring = False
        self.milliseconds: list[float] = []
        self.failed = 0
        self.pending = 0

    def sent(self) -> Callable[[BaseException | None], None]:
        at, counts = time.monotonic(), self.measuring
        with self._lock:
            self.pending += 1

        def done(error: BaseException | None) -> None:
            with self._lock:
                self.pending -= 1
                if counts:
                    self.failed += error is not None
                    self.milliseconds.append(round((time.monotonic() - at) * 1000, 2))

        return done


async def play(send: Send, plan: list[tuple[float, int, str, int]], seconds: int) -> None:
    """Sends on time for the warm-up and the measurement, and says what came of it."""
    record = Record()
    bodies = {size: bytes(size) for _, _, _, size in plan}
    start = time.monotonic()
    cpu = time.process_time()
    for beat in range(round((WARMUP_SECONDS + seconds) / BEAT_SECONDS)):
        if beat == round(WARMUP_SECONDS / BEAT_SECONDS):
            record.measuring, cpu = True, time.process_time()
            say({"line": "begin"})
        for offset, partition, group, size in plan:
            wait = start + beat * BEAT_SECONDS + offset - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            send(partition, group, bodies[size], record.sent())
    cpu = time.process_time() - cpu
    say({"line": "end"})
    while record.pending:  # noqa: ASYNC110 - callbacks come from other threads
        await asyncio.sleep(0.01)
    say({"line": "result", "cpu_seconds": cpu, "failed": record.failed, "milliseconds": record.milliseconds})


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def with_ours(endpoints: str, topics: list[str], plan: list[tuple[float, int, str, int]], seconds: int) -> None:
    producer = Producer(BrokerConfig(endpoints, ClientId.new("bench", "127.0.0.1", "sender")), topics)
    await producer.start()
    while not producer.ready:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    try:
        await play(
            lambda partition, group, body, done: producer.enqueue_fifo(topics[partition], group, {}, body, done),
            plan,
            seconds,
        )
    finally:
        await producer.close()


async def with_official(
    endpoints: str, topics: list[str], plan: list[tuple[float, int, str, int]], seconds: int
) -> None:
    import rocketmq

    producer = rocketmq.Producer(rocketmq.ClientConfiguration(endpoints, rocketmq.Credentials()), topics)
    producer.startup()

    def send(partition: int, group: str, body: bytes, done: Callable[[BaseException | None], None]) -> None:
        message = rocketmq.Message()
        message.topic, message.body, message.message_group = topics[partition], body, group
        producer.send_async(message).add_done_callback(lambda future: done(future.exception()))

    try:
        await play(send, plan, seconds)
    finally:
        producer.shutdown()


def main() -> None:
    client, shape, endpoints, topic, *numbers = sys.argv[1:]
    partitions, sessions, seconds = (int(number) for number in numbers)
    topics = [f"{topic}-{partition:02d}" for partition in range(partitions)]
    plan = departures("session" if shape == "session" else "bundle", sessions, partitions)
    asyncio.run({"ours": with_ours, "official": with_official}[client](endpoints, topics, plan, seconds))


if __name__ == "__main__":
    main()
