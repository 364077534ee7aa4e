"""A storm: the gateway that holds all sessions is killed, and they come back through another one.

    python -m bench.storm [--sessions 10000]

Real RocketMQ, two gateways, one real worker. Each session has configured itself and added a message before the kill -9.
Its client notices the reset, waits for a moment of its own within a second, and comes back to the other gateway as one
that has not seen the last event: it is live when `session.created` names its session and that event has come again,
from its LiteTopic. When all are back each adds one more message, which must come back as well. Nobody speaks: what is
measured is the way back.

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

from bench import plot, proc, report
from bench.load import count, lines
from bench.programs import cache, program
from bench.storm_figures import figures
from litevoice_contracts import metrics
from litevoice_contracts.names import Names
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import LocalStack

PARTITIONS = 8
MAX_SESSIONS = 100_000
SAMPLE_SECONDS = 0.25
QUIET_SECONDS = 5.0
"""Between the last preparation and the kill: what the parts still had to do is done."""


@dataclass
class Run:
    """Everything that was measured. `killed_at`: seconds since 1970; `samples`: since the kill."""

    killed_at: float = 0.0
    load: dict[str, Any] = field(default_factory=dict)
    samples: list[proc.Sample] = field(default_factory=list)
    takeovers: float = 0.0


@contextlib.asynccontextmanager
async def place(folder: Path) -> AsyncIterator[LocalStack]:
    """RocketMQ, one worker and two gateways; stopped at the end."""
    rocketmq = LocalRocketMQ(folder / "rocketmq", fresh=True, progress=say)
    stack: LocalStack | None = None
    try:
        await asyncio.to_thread(rocketmq.start)
        stack = LocalStack(
            folder / "stack",
            rocketmq.endpoints,
            rocketmq.name_server,
            names=Names("bench-requests", "bench-replies", PARTITIONS),
            gateway={"maxSessions": MAX_SESSIONS},
            worker={"maxSessions": MAX_SESSIONS},
            worker_names=("worker-0",),
            progress=say,
        )
        await stack.start(gateways=2)
        yield stack
    finally:
        if stack is not None:
            await asyncio.to_thread(stack.kill)
        await asyncio.to_thread(rocketmq.kill)


async def sampling(run: Run) -> None:
    """CPU of every part, until it is cancelled."""
    sampler = proc.Sampler(proc.children())
    while True:
        run.samples.append(sampler.sample(time.monotonic()))
        await asyncio.sleep(SAMPLE_SECONDS)


async def storm(stack: LocalStack, sessions: int, run: Run) -> None:
    """Raises RuntimeError when the load generator fails."""
    dying, surviving = stack.gateways
    sampler: asyncio.Task[None] | None = None
    options = ["--next", f"{surviving.url}/realtime", *count(storm=sessions)]
    async for line in lines(f"{dying.url}/realtime", stack.api_key, options):
        match line.pop("line"):
            case "prepared":
                say(f"{line['sessions']} sessions have said something, after {line['seconds']:.1f} s")
                await asyncio.sleep(QUIET_SECONDS)
                sampler = asyncio.create_task(sampling(run))
                await asyncio.sleep(0)
                run.killed_at = time.time()
                dying.kill()
                say("their gateway was killed")
            case "back":
                say(f"{line['sessions']} sessions are back; each says one more thing")
                if sampler is not None:
                    sampler.cancel()
            case "storm":
                run.load = line
    run.takeovers = await surviving.metric(metrics.GATEWAY_TAKEOVERS)


async def measure(folder: Path, options: argparse.Namespace) -> Run:
    await asyncio.to_thread(program, "loadgen")
    run = Run()
    async with place(folder) as stack:
        await storm(stack, options.sessions, run)
    return run


def measurements(run: Run) -> dict[str, Any]:
    """Raw. Sessions: seconds from the kill to: it noticed, last attempt, `session.created`, live; and attempts."""
    keys = ("gone_at", "tried_at", "created_at", "live_at")
    returned = [
        [*(round(session[key] - run.killed_at, 3) for key in keys), session["attempts"]]
        for session in run.load["returned"]
    ]
    return {
        "load": run.load | {"returned": returned},
        "takeovers": run.takeovers,
        "cpu": [[round(one.at - run.samples[0].at, 2), one.parts] for one in run.samples],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "storm", help="store, settings and logs")
    report.add_output(parser)
    options = parser.parse_args(arguments)
    if options.sessions < 1:
        parser.error("--sessions: expected at least 1")
    options.folder.mkdir(parents=True, exist_ok=True)
    run = asyncio.run(measure(options.folder, options))
    found = figures(options.sessions, run.killed_at, run.load, run.samples)
    raw = measurements(run)
    picture = options.output / f"storm-{options.sessions}.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(plot.storm(report.raw(options, found, raw)))
    heading = f"{options.sessions} sessions come back after kill -9 of their gateway"
    return report.finish(f"storm-{options.sessions}", options, found, raw, heading)


if __name__ == "__main__":
    sys.exit(main())
