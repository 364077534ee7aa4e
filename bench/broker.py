"""The way up alone: our producer beside the official Python client, the same bytes to a real RocketMQ, in one run.

    python -m bench.broker [--sessions 50] [--rounds 3]

Each client sends in both shapes: a message for each session's 100 ms of audio (4,800 bytes), and a bundle of all
sessions of a partition. They take turns, round by round; ratios are those of the same round. The official client has
several messages of a session under way, which may reorder them; ours one request per partition, so it waits longer.
Prints one table and writes raw data.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import proc
from bench.figures import Figure, aligned, percentile, spread
from bench.load import said
from bench.programs import cache
from bench.report import add_output, finish
from bench.sender import BEAT_SECONDS
from litevoice_broker.admin import Admin
from litevoice_contracts.names import Names
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ

NAMES = Names("bench-sent", "bench-sent-replies", 8)
Contender = tuple[str, str]
"""Client and shape."""
OURS, OFFICIAL = "ours", "official"
CONTENDERS: tuple[Contender, ...] = tuple(
    (client, shape) for client in (OURS, OFFICIAL) for shape in ("session", "bundle")
)


@dataclass(slots=True)
class Results:
    """A value per round. CPU in microseconds for 100 ms of a session's audio."""

    client_microseconds: list[float] = field(default_factory=list)
    rocketmq_microseconds: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


async def run(contender: Contender, endpoints: str, options: argparse.Namespace, results: Results) -> None:
    """Raises RuntimeError when a message was not confirmed."""
    numbers = (NAMES.partitions, options.sessions, options.seconds)
    command = [sys.executable, "-m", "bench.sender", *contender, endpoints, NAMES.request_topic, *map(str, numbers)]
    home = {"HOME": str(options.folder)}  # the official client writes its log there
    samples = []
    async for line in said(command, {**os.environ, **home}):
        if line["line"] in ("begin", "end"):
            samples.append(proc.sample(proc.children(), time.monotonic()))
            continue
        if line["failed"]:
            raise RuntimeError(f"{' '.join(contender)}: {line['failed']} messages were not confirmed")
        beats = options.sessions * options.seconds / BEAT_SECONDS
        began, ended = samples
        rocketmq = sum(ended.parts[part] - began.parts[part] for part in ("broker", "proxy", "name server"))
        results.client_microseconds.append(line["cpu_seconds"] * 1e6 / beats)
        results.rocketmq_microseconds.append(rocketmq * 1e6 / beats)
        results.p50_ms.append(percentile(line["milliseconds"], 50) or 0.0)
        results.p99_ms.append(percentile(line["milliseconds"], 99) or 0.0)


async def measure(options: argparse.Namespace) -> dict[Contender, Results]:
    rocketmq = LocalRocketMQ(options.folder / "rocketmq", fresh=True, progress=say)
    results = {contender: Results() for contender in CONTENDERS}
    try:
        await asyncio.to_thread(rocketmq.start)
        admin = Admin(rocketmq.name_server)
        await admin.ensure_names(NAMES, expiration_minutes=30)
        await admin.close()
        for turn in range(options.rounds):
            for index in range(len(CONTENDERS)):
                contender = CONTENDERS[(turn + index) % len(CONTENDERS)]
                await run(contender, rocketmq.endpoints, options, results[contender])
                cost = results[contender].client_microseconds[-1]
                say(f"round {turn + 1} of {options.rounds}: {' '.join(contender)}: {cost:.0f} µs, "
                    f"p99 {results[contender].p99_ms[-1]:.0f} ms")  # fmt: skip
    finally:
        await asyncio.to_thread(rocketmq.stop)
    return results


def ratios(results: dict[Contender, Results], mine: Contender, theirs: Contender) -> list[float]:
    """CPU of `mine` to `theirs`, round by round."""
    pairs = zip(results[mine].client_microseconds, results[theirs].client_microseconds, strict=True)
    return [one / other for one, other in pairs]


def figures(results: dict[Contender, Results]) -> list[Figure]:
    found = []
    for shape in ("session", "bundle"):
        ratio = ratios(results, (OURS, shape), (OFFICIAL, shape))
        name = f"our client's CPU to the official one's, a message per {shape}"
        found.append(Figure(name, statistics.median(ratio), "×", 1, note=spread(ratio)))
    ratio = ratios(results, (OURS, "bundle"), (OURS, "session"))
    return [
        *found,
        Figure("ours, bundles to messages per session", statistics.median(ratio), "×", 1, note=spread(ratio)),
    ]


def comparison(results: dict[Contender, Results]) -> str:
    rows = [("client, a message per", "µs of the client", "µs of RocketMQ", "confirmed p50 ms", "p99 ms")]
    for (client, shape), one in results.items():
        columns = (one.client_microseconds, one.rocketmq_microseconds, one.p50_ms, one.p99_ms)
        rows.append((f"{client}, {shape}", *map(spread, columns)))  # type: ignore[arg-type]
    return aligned(rows, right=(1, 2, 3, 4))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.broker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=50, help="that send audio (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "broker", help="store and logs")
    add_output(parser)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    results = asyncio.run(measure(options))
    heading = (
        f"{options.sessions} sessions, {options.rounds} rounds of {options.seconds} s; CPU for 100 ms of one session"
    )
    raw = {"contenders": {" ".join(contender): asdict(one) for contender, one in results.items()}}
    return finish("broker", options, figures(results), raw, f"{heading}\n\n{comparison(results)}")


if __name__ == "__main__":
    sys.exit(main())
