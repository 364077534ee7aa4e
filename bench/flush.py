"""What the loss of the broker's machine can cost, and what it costs to make it less: ASYNC_FLUSH beside SYNC_FLUSH.

    python -m bench.flush [--sessions 100] [--seconds 8]

A real RocketMQ once with each, on the disk of `--folder`. Up: the audio of all sessions in bundles, every 100 ms, as a
gateway sends it. Down: replies of 20 sessions, one at a time each, as fast as they are confirmed. Meanwhile the broker
is asked how much it has confirmed and not flushed: what a crash of the operating system would take. Prints one table
and writes raw data.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure, aligned, percentile
from bench.load import said
from bench.programs import cache
from bench.report import add_output, finish
from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess, BrokerConfig
from litevoice_broker.producer import Producer
from litevoice_broker.remoting import RemotingClient
from litevoice_contracts.names import ClientId, Names
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ

NAMES = Names("bench-flushed", "bench-flushed-replies", 8)
KINDS = ("ASYNC_FLUSH", "SYNC_FLUSH")
REPLY_SESSIONS, REPLY_BYTES = 20, 10_000
DISK_WRITES = 200
SAMPLE_SECONDS = 0.05
_RUNTIME_INFO = 28


@dataclass(slots=True)
class Measured:
    """Milliseconds until a send was confirmed; bytes that were confirmed and not on the disk, at each sample."""

    up_ms: list[float] = field(default_factory=list)
    replies: int = 0
    down_ms: list[float] = field(default_factory=list)
    unflushed: list[int] = field(default_factory=list)
    seconds: float = 0.0


def disk_milliseconds(folder: Path) -> list[float]:
    """A page written and flushed, again and again: what each SYNC_FLUSH pays at least."""
    found, path = [], folder / "probe"
    with path.open("wb", buffering=0) as file:
        for _ in range(DISK_WRITES):
            begin = time.monotonic()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            found.append((time.monotonic() - begin) * 1000)
    path.unlink()
    return found


def in_bytes(written: str) -> int:
    """What RocketMQ writes for people: ``0 B``, ``1.5 KiB``."""
    number, unit = written.split()
    return round(float(number) * (1 << 10 * ("B", "KiB", "MiB", "GiB").index(unit)))


@contextlib.asynccontextmanager
async def watching(address: str, measured: Measured) -> AsyncIterator[None]:
    client = RemotingClient(address, access=AdminAccess(), timeout_seconds=5.0)

    async def watch() -> None:
        while True:
            answer = await client.call(_RUNTIME_INFO)
            measured.unflushed.append(in_bytes(json.loads(answer.body)["table"]["remainHowManyDataToFlush"]))
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()
    if not measured.unflushed:
        raise RuntimeError("the broker did not say how much is not flushed")


async def send_replies(endpoints: str, seconds: float, measured: Measured) -> None:
    """Raises BrokerError when one was not confirmed."""
    producer = Producer(BrokerConfig(endpoints, ClientId.new("bench", "127.0.0.1", "flush")), [NAMES.reply_topic])
    await producer.start()
    while not producer.ready:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    body, end = bytes(REPLY_BYTES), time.monotonic() + seconds

    async def session(name: str) -> None:
        while (begin := time.monotonic()) < end:
            confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            producer.enqueue_lite(NAMES.reply_topic, name, body, functools.partial(settle, confirmed))
            await confirmed
            measured.down_ms.append((time.monotonic() - begin) * 1000)
            measured.replies += 1

    try:
        await asyncio.gather(*(session(f"flush-{number}") for number in range(REPLY_SESSIONS)))
    finally:
        await producer.close()


def settle(confirmed: asyncio.Future[None], error: BaseException | None) -> None:
    if error is None:
        confirmed.set_result(None)
    else:
        confirmed.set_exception(error)


async def measure(kind: str, options: argparse.Namespace) -> Measured:
    rocketmq = LocalRocketMQ(
        options.folder / "rocketmq", fresh=True, progress=say, broker_settings={"flushDiskType": kind}
    )
    measured = Measured(seconds=options.seconds)
    try:
        await asyncio.to_thread(rocketmq.start)
        admin = Admin(rocketmq.name_server)
        await admin.ensure_names(NAMES, expiration_minutes=30)
        (broker,) = (await admin.cluster.masters()).values()
        await admin.close()
        async with watching(broker, measured):
            numbers = (NAMES.partitions, options.sessions, options.seconds)
            command = [sys.executable, "-m", "bench.sender", "ours", "bundle", rocketmq.endpoints, NAMES.request_topic]
            async for line in said([*command, *map(str, numbers)], dict(os.environ)):
                if line["line"] == "result":
                    measured.up_ms = line["milliseconds"]
                    if line["failed"]:
                        raise RuntimeError(f"{kind}: {line['failed']} messages were not confirmed")
            await send_replies(rocketmq.endpoints, options.seconds, measured)
    finally:
        await asyncio.to_thread(rocketmq.stop)
    return measured


def summary(one: Measured) -> dict[str, object]:
    """What is kept: thousands of samples are not."""
    percents = (50, 90, 99, 100)
    return {
        "up_ms": {str(percent): percentile(one.up_ms, percent) for percent in percents},
        "down_ms": {str(percent): percentile(one.down_ms, percent) for percent in percents},
        "replies": one.replies,
        "unflushed": one.unflushed,
    }


def rows(results: dict[str, Measured]) -> str:
    heading = ("", "up p50 ms", "p99 ms", "replies/s", "down p50 ms", "p99 ms", "unflushed p50 KB", "most KB")
    lines: list[tuple[str, ...]] = [heading]
    for kind, one in results.items():
        values = [
            percentile(one.up_ms, 50), percentile(one.up_ms, 99), one.replies / one.seconds,
            percentile(one.down_ms, 50), percentile(one.down_ms, 99),
            (percentile(one.unflushed, 50) or 0) / 1000, max(one.unflushed) / 1000,
        ]  # fmt: skip
        lines.append((kind, *(f"{value or 0:,.1f}" for value in values)))
    return aligned(lines, right=tuple(range(1, len(heading))))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.flush", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=100, help="that send audio (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "flush", help="store and logs")
    add_output(parser)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    disk = disk_milliseconds(options.folder)
    results = {kind: asyncio.run(measure(kind, options)) for kind in KINDS}
    figures = [
        Figure("a page written and flushed, p50", percentile(disk, 50), "ms"),
        Figure("the same, p99", percentile(disk, 99), "ms"),
        Figure("confirmed and not flushed at most, ASYNC_FLUSH", max(results["ASYNC_FLUSH"].unflushed) / 1000, "KB"),
    ]
    raw = {"flush": {kind: summary(one) for kind, one in results.items()}}
    return finish("flush", options, figures, raw, f"{options.sessions} sessions up\n\n{rows(results)}")


if __name__ == "__main__":
    sys.exit(main())
