"""What a session costs when there are more of them: a gateway and a worker alone, with 100, 1,000 and 10,000 sessions.

    python -m bench.growth [--seconds 20] [--only gateway|worker]

Gateway (the real process, a canned broker):
- connections that send nothing: memory, and CPU for ticks and pings. A period of pings (20 s) lies in each measurement;
- the same traffic from each number of sessions: 1,000 frames of 20 ms a second, each in an envelope of its own. So each
  of 100 sessions sends ten a second, each of 10,000 one every ten seconds. What so many silent connections cost is
  subtracted: what is left is a frame, decode to confirmed send, and its share of the messages;
- open microphones in frames of 200 ms, 100 and 1,000 of them: messages per second up.

Worker (in this process, no broker): memory of sessions that said nothing after their configuration; CPU per frame of
silence and of a quiet room, all sessions in turn.

Prints one table, writes raw data, and exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench import proc
from bench import worker as alone
from bench.figures import Figure, number
from bench.gateway import FILES_BESIDE, Cost, Running, ours, speaking
from bench.load import count, lines
from bench.programs import cache, program
from bench.report import add_output, finish
from litevoice_dev.progress import say

SESSIONS = (100, 1000, 10_000)
FRAMES_PER_SECOND = 1000
HEARD_SECONDS, HEARD_BEFORE_SECONDS = 2.5, 0.5
"""Of each session. Once in them, what is quiet is settled."""
MICROPHONES = (100, 1000)
MICROPHONE_FRAME_MS = 200
"""Longer frames: a thousand microphones in frames of 20 ms are more than two cores hold."""
KINDS = ("silence", "room")
KIB = 1024
FLAT = 1.15


@dataclass(frozen=True, slots=True)
class Size:
    """A gateway with so many sessions.

    Attributes:
        idle_kib: memory per connection that sends nothing.
        idle_cores: all of them; an empty gateway's share is in it.
        cores: while they send FRAMES_PER_SECOND.
    """

    idle_kib: float
    idle_cores: float
    cores: float
    frames_per_second: float

    @property
    def frame_microseconds(self) -> float:
        return (self.cores - self.idle_cores) * 1e6 / self.frames_per_second


@dataclass(frozen=True, slots=True)
class Gateway:
    """`empty_cores`: without a connection. `microphones`: frames of MICROPHONE_FRAME_MS."""

    empty_cores: float
    sizes: dict[int, Size]
    microphones: dict[int, Cost]

    def idle_microseconds(self, sessions: int) -> float:
        """CPU per second of a connection that sends nothing."""
        return (self.sizes[sessions].idle_cores - self.empty_cores) * 1e6 / sessions


@dataclass(frozen=True, slots=True)
class Worker:
    """By number of sessions: memory of each that says nothing; microseconds per frame, by kind."""

    idle_kib: dict[int, float]
    frame_microseconds: dict[str, dict[int, float]]


async def cores(running: Running, options: Sequence[str]) -> tuple[float, float, float]:
    """Used during the load generator's measurement; its frames per second; the gateway's memory at the end.

    Raises RuntimeError when a connection is lost.
    """
    cpu: list[float] = []
    memory = 0
    async for line in lines(running.url, running.key, options):
        if line["line"] in ("begin", "end"):
            cpu.append(proc.cpu_seconds(running.pid))
            memory = proc.own_memory_bytes(running.pid)
        elif line["line"] == "result":
            if line["lost"]:
                raise RuntimeError(f"{len(line['lost'])} connections were lost: {line['lost'][0]}")
            return (cpu[1] - cpu[0]) / line["seconds"], line["frames"] / line["seconds"], memory
    raise RuntimeError("the load generator gave no result")


async def empty(running: Running, seconds: int) -> float:
    """Cores that a gateway without connections uses."""
    await asyncio.sleep(1)
    cpu, began = proc.cpu_seconds(running.pid), time.monotonic()
    await asyncio.sleep(seconds)
    return (proc.cpu_seconds(running.pid) - cpu) / (time.monotonic() - began)


async def size(sessions: int, options: argparse.Namespace) -> Size:
    nobody = {"typing": 0, "speaking": 0, "seconds": options.seconds}
    async with ours(options.folder) as running:
        before = proc.own_memory_bytes(running.pid)
        silent, _, after = await cores(running, count(microphones=0, idle=sessions, warmup=options.warmup, **nobody))
    every_ms = sessions * 1000 // FRAMES_PER_SECOND
    warmup = options.warmup + every_ms // 1000  # a session's first envelope carries its configuration
    async with ours(options.folder) as running:
        busy, frames, _ = await cores(running, count(microphones=sessions, every_ms=every_ms, warmup=warmup, **nobody))
    found = Size((after - before) / KIB / sessions, silent, busy, frames)
    say(
        f"{number(sessions)} sessions: {found.idle_kib:.1f} KiB each, {silent:.3f} cores idle, "
        f"{found.frame_microseconds:.1f} µs per frame"
    )
    return found


async def gateway(options: argparse.Namespace) -> Gateway:
    await asyncio.to_thread(program, "loadgen")
    async with ours(options.folder) as running:
        nothing = await empty(running, options.seconds)
    sizes = {sessions: await size(sessions, options) for sessions in SESSIONS}
    microphones = {}
    for sessions in MICROPHONES:
        async with ours(options.folder) as running:
            microphones[sessions] = await speaking(running, options, sessions, MICROPHONE_FRAME_MS)
    return Gateway(nothing, sizes, microphones)


async def worker() -> Worker:
    memory = await alone.idle_kib(SESSIONS[1:])
    for sessions, kib in memory.items():
        say(f"worker, {number(sessions)} idle sessions: {kib:.1f} KiB each")
    loops = await alone.sounds()
    await alone.hear(loops["silence"], SESSIONS[0], HEARD_SECONDS)  # what is made once is made
    frames: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        floor = alone.floor_of(loops[kind])  # known, as after some seconds: no session's gate is open
        for sessions in SESSIONS:
            heard = await alone.hear(loops[kind], sessions, HEARD_SECONDS, HEARD_BEFORE_SECONDS, floor)
            frames[kind][sessions] = heard[0]
            say(f"worker, {number(sessions)} sessions, {kind}: {frames[kind][sessions]:.1f} µs per frame")
    return Worker(memory, frames)


def growth(name: str, costs: dict[int, float], unit: str, bar: float | None = None,
           goal: float | None = None) -> list[Figure]:  # fmt: skip
    """A row for each number of sessions, the last one judged; and how much more the dearest is than the first."""
    sizes = sorted(costs)
    rows = [Figure(f"{name}, {number(n)} sessions", costs[n], unit) for n in sizes[:-1]]
    rows.append(Figure(f"{name}, {number(sizes[-1])} sessions", costs[sizes[-1]], unit, bar, goal))
    most = max(costs[n] for n in sizes[1:])
    return [*rows, Figure("  its growth", most / costs[sizes[0]] if costs[sizes[0]] > 0 else None, "×", FLAT)]


def gateway_figures(measured: Gateway) -> list[Figure]:
    judged = SESSIONS[1:]  # what 100 silent connections cost is less than the noise of the measurement
    sizes, microphones = measured.sizes, measured.microphones
    return [
        *growth("gateway CPU per frame", {n: one.frame_microseconds for n, one in sizes.items()}, "µs"),
        *growth("gateway CPU per idle session and second", {n: measured.idle_microseconds(n) for n in judged}, "µs"),
        *growth("gateway memory, idle", {n: sizes[n].idle_kib for n in judged}, "KiB", 20, 12),
        *growth(
            f"gateway CPU per frame of {MICROPHONE_FRAME_MS} ms",
            {n: one.frame_microseconds for n, one in microphones.items()},
            "µs",
        ),
        *(Figure(f"messages up, {number(n)} sessions", one.messages_per_second, "/s", 160)
          for n, one in microphones.items()),
    ]  # fmt: skip


def worker_figures(measured: Worker) -> list[Figure]:
    frames = [growth(f"worker CPU per frame of {kind}", costs, "µs")
              for kind, costs in measured.frame_microseconds.items()]  # fmt: skip
    # Its growth is not judged: what the process still had free makes the smaller number cheaper.
    memory = growth("worker memory, idle", measured.idle_kib, "KiB", 4, 2)[:-1]
    return [*(figure for some in frames for figure in some), *memory]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=20, help="of each measurement (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="seconds before each (default: %(default)s)")
    parser.add_argument("--only", choices=("gateway", "worker"), help="(default: both)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "growth", help="settings and logs")
    add_output(parser)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    proc.allow_open_files(max(SESSIONS) + FILES_BESIDE)
    figures: list[Figure] = []
    raw = {}
    with contextlib.closing(asyncio.Runner(loop_factory=uvloop.new_event_loop)) as runner:
        if options.only != "gateway":
            of_worker = runner.run(worker())
            figures, raw["worker"] = worker_figures(of_worker), asdict(of_worker)
        if options.only != "worker":
            of_gateway = runner.run(gateway(options))
            figures, raw["gateway"] = [*gateway_figures(of_gateway), *figures], asdict(of_gateway)
    return finish("growth", options, figures, raw, f"{', '.join(map(number, SESSIONS))} sessions")


if __name__ == "__main__":
    sys.exit(main())
