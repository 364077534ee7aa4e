"""How many workers there should be: by the CPU that they use, their sessions, and how far behind partitions are. Pure.

CPU and sessions tell how many are enough. Being behind only tells that there are too few: then half as many again come,
once those that there are work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from litevoice_contracts.control import GatewayStatus, WorkerStatus
from litevoice_operator.api.scaling import WorkerAutoscaling
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.scale import ENOUGH_ANSWERS_PERCENT, Range, Size, Wish, limited, sized
from litevoice_operator.observe.pods import Pod

BUSIEST_PERCENT = 80
"""The busiest worker may be busier than the average, as its partitions make it, but not beyond this: at 85 % gateways
refuse new sessions."""
SESSIONS_PERCENT = 80
"""Of `workers.maxSessions`."""
STEADY_SECONDS = 10.0
"""For so long more must have been asked for: a worker that starts, or a burst, is no load."""
SETTLE_SECONDS = 30.0
"""After that many seconds those that came have changed how far behind partitions are."""
REFUSED_FOR_WORKERS = frozenset({"worker_sessions", "worker_lag", "worker_cpu"})


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What one worker pod says. `busy`: the share of its CPU, 0 to 1; None: it did not answer, or does not work yet."""

    name: str
    ready: bool = True
    busy: float | None = 0.0
    sessions: int = 0
    max_sessions: int = 2000


@dataclass(frozen=True, slots=True)
class Memory:
    """What is to be passed in again.

    Attributes:
        rising_since: since when more are asked for than there are.
        grown_at: when there came more.
    """

    wishes: tuple[Wish, ...] = ()
    rising_since: float | None = None
    grown_at: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerSize:
    """`why`: what they have to do."""

    size: Size
    why: str
    memory: Memory


def worker_loads(pods: Iterable[Pod], answers: Mapping[str, WorkerStatus]) -> list[WorkerLoad]:
    """Of the workers that are there to stay; `answers` by pod name."""
    found = []
    for pod in pods:
        if pod.component != "worker" or pod.terminating:
            continue
        answer = answers.get(pod.name)
        if answer is None or not pod.ready:
            found.append(WorkerLoad(pod.name, pod.ready, None))
        else:
            found.append(WorkerLoad(pod.name, True, answer.busy, answer.sessions, answer.max_sessions))
    return found


def pressure(behind_seconds: float | None, longest_seconds: float, gateways: Iterable[GatewayStatus]) -> str:
    """Why there are too few workers; "" when nothing says so. `behind_seconds`: age of the oldest request that waits in
    a partition, None when the broker does not say."""
    refused = {gateway.full for gateway in gateways if gateway.ready} & REFUSED_FOR_WORKERS
    if refused:
        return f"gateways refuse new sessions ({', '.join(sorted(refused))})"
    if behind_seconds is not None and behind_seconds > longest_seconds:
        return f"a partition is {behind_seconds:.0f} s behind"
    return ""


def size_workers(
    autoscaling: WorkerAutoscaling,
    partitions: int,
    current: int,
    workers: Sequence[WorkerLoad],
    too_few: str,
    memory: Memory,
    now: float,
) -> WorkerSize:
    """`current`: replicas of now; `too_few`: as `pressure` says; `memory`: as returned last time.

    By what the workers say it is a lower bound: who is silent keeps nothing down. Down like gateways, and not while
    anything says that there are too few.
    """
    asked, why = _asked(autoscaling, workers)
    if too_few:
        works = sum(worker.ready for worker in workers) >= current
        settled = memory.grown_at is None or now - memory.grown_at >= SETTLE_SECONDS
        least = current + (max(1, current // 2) if works and settled else 0)
        if least > asked:
            asked, why = least, too_few
    low = autoscaling.min_replicas
    high = max(low, min(autoscaling.max_replicas, partitions))
    rising_since = (now if memory.rising_since is None else memory.rising_since) if asked > current else None
    if rising_since is not None and now - rising_since < STEADY_SECONDS:
        asked = current
    within = Range(low, high, autoscaling.scale_down.stabilization_seconds, "workers", "workers.autoscaling")
    size = sized(asked, why, within, current, _held(workers, current), memory.wishes, now)
    if size.limited is not None and size.limited.reason == "AtMaximum" and high < autoscaling.max_replicas:
        message = f"{why}; more workers than rocketmq.partitions ({partitions}) would be idle"
        size = replace(size, limited=limited("AtPartitions", message))
    grown_at = now if size.replicas > current else memory.grown_at
    return WorkerSize(size, why, Memory(size.wishes, rising_since, grown_at))


def _asked(autoscaling: WorkerAutoscaling, workers: Sequence[WorkerLoad]) -> tuple[int, str]:
    """The largest of what CPU, the busiest worker and sessions ask for.

    Three workers at 80, 70 and 60 % ask for four at a target of 60 %.
    """
    shares = [worker.busy for worker in workers if worker.busy is not None]
    total, busiest = sum(shares), max(shares, default=0.0)
    sessions = sum(worker.sessions for worker in workers)
    room = max((worker.max_sessions for worker in workers if worker.busy is not None), default=1)
    by_cpu = _whole(total * 100 / autoscaling.target_busy_percent)
    by_busiest = _whole(len(shares) * busiest * 100 / BUSIEST_PERCENT)
    by_sessions = _whole(sessions * 100 / (SESSIONS_PERCENT * room))
    asked = max(by_cpu, by_busiest, by_sessions)
    if by_sessions == asked > max(by_cpu, by_busiest):
        return asked, f"{sessions} sessions ask for {asked} workers"
    if by_busiest == asked > by_cpu:
        return asked, f"the busiest worker uses {busiest:.0%} of its CPU, which asks for {asked} workers"
    return asked, f"workers use the CPU of {total:.1f} and ask for {asked} workers"


def _whole(workers: float) -> int:
    return math.ceil(round(workers, 6))


def _held(workers: Sequence[WorkerLoad], current: int) -> Finding | None:
    silent = sorted(worker.name for worker in workers if worker.ready and worker.busy is None)
    if len(silent) * 100 > len(workers) * (100 - ENOUGH_ANSWERS_PERCENT):
        message = f"{len(silent)} of {len(workers)} workers do not say how busy they are: {', '.join(silent[:3])}"
        return limited("PodsSilent", message)
    starting = current - sum(worker.ready for worker in workers)
    return limited("Starting", f"{starting} of {current} workers are not ready") if starting > 0 else None


def both(gateways: Finding, workers: WorkerSize | None) -> Finding:
    """One condition for both; `workers`: None without `workers.autoscaling`."""
    finding = workers.size.limited if workers is not None else None
    if finding is None:
        return gateways
    if gateways.status != "True":
        return finding
    return replace(gateways, message=f"{gateways.message}; {finding.message}")


def workers_scaled_event(before: int, scaled: WorkerSize, written: int) -> EventText | None:
    """None when nothing changes, and for a fleet that was not there before."""
    if before in (0, written):
        return None
    message = f"from {before} to {written} workers: {scaled.why}"
    return EventText("Normal", "ScaledUp" if written > before else "ScaledDown", message)
