"""Three times the load that the stack holds, then half of it: what happens to those inside, and to those who want in.

    python -m bench.overload [--callers 16] [--seconds 60] [--short worker|gateway]

The worker (or the gateway) gets so much CPU that `callers` use all of it, measured first: an open, loud microphone and
a typed question every second each. Then three times as many call, and call again when they are refused. After `seconds`
all but half of `callers` hang up. At the end the worker stands still for a while.

Prints one table, writes raw data, and exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import proc, report
from bench.cpu_quota import CpuQuota, cpu_seconds
from bench.crowd import Crowd
from bench.figures import Figure, percentile
from bench.programs import cache
from litevoice_contracts import metrics
from litevoice_contracts.names import Names
from litevoice_dev.local_place import LocalPlace
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import LocalStack, Member
from litevoice_dev.tally import tally_events

RECOVERED_SECONDS = 0.5
WINDOW_SECONDS = 2.0
MAX_GROWTH_BYTES = 64 << 20
_LONGEST_RELIEF_SECONDS = 15.0
_HANG_UP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds, but for some.

    Attributes:
        callers: so many use up what the worker (or the gateway: `short`) may use.
        relief: after the recovery.
        audited: sessions whose log is read and compared with what their callers heard.
    """

    callers: int = 16
    short: str = "worker"
    calibration: float = 3.0
    arrival: float = 16.0
    overload: float = 60.0
    relief: float = 15.0
    freeze: float = 20.0
    audited: int = 4


@dataclass
class Outcome:
    """What was seen. Times in seconds.

    Attributes:
        cores: what the worker, or the gateway, got.
        inside: callers that were in at the end of the overload.
        full: what the gateway said of itself, and how often, once a second.
        before_refusal, overloaded, relieved: how long answers took: until the first refusal, in the last third of the
            overload, from `recovered_after` on.
        recovered_after: when all answers of WINDOW_SECONDS took less than RECOVERED_SECONDS; None: never.
        frozen: how long answers to questions took that were asked while the worker stood still.
        turns: that workers completed; must be the questions asked.
        grown: memory of each member at the end of the overload, less what it had before, in bytes.
        counters: of members, which must all be 0.
        wrong: what callers saw that must not happen.
    """

    cores: float = 0.0
    inside: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    full: Counter[str] = field(default_factory=Counter)
    metric_full: float = 0.0
    before_refusal: list[float] = field(default_factory=list)
    overloaded: list[float] = field(default_factory=list)
    relieved: list[float] = field(default_factory=list)
    recovered_after: float | None = None
    frozen: list[float] = field(default_factory=list)
    asked: int = 0
    answered: int = 0
    turns: float = 0.0
    grown: dict[str, int] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


MUST_BE_ZERO: dict[str, dict[str, str]] = {
    metrics.GATEWAY_REPLAYS: {},
    metrics.GATEWAY_PACKETS_LOST: {},
    metrics.GATEWAY_EVICTIONS: {},
    metrics.WORKER_GAPS: {},
    metrics.BROKER_RECONNECTS: {},
    metrics.BROKER_HEALS: {},
}


async def run(stack: LocalStack, plan: Plan, tell: Callable[[str], None]) -> Outcome:
    """`stack` has one gateway and one worker, which is exchanged."""
    seen = Outcome()
    seen.cores = await calibrate(stack, plan, tell)
    await limited(stack, plan, seen.cores)
    gateway, worker = stack.gateways[0], stack.workers[0]
    before = memory(gateway, worker)
    crowd = Crowd(gateway.url, stack.api_key)
    with CpuQuota(short_of(stack, plan).process.pid, seen.cores):
        await overload(crowd, gateway, plan, seen, tell)
        seen.grown = {name: size - before[name] for name, size in memory(gateway, worker).items()}
        await relief(crowd, plan, seen, tell)
    frozen_at = time.monotonic()
    if plan.freeze:
        worker.freeze()
        await asyncio.sleep(plan.freeze)
        worker.thaw()
    crowd.leave()
    async with asyncio.timeout(_HANG_UP_SECONDS):
        await crowd.gone()
    seen.frozen = crowd.since(frozen_at)
    seen.refused, seen.asked, seen.answered = crowd.refused, crowd.asked, len(crowd.answers)
    seen.turns = await worker.metric(metrics.WORKER_TURNS, outcome="completed")
    for member in (gateway, worker):
        for name, labels in MUST_BE_ZERO.items():
            seen.counters[f"{member.name} {name}"] = await member.metric(name, **labels)
    seen.wrong = crowd.wrong + crowd.sent_away + await audited(stack, crowd, plan.audited)
    return seen


async def calibrate(stack: LocalStack, plan: Plan, tell: Callable[[str], None]) -> float:
    """Cores that the worker uses for so many callers."""
    crowd = Crowd(stack.gateways[0].url, stack.api_key)
    await crowd.arrive(plan.callers, 1.0)
    await asyncio.sleep(plan.calibration)
    pid, began = short_of(stack, plan).process.pid, time.monotonic()
    used = cpu_seconds(pid)
    await asyncio.sleep(plan.calibration)
    cores = (cpu_seconds(pid) - used) / (time.monotonic() - began)
    crowd.leave()
    await crowd.gone()
    if crowd.wrong:
        raise RuntimeError(f"with all of the CPU: {crowd.wrong[0]}")
    async with asyncio.timeout(_HANG_UP_SECONDS):
        await all_applied(crowd, *stack.gateways, *stack.workers)
    tell(f"{plan.callers} callers take {cores:.2f} cores of the {plan.short}: that is what it gets")
    return cores


async def all_applied(crowd: Crowd, gateway: Member, worker: Member) -> None:
    """Returns when the worker has all that the sessions have sent: the next one would ask for what is left of them."""
    while True:
        ended = gateway.log.read_text().count('"session ended"')
        applied, published = await worker.metric(metrics.WORKER_PACKETS), await gateway.metric(metrics.GATEWAY_PACKETS)
        if ended >= len(crowd.sessions) and applied >= published:
            return
        await asyncio.sleep(0.1)


def short_of(stack: LocalStack, plan: Plan) -> Member:
    """Who gets less than it needs."""
    return stack.workers[0] if plan.short == "worker" else stack.gateways[0]


async def limited(stack: LocalStack, plan: Plan, cores: float) -> None:
    """Who is short of CPU starts anew; a worker knows what it may use, as by its container."""
    old = short_of(stack, plan)
    old.terminate()
    await old.wait_gone()
    if plan.short == "worker":
        stack.worker = {**stack.worker, "cpuMillicores": round(cores * 1000)}
        stack.replace_worker(old)
    else:
        stack.replace_gateway(old)
    await short_of(stack, plan).wait_ready()


def memory(*members: Member) -> dict[str, int]:
    return {member.name: proc.memory_bytes(member.process.pid) for member in members}


async def overload(crowd: Crowd, gateway: Member, plan: Plan, seen: Outcome, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    arriving = asyncio.create_task(crowd.arrive(3 * plan.callers, plan.arrival))
    while (elapsed := time.monotonic() - began) < plan.overload:
        await asyncio.sleep(1.0)
        full = (await gateway.status())["full"]
        seen.full[full] += 1
        shown = await gateway.metric(metrics.GATEWAY_FULL, reason=full or f"{plan.short}_cpu")
        seen.metric_full = max(seen.metric_full, shown)
        p99 = percentile(crowd.since(time.monotonic() - 3), 99) or 0.0
        tell(
            f"{elapsed:.0f} of {plan.overload:.0f} s: {len(crowd.inside)} callers inside, answers within "
            f"{p99 * 1000:.0f} ms, {crowd.refused.total()} refused, full: {full or 'no'}"
        )
    await arriving
    seen.inside = len(crowd.inside)
    first = crowd.first_refusal_at or time.monotonic()
    seen.before_refusal = crowd.since(began, first)
    seen.overloaded = crowd.since(time.monotonic() - plan.overload / 3)


async def relief(crowd: Crowd, plan: Plan, seen: Outcome, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    crowd.leave(stay=plan.callers // 2)
    while (now := time.monotonic()) - began < (seen.recovered_after or _LONGEST_RELIEF_SECONDS) + plan.relief:
        await asyncio.sleep(0.1)
        lately = crowd.since(max(began, now - WINDOW_SECONDS))
        if (
            seen.recovered_after is None
            and now - began >= WINDOW_SECONDS
            and max(lately, default=9.9) < RECOVERED_SECONDS
        ):
            seen.recovered_after = now - began
    seen.relieved = crowd.since(began + min(10.0, seen.recovered_after or 10.0))
    tell(f"relief: all answers within 500 ms after {seen.recovered_after or float('nan'):.1f} s")


async def audited(stack: LocalStack, crowd: Crowd, count: int) -> list[str]:
    """What is missing, doubled or out of order in what some callers heard, by the broker's log of their sessions."""
    place, wrong = LocalPlace(stack), []
    for caller in crowd.sessions[:: -(-len(crowd.sessions) // count)]:
        positions = [heard.split("_")[1] for heard in caller.heard]
        last = max(int(position) for position in positions if position.isdigit())
        log = await place.replies(caller.session)
        tally = tally_events(caller.heard, [line for line in log if line["position"] <= last])
        if not tally.clean:
            wrong.append(f"session {caller.session}: {tally}")
    return wrong


def figures(plan: Plan, seen: Outcome) -> list[Figure]:
    def milliseconds(waits: Sequence[float]) -> float | None:
        value = percentile(waits, 99)
        return None if value is None else value * 1000

    reasons = ", ".join(f"{reason} {count}" for reason, count in seen.refused.most_common())
    return [
        Figure(f"the {plan.short}'s CPU", seen.cores, "cores", note=f"what {plan.callers} callers use"),
        Figure("callers who want in", 3 * plan.callers),
        Figure("callers inside at the end", seen.inside, bar=2 * plan.callers),
        Figure("refusals with 1013", seen.refused.total(), note=reasons),
        Figure("no refusal had a reason", float(not seen.refused or "" in seen.refused), bar=0),
        Figure("the gateway never said that it was full", float(not seen.metric_full or set(seen.full) == {""}), bar=0),
        Figure("reply p99 before the first refusal", milliseconds(seen.before_refusal), "ms", bar=1000),
        Figure("reply p99 in the overload", milliseconds(seen.overloaded), "ms", bar=3000),
        Figure("recovered after the relief", seen.recovered_after, "s", bar=10),
        Figure("reply p99 after it", milliseconds(seen.relieved), "ms", bar=500),
        Figure(
            "slowest reply of a worker that stood still",
            max(seen.frozen, default=None),
            "s",
            note=f"{plan.freeze:.0f} s",
        ),
        Figure("questions without an answer", seen.asked - seen.answered, bar=0, note=f"of {seen.asked}"),
        Figure("turns completed beyond the questions", seen.turns - seen.asked, bar=0),
        Figure("losses, replays, lost links", sum(seen.counters.values()), bar=0, note=counted(seen.counters)),
        Figure("what callers saw that must not be", len(seen.wrong), bar=0, note="; ".join(seen.wrong[:2])),
        *(
            Figure(f"{name}: memory grown", size / (1 << 20), "MiB", bar=MAX_GROWTH_BYTES >> 20)
            for name, size in seen.grown.items()
        ),
    ]


def counted(counters: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in counters.items() if value)


async def measure(folder: Path, plan: Plan) -> Outcome:
    rocketmq = LocalRocketMQ(folder / "rocketmq", fresh=True, progress=say)
    stack: LocalStack | None = None
    try:
        await asyncio.to_thread(rocketmq.start)
        names = Names("bench-requests", "bench-replies", 2)
        stack = LocalStack(
            folder / "stack", rocketmq.endpoints, rocketmq.name_server, names, worker_names=("worker-0",), progress=say
        )
        await stack.start(gateways=1)
        return await run(stack, plan, say)
    finally:
        if stack is not None:
            await asyncio.to_thread(stack.stop)
        await asyncio.to_thread(rocketmq.stop)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--callers", type=int, default=16, help="that the stack holds (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=60, help="of the overload (default: %(default)s)")
    parser.add_argument(
        "--short", choices=("worker", "gateway"), default="worker", help="of CPU (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "run", help="store, settings and logs")
    report.add_output(parser)
    options = parser.parse_args(arguments)
    if options.callers < 4 or options.seconds < 20:
        parser.error("--callers: expected at least 4; --seconds: at least 20")
    options.folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(callers=options.callers, short=options.short, overload=options.seconds)
    seen = asyncio.run(measure(options.folder, plan))
    heading = f"three times {options.callers} callers for {options.seconds} s, then half of {options.callers}"
    return report.finish("overload", options, figures(plan, seen), measurements(seen), heading)


def measurements(seen: Outcome) -> dict[str, Any]:
    """All that was seen; times in seconds."""
    return {"seen": {key: rounded(value) for key, value in vars(seen).items()}}


def rounded(value: Any) -> Any:
    return [round(one, 3) if isinstance(one, float) else one for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
