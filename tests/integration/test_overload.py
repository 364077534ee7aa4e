"""More load than the stack holds: new sessions are refused, those inside go on, and soon after it is over all is well.

`make bench-overload` is the same for longer, and holds answers against their bars in milliseconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.cpu_quota import CpuQuota
from bench.crowd import Crowd
from bench.figures import Figure
from bench.overload import Plan, figures, run
from litevoice_contracts import metrics
from litevoice_contracts.names import Names
from litevoice_dev.stack import LocalStack
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

PLAN = Plan(callers=12, calibration=1.5, arrival=8.0, overload=11.0, relief=2.0, freeze=0.0, audited=2)
MILLISECONDS = "ms"


@contextlib.asynccontextmanager
async def stack_of(
    rocketmq: SharedRocketMQ, names: Names, folder: Path, *workers: str, **settings: Any
) -> AsyncIterator[LocalStack]:
    """One gateway and these workers, with these settings of theirs."""
    addresses = (rocketmq.endpoints, rocketmq.name_server)
    stack = LocalStack(folder / "stack", *addresses, names, worker=settings, worker_names=workers)
    try:
        await stack.start(gateways=1)
        yield stack
    finally:
        stack.kill()


def told(found: list[Figure]) -> str:
    return "\n".join(f"{one.name}: {one.value} {one.unit} (bar {one.bar}) {one.note}" for one in found)


async def test_three_times_the_load_is_refused_at_the_door(
    rocketmq: SharedRocketMQ, names: Names, tmp_path: Path
) -> None:
    """Nothing is lost or computed twice, memory is bounded, and answers are quick within 10 s of the relief.

    How quick they are in the overload is not judged here: other tests take their share of the machine.
    """
    async with stack_of(rocketmq, names, tmp_path, "worker-0") as stack:
        seen = await run(stack, PLAN, print)
        found = figures(PLAN, seen)
        print(told(found))
        assert [one for one in found if one.verdict == "missed" and one.unit != MILLISECONDS] == []
        assert seen.refused.keys() == {"worker_cpu"}, "the reason is what was short"
        refused = await stack.gateways[0].metric(metrics.GATEWAY_REFUSED, reason="worker_cpu")
        assert refused >= seen.refused["worker_cpu"]
        log = stack.workers[0].log.read_text()
        assert "taken over" not in log


async def test_a_worker_with_as_many_sessions_as_it_may_refuses_others(
    rocketmq: SharedRocketMQ, names: Names, tmp_path: Path
) -> None:
    """Those that it has go on; nothing is forgotten and asked for again."""
    async with stack_of(rocketmq, names, tmp_path, "worker-0", maxSessions=3) as stack:
        gateway, worker = stack.gateways[0], stack.workers[0]
        crowd = Crowd(gateway.url, stack.api_key)
        await crowd.arrive(6)  # at once, before anybody can know that they are too many
        await until(lambda: len(crowd.sent_away) == 3, lambda: crowd)
        assert set(crowd.sent_away) == {"the workers have as many sessions as they may"}
        assert (await gateway.wait_status(lambda status: status["full"] != ""))["full"] == "worker_sessions"
        await crowd.arrive(1)
        await until(lambda: crowd.refused["worker_sessions"] >= 1, lambda: crowd.refused)
        await until(lambda: len(crowd.answers) >= 9, "those inside to be answered again and again")
        assert len(crowd.inside) == await worker.metric(metrics.WORKER_SESSIONS) == 3
        assert await worker.metric(metrics.WORKER_DROPPED, what="refused_envelopes") >= 3
        assert await worker.metric(metrics.WORKER_DROPPED, what="sessions") == 0
        assert await gateway.metric(metrics.GATEWAY_REPLAYS) == 0
        assert crowd.wrong == []
        crowd.leave()
        await crowd.gone()


async def test_who_is_short_of_cpu_keeps_its_links(rocketmq: SharedRocketMQ, names: Names, tmp_path: Path) -> None:
    """A gateway and two workers that each get a fraction of what they need: no fence is lost, no worker takes another
    for dead, nobody reconnects, and the questions are answered once."""
    async with (
        stack_of(rocketmq, names, tmp_path, "worker-0", "worker-1") as stack,
        contextlib.AsyncExitStack() as slow,
    ):
        gateway = stack.gateways[0]
        owned = [await worker.metric(metrics.WORKER_PARTITIONS) for worker in stack.workers]
        assert sum(owned) == names.partitions
        crowd = Crowd(gateway.url, stack.api_key)
        await crowd.arrive(8, 1.0)
        await until(lambda: len(crowd.answers) >= 8, "every caller to be answered once")
        quotas = [slow.enter_context(CpuQuota(member.process.pid, 0.03)) for member in (gateway, *stack.workers)]
        await until(lambda: sum(quota.stopped_seconds for quota in quotas) >= 20, "all to stand still most of the time")
        await slow.aclose()
        crowd.leave()
        await crowd.gone()
        assert crowd.wrong == []
        assert len(crowd.answers) == crowd.asked
        turns = [await worker.metric(metrics.WORKER_TURNS, outcome="completed") for worker in stack.workers]
        assert sum(turns) == crowd.asked, "none was begun twice"
        assert owned == [await worker.metric(metrics.WORKER_PARTITIONS) for worker in stack.workers]
        for member in (gateway, *stack.workers):
            assert await member.metric(metrics.BROKER_RECONNECTS) == 0, member.name
            assert await member.metric(metrics.GATEWAY_REPLAYS) == 0
            log = member.log.read_text()
            assert "a worker is gone" not in log, member.name
            assert "taken over" not in log, member.name
