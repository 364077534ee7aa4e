"""The whole path on this machine: RocketMQ, one gateway, one worker, open microphones, callers that type and speak.

    python -m bench.path [--sessions 200] [--seconds 120]

Every second microphone is silent, the others stand in a quiet room (-55 dBFS). 10 callers type a question every second
(text answers), 5 say a word every 4 seconds. ASR and TTS do nothing, answers come from the worker's local responder.
"Mouth to echo" is from the word's last frame to the first audio of the answer; turn detection waits for 100 ms of
silence in it. A question that is not answered counts with the time its caller has waited.

Prints one table, writes raw data and a plot, and exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench import null_stages, plot, proc, report
from bench.load import count, lines
from bench.path_figures import Window, figures
from bench.programs import cache, program
from litevoice_broker.config import AdminAccess
from litevoice_broker.fastjson import parse
from litevoice_broker.remoting import RemotingClient
from litevoice_contracts import metrics
from litevoice_contracts.names import Names
from litevoice_dev import processes
from litevoice_dev.ports import free_port, listens
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.speech import speak
from litevoice_dev.stack import LocalStack

PARTITIONS = 8
WORD = "hello"
SILENT_BELOW = 300
"""Samples (16 bit) below it are not part of the word."""
SAY_EVERY_SECONDS = 5
COUNT_BEFORE_SECONDS = 4
"""The first look at the parts' own counters: it takes the broker's time, so it ends before what is measured begins."""
_TOPIC_STATS, _RUNTIME_INFO = 202, 28


@dataclass
class Run:
    """Everything that was measured."""

    load: dict[str, Any] = field(default_factory=dict)
    seconds: list[dict[str, Any]] = field(default_factory=list)
    samples: list[proc.Sample] = field(default_factory=list)
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """What the parts themselves count, at one moment (`at`, time.monotonic())."""

    at: float
    messages: float
    up: float
    replays: float
    dropped: float


@dataclass(frozen=True, slots=True)
class Place:
    rocketmq: LocalRocketMQ
    stack: LocalStack

    async def counters(self) -> Counters:
        client = RemotingClient(self.rocketmq.broker.address, access=AdminAccess(), timeout_seconds=5.0)
        asked = time.monotonic()
        try:
            answers = await asyncio.gather(
                client.call(_RUNTIME_INFO),
                *(client.call(_TOPIC_STATS, {"topic": topic}) for topic in self.stack.names.partition_topics),
            )
        finally:
            await client.close()
        at = (asked + time.monotonic()) / 2
        info, *topics = (parse(answer.body) for answer in answers)
        up = sum(int(queue["maxOffset"]) for topic in topics for queue in dict(topic["offsetTable"]).values())
        gateway = self.stack.gateways[0]
        dropped = [
            await gateway.metric(metrics.GATEWAY_DROPPED, what=what) for what in ("retained_packets", "stale_attempt")
        ]
        replays = await gateway.metric(metrics.GATEWAY_REPLAYS)
        return Counters(at, float(info["table"]["msgPutTotalTodayNow"]), up, replays, sum(dropped))


def trimmed(pcm: bytes) -> bytes:
    """PCM16 without the silence around the word: what is measured begins with its last sound."""
    samples = np.frombuffer(pcm, dtype="<i2")
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= SILENT_BELOW)
    if not len(loud):
        raise ValueError(f"nothing in it is louder than {SILENT_BELOW}")
    return samples[loud[0] : loud[-1] + 1].tobytes()


@contextlib.asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    """RocketMQ, null stages, one worker and one gateway; stopped at the end."""
    rocketmq = LocalRocketMQ(folder / "rocketmq", fresh=True, progress=say)
    stack: LocalStack | None = None
    try:
        await asyncio.to_thread(rocketmq.start)
        port = free_port()
        stages = processes.spawn([sys.executable, "-m", "bench.null_stages", str(port)], log=folder / "null-stages.log")
        while not listens(port):
            if stages.poll() is not None:
                raise RuntimeError(f"the null stages ended:\n{processes.last_lines(folder / 'null-stages.log')}")
            await asyncio.sleep(0.05)
        stack = LocalStack(
            folder / "stack",
            rocketmq.endpoints,
            rocketmq.name_server,
            names=Names("bench-requests", "bench-replies", PARTITIONS),
            worker={"pipelines": null_stages.pipelines(port)},
            worker_names=("worker-0",),
            progress=say,
        )
        await stack.start(gateways=1)
        yield Place(rocketmq, stack)
    finally:
        if stack is not None:
            await asyncio.to_thread(stack.stop)
        await asyncio.to_thread(rocketmq.stop)


async def load(where: Place, word: Path, options: argparse.Namespace, run: Run) -> None:
    """Runs the load generator and samples beside it. Raises RuntimeError when it fails."""
    numbers = count(
        microphones=options.sessions,
        typing=options.typing,
        speaking=options.speaking,
        warmup=options.warmup,
        seconds=options.seconds,
    )
    sampler = proc.Sampler({})
    memory: dict[str, int] = {}
    counts: list[asyncio.Task[Counters]] = []
    async for line in lines(
        f"{where.stack.gateways[0].url}/realtime", where.stack.api_key, ["--word", str(word), *numbers]
    ):
        match line.pop("line"):
            case "connected":
                say(f"{line['connections']} connections are open after {line['seconds']:.1f} s; warming up")
            case "begin":
                sampler = proc.Sampler(proc.children())
                run.samples.append(sampler.sample(time.monotonic()))
            case "second":
                if line["phase"] == "measure":
                    run.samples.append(sampler.sample(time.monotonic()))
                    run.seconds.append(line)
                elif line["second"] == options.warmup - COUNT_BEFORE_SECONDS:
                    counts.append(asyncio.create_task(where.counters()))
                if line["second"] % SAY_EVERY_SECONDS == 0:
                    say(describe(line, options))
            case "end":
                counts.append(asyncio.create_task(where.counters()))
                memory = sampler.memory()
            case "result":
                run.load = line
    began, ended = await asyncio.gather(*counts)
    elapsed, up = ended.at - began.at, ended.up - began.up
    run.window = Window(
        began=run.samples[0],
        ended=run.samples[-1],
        up_per_second=up / elapsed,
        down_per_second=(ended.messages - began.messages - up) / elapsed,
        replays=ended.replays - began.replays,
        dropped=ended.dropped - began.dropped,
        memory=memory,
    )


def describe(line: dict[str, Any], options: argparse.Namespace) -> str:
    total = options.seconds if line["phase"] == "measure" else options.warmup
    return (
        f"{line['phase']} {line['second']} of {total} s: {line['frames']} frames/s, {line['answers']} answers, "
        f"the slowest {line['slowest_ms']:.0f} ms, {line['waiting']} wait, {line['lost']} lost"
    )


async def measure(folder: Path, options: argparse.Namespace) -> Run:
    await asyncio.to_thread(program, "loadgen")
    word = folder / "word.pcm"
    word.write_bytes(trimmed(await speak(WORD)))
    run = Run()
    async with place(folder) as where:
        await load(where, word, options, run)
    return run


def measurements(run: Run) -> dict[str, Any]:
    """Raw. Answers: second in which it was asked, then milliseconds to the first event, to the end, and waited."""

    def rounded(answer: dict[str, Any]) -> list[float | None]:
        return [
            None if answer[key] is None else round(answer[key], 2)
            for key in ("asked_at", "first_ms", "done_ms", "waited_ms")
        ]

    kinds = {kind: [rounded(answer) for answer in run.load[kind]] for kind in ("typed", "spoken")}
    return {
        "load": run.load | kinds,
        "seconds": run.seconds,
        "cpu": [[round(one.at - run.samples[0].at, 2), one.parts] for one in run.samples],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.path", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=200, help="open microphones (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=120, help="of the measurement (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=45, help="seconds before it (default: %(default)s)")
    parser.add_argument("--typing", type=int, default=10, help="callers that type (default: %(default)s)")
    parser.add_argument("--speaking", type=int, default=5, help="callers that speak (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "run", help="store, settings and logs")
    report.add_output(parser)
    options = parser.parse_args(arguments)
    if options.sessions < 1 or options.seconds < 1:
        parser.error("--sessions and --seconds: expected at least 1")
    if options.warmup <= COUNT_BEFORE_SECONDS:
        parser.error(f"--warmup: expected at least {COUNT_BEFORE_SECONDS + 1}")
    options.folder.mkdir(parents=True, exist_ok=True)
    run = asyncio.run(measure(options.folder, options))
    assert run.window is not None
    found = figures(options.sessions, run.load, run.window)
    raw = measurements(run)
    picture = options.output / f"path-{options.sessions}.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(plot.path(report.raw(options, found, raw)))
    heading = f"{options.sessions} open microphones, {options.seconds} s"
    return report.finish(f"path-{options.sessions}", options, found, raw, heading)


if __name__ == "__main__":
    sys.exit(main())
