"""A gateway alone, beside others that do the same work, in one run.

    python -m bench.gateway [--sessions 100] [--rounds 3]

Ours is the real process with a canned broker as its neighbour: it decodes, keeps what a replay needs, sends over gRPC
and waits for the confirmation. The others accept, decode the event and its base64, collect 100 ms of each session, and
write one message per partition and beat to a canned sink that confirms it: Rust (tokio-tungstenite, one thread), Go
(gorilla), Python (websockets). They know no sessions, keep nothing and speak no gRPC, so they do less.

Contenders take turns, round by round; ratios are those of the same round. What costs more per session when there are
more of them: bench/growth.py.

Prints one table, writes raw data, and exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from bench import proc
from bench.figures import Figure, aligned, number, spread
from bench.load import count, lines
from bench.programs import cache, program
from bench.report import add_output, finish
from litevoice_contracts.names import Names
from litevoice_dev import processes
from litevoice_dev.ports import HOST, free_port, listens
from litevoice_dev.progress import say
from litevoice_dev.stack import LocalStack

PARTITIONS = 8
OURS = "litevoice"
REFERENCE = "Rust, tungstenite"
KIB = 1024
FILES_BESIDE = 200
"""What a process has open that is no connection."""
_NO_KEY = "none"


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that can be called. `log`: of its canned broker, when it has one."""

    pid: int
    url: str
    key: str = _NO_KEY
    log: Path | None = None

    def messages(self) -> tuple[float, int] | None:
        """When (time.monotonic()) the canned broker had taken how many."""
        if self.log is None:
            return None
        reports = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return (reports[-1]["at"], reports[-1]["messages"]) if reports else None


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU per frame; messages up per second, where somebody counts them."""

    frame_microseconds: float
    messages_per_second: int | None


@dataclass(slots=True)
class Results:
    """One contender's, a value per round."""

    frame_microseconds: list[float] = field(default_factory=list)
    idle_kib: list[float] = field(default_factory=list)


Start = Callable[[Path], AbstractAsyncContextManager[Running]]


@contextlib.asynccontextmanager
async def child(command: Sequence[str], log: Path, port: int) -> AsyncIterator[int]:
    """Process id of a program that listens on `port`. Raises RuntimeError when it ends before it does."""
    process = processes.spawn(command, log=log)
    try:
        while not listens(port):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended at its start:\n{processes.last_lines(log)}")
            await asyncio.sleep(0.05)
        yield process.pid
    finally:
        await asyncio.to_thread(processes.stop, process)


@contextlib.asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[Running]:
    port, nobody = free_port(), free_port()
    log = folder / "canned-proxy.log"
    async with child([sys.executable, "-m", "bench.canned_proxy", str(port)], log, port):
        stack = LocalStack(
            folder,
            f"{HOST}:{port}",
            f"{HOST}:{nobody}",
            names=Names("bench-requests", "bench-replies", PARTITIONS),
            # No worker says that it is done with anything: keep little, and do not ask.
            gateway={"maxSessions": 100_000, "retainedSeconds": 5, "probeSeconds": 600, "maxHeldMebibytes": 4096},
            progress=say,
        )
        gateway = stack.start_gateway()
        try:
            await gateway.wait_ready()
            yield Running(gateway.process.pid, f"{gateway.url}/realtime", stack.api_key, log)
        finally:
            await asyncio.to_thread(stack.kill)


@contextlib.asynccontextmanager
async def peer(command: Sequence[str], folder: Path) -> AsyncIterator[Running]:
    """`command` gets the ports to listen on and of the sink."""
    port, sink = free_port(), free_port()
    async with (
        child([sys.executable, "-m", "bench.canned_sink", str(sink)], folder / "sink.log", sink),
        child([*command, str(port), str(sink)], folder / "peer.log", port) as pid,
    ):
        yield Running(pid, f"ws://{HOST}:{port}/v1/realtime")


def contenders() -> dict[str, Start]:
    return {
        OURS: ours,
        REFERENCE: partial(peer, [program("peer-rust")]),
        "Go, gorilla": partial(peer, [program("peer-go")]),
        "Python, websockets": partial(peer, [sys.executable, "-m", "bench.peers.python_websockets"]),
    }


async def speaking(running: Running, options: argparse.Namespace, microphones: int, frame_ms: int = 20) -> Cost:
    """Raises RuntimeError when a connection is lost."""
    numbers = count(
        microphones=microphones, typing=0, speaking=0, frame_ms=frame_ms, warmup=options.warmup, seconds=options.seconds
    )
    cpu: list[float] = []
    messages: list[tuple[float, int] | None] = []
    frames = 0
    async for line in lines(running.url, running.key, numbers):
        if line["line"] in ("begin", "end"):
            cpu.append(proc.cpu_seconds(running.pid))
            messages.append(running.messages())
        elif line["line"] == "result":
            if line["lost"]:
                raise RuntimeError(f"{len(line['lost'])} connections were lost: {line['lost'][0]}")
            frames = line["frames"]
    return Cost((cpu[1] - cpu[0]) * 1e6 / frames, rate(*messages))


def rate(before: tuple[float, int] | None, after: tuple[float, int] | None) -> int | None:
    """Whole messages per second: which of them falls into the last second is chance. None when nobody counted."""
    if before is None or after is None or after[0] <= before[0]:
        return None
    return round((after[1] - before[1]) / (after[0] - before[0]))


async def idle(running: Running, connections: int, results: Results) -> None:
    """KiB of memory per connection that is open and silent."""
    empty = proc.own_memory_bytes(running.pid)
    async for line in lines(running.url, running.key, count(microphones=0, typing=0, speaking=0, idle=connections,
                                                            warmup=2, seconds=1)):  # fmt: skip
        if line["line"] == "end":
            results.idle_kib.append((proc.own_memory_bytes(running.pid) - empty) / KIB / connections)


async def measure(options: argparse.Namespace) -> dict[str, Results]:
    await asyncio.to_thread(program, "loadgen")
    everybody = await asyncio.to_thread(contenders)
    results = {name: Results() for name in everybody}
    for turn in range(options.rounds):
        names = list(everybody)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            async with everybody[name](options.folder) as running:
                cost = await speaking(running, options, options.sessions)
                results[name].frame_microseconds.append(cost.frame_microseconds)
            say(
                f"round {turn + 1} of {options.rounds}: {name}: {results[name].frame_microseconds[-1]:.1f} µs per frame"
            )
    for name, start in everybody.items():
        async with start(options.folder) as running:
            await idle(running, options.idle, results[name])
        say(f"{options.idle} idle connections: {name}: {results[name].idle_kib[-1]:.1f} KiB each")
    return results


def ratios(results: dict[str, Results], name: str) -> list[float]:
    """Ours to that contender's CPU per frame, round by round."""
    return [
        mine / theirs
        for mine, theirs in zip(results[OURS].frame_microseconds, results[name].frame_microseconds, strict=True)
    ]


def figures(results: dict[str, Results]) -> list[Figure]:
    mine = results[OURS]
    return [
        Figure("gateway CPU per frame, decode to confirmed send", statistics.median(mine.frame_microseconds), "µs", 35),
        Figure(f"the same, to {REFERENCE}", statistics.median(ratios(results, REFERENCE)), "×", goal=1.15),
        Figure("memory per idle session, gateway", statistics.median(mine.idle_kib), "KiB", 20, 12),
    ]


def comparison(results: dict[str, Results]) -> str:
    rows = [("", "µs per frame", "ours to it", "KiB per idle connection")]
    for name, one in results.items():
        ratio = "" if name == OURS else spread(ratios(results, name))
        rows.append((name, spread(one.frame_microseconds), ratio, number(statistics.median(one.idle_kib))))
    return aligned(rows, right=(1, 2, 3))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=100, help="open microphones (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=3, help="seconds before each (default: %(default)s)")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "gateway", help="settings and logs")
    add_output(parser)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    proc.allow_open_files(options.idle + FILES_BESIDE)
    results = asyncio.run(measure(options))
    heading = f"{options.sessions} open microphones, {options.rounds} rounds of {options.seconds} s"
    raw = {"contenders": {name: asdict(one) for name, one in results.items()}}
    return finish("gateway", options, figures(results), raw, f"{heading}\n\n{comparison(results)}")


if __name__ == "__main__":
    sys.exit(main())
