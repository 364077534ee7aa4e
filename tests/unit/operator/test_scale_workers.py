"""How many workers: a table of cases, and stories in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus, WorkerStatus
from litevoice_operator.api.conditions import SCALING_LIMITED
from litevoice_operator.api.scaling import WorkerAutoscaling
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.scale import Size, Wish
from litevoice_operator.decide.scale_workers import (
    SETTLE_SECONDS,
    STEADY_SECONDS,
    Memory,
    WorkerLoad,
    WorkerSize,
    both,
    pressure,
    size_workers,
    worker_loads,
    workers_scaled_event,
)
from litevoice_operator.observe.pods import read_pod

NOW = 10_000.0


def autoscaling(**more: Any) -> WorkerAutoscaling:
    return WorkerAutoscaling.model_validate({"minReplicas": 1, "maxReplicas": 10, **more})


def workers(*busy: float | None, **more: Any) -> list[WorkerLoad]:
    return [WorkerLoad(f"w-{number}", busy=share, **more) for number, share in enumerate(busy)]


STARTING = WorkerLoad("new", ready=False, busy=None)
STEADY = Memory(rising_since=NOW - STEADY_SECONDS)
LATELY = Memory((Wish(NOW - 100, 4),))
BEHIND = "a partition is 5 s behind"
Row = tuple[str, dict[str, Any], int, list[WorkerLoad], str, Memory, int, str]
CASES: list[Row] = [
    ("as many as are needed", {}, 2, workers(0.5, 0.5), "", Memory(), 2, ""),
    ("the example", {}, 3, workers(0.8, 0.7, 0.6), "", STEADY, 4, ""),
    ("exactly the target", {}, 3, workers(0.6, 0.6, 0.6), "", STEADY, 3, ""),
    ("not before it has lasted", {}, 3, workers(0.8, 0.7, 0.6), "", Memory(), 3, ""),
    ("another target", {"targetBusyPercent": 30}, 2, workers(0.6, 0.6), "", STEADY, 4, ""),
    ("one is busier than the others", {}, 4, workers(0.95, 0.2, 0.2, 0.2), "", STEADY, 5, ""),
    ("busier, but not too busy", {"minReplicas": 4}, 4, workers(0.78, 0.2, 0.2, 0.2), "", STEADY, 4, ""),
    ("fewer would make the busiest too busy", {}, 4, workers(0.75, 0.1, 0.1, 0.1), "", Memory(), 4, ""),
    ("sessions", {}, 2, workers(0.1, 0.1, sessions=1700), "", STEADY, 3, ""),
    ("up by what is known, though somebody is silent", {}, 3, workers(0.9, 0.98, None), "", STEADY, 4, ""),
    ("behind: half as many again", {}, 4, workers(*[0.3] * 4), BEHIND, STEADY, 6, ""),
    ("behind: one more at least", {}, 1, workers(0.3), BEHIND, STEADY, 2, ""),
    ("behind, but not for long", {}, 4, workers(*[0.3] * 4), BEHIND, Memory(), 4, ""),
    ("behind while one starts", {}, 4, [*workers(0.3, 0.3, 0.3), STARTING], BEHIND, STEADY, 4, ""),
    ("behind while nobody works", {}, 2, [], BEHIND, STEADY, 2, ""),
    ("behind so soon after there came more", {}, 4, workers(*[0.3] * 4), BEHIND,
     Memory(rising_since=NOW - 60, grown_at=NOW - SETTLE_SECONDS + 1), 4, ""),
    ("behind long after", {}, 4, workers(*[0.3] * 4), BEHIND,
     Memory(rising_since=NOW - 60, grown_at=NOW - SETTLE_SECONDS), 6, ""),
    ("behind: none is removed", {}, 4, workers(*[0.01] * 4), BEHIND, Memory(), 4, ""),
    ("behind: CPU asks for more than half as many again", {}, 2, workers(1, 1), BEHIND, STEADY, 4, ""),
    ("at the most, and it is not enough", {"maxReplicas": 3}, 3, workers(0.9, 0.9, 0.9), "", STEADY, 3, "AtMaximum"),
    ("as many as partitions", {"maxReplicas": 20}, 8, workers(*[0.9] * 8), "", STEADY, 8, "AtPartitions"),
    ("more than partitions because somebody wants so", {"minReplicas": 9}, 8, workers(*[0.1] * 8), "", Memory(), 9, ""),
    ("down, long enough after", {}, 4, workers(*[0.2] * 4), "", Memory(), 2, ""),
    ("down not yet", {}, 4, workers(*[0.2] * 4), "", LATELY, 4, "Stabilizing"),
    ("down to the least", {"minReplicas": 2}, 4, workers(*[0.0] * 4), "", Memory(), 2, "AtMinimum"),
    ("not down while one is silent", {}, 4, workers(0.1, 0.1, 0.1, None), "", Memory(), 4, "PodsSilent"),
    ("not down while one starts", {}, 4, [*workers(0.1, 0.1, 0.1), STARTING], "", Memory(), 4, "Starting"),
    ("the most was lowered", {"maxReplicas": 3}, 5, workers(*[0.5] * 5), "", Memory(), 3, "AtMaximum"),
    ("a new fleet", {"minReplicas": 2}, 0, [], "", Memory(), 2, ""),
]  # fmt: skip


@pytest.mark.parametrize(("description", "more", "current", "pods", "too_few", "memory", "replicas", "limit"), CASES,
                         ids=[row[0] for row in CASES])  # fmt: skip
def test_size(
    description: str, more: dict[str, Any], current: int, pods: list[WorkerLoad], too_few: str, memory: Memory,
    replicas: int, limit: str,
) -> None:  # fmt: skip
    found = size_workers(autoscaling(**more), 8, current, pods, too_few, memory, NOW).size
    assert (found.replicas, found.limited.reason if found.limited else "") == (replicas, limit)
    assert found.limited is None or "workers" in found.limited.message


def gateway(full: str, ready: bool = True) -> GatewayStatus:
    return GatewayStatus("g", ready, "", 0, 100, 0, 0, DrainReport(), full=full)


PRESSURES: list[tuple[str, float | None, list[GatewayStatus], str]] = [
    ("nobody complains", 0.4, [gateway("")], ""),
    ("a partition is behind", 2.6, [], "a partition is 3 s behind"),
    ("as far behind as is allowed", 2.0, [], ""),
    ("the broker does not say", None, [], ""),
    ("gateways refuse", 0.0, [gateway("worker_cpu"), gateway("worker_lag"), gateway("")],
     "gateways refuse new sessions (worker_cpu, worker_lag)"),
    ("gateways refuse for their own sake", 0.0, [gateway("sessions"), gateway("memory")], ""),
    ("one that drains says what it said last", 0.0, [gateway("worker_lag", ready=False)], ""),
]  # fmt: skip


@pytest.mark.parametrize(("description", "behind", "gateways", "text"), PRESSURES, ids=[row[0] for row in PRESSURES])
def test_pressure(description: str, behind: float | None, gateways: list[GatewayStatus], text: str) -> None:
    assert pressure(behind, 2, gateways) == text


def follow(load: float, seconds: int, current: int, memory: Memory, at: float, too_few: str = "") -> list[int]:
    """`load` in CPUs, spread evenly; each look 5 s after the last; new workers work after 20 s."""
    seen, ready_at = [current], [at - 1] * current
    for second in range(0, seconds, 5):
        now = at + second
        ready = [due <= now for due in ready_at]
        share = min(1.0, load / max(1, sum(ready)))
        pods = [WorkerLoad(f"w-{n}", up, share if up else None) for n, up in enumerate(ready)]
        scaled = size_workers(autoscaling(), 8, len(ready_at), pods, too_few, memory, now)
        memory, count = scaled.memory, scaled.size.replicas
        ready_at = (ready_at + [now + 20] * count)[:count]
        if count != seen[-1]:
            seen.append(count)
    return seen


def test_a_steady_load_is_followed_once() -> None:
    """No more are asked for because those that were made do not work yet."""
    assert follow(1.7, 600, 2, Memory(), NOW) == [2, 3]
    assert follow(0.5, 600, 4, Memory((Wish(NOW, 4),)), NOW) == [4, 1]


def test_one_that_stays_behind_grows_to_the_bound_step_by_step() -> None:
    assert follow(0.1, 600, 2, Memory(), NOW, BEHIND) == [2, 3, 4, 6, 8]
    assert follow(0.1, 60, 2, Memory(), NOW, BEHIND) == [2, 3, 4], "not faster than workers start"


def test_a_burst_is_no_load() -> None:
    first = size_workers(autoscaling(), 8, 2, workers(1, 1), "", Memory(), NOW)
    over = size_workers(autoscaling(), 8, 2, workers(0.5, 0.5), "", first.memory, NOW + 5)
    again = size_workers(autoscaling(), 8, 2, workers(1, 1), "", over.memory, NOW + STEADY_SECONDS)
    assert [one.size.replicas for one in (first, over, again)] == [2, 2, 2]


def test_what_workers_tell() -> None:
    def pod(name: str, component: str = "worker", ready: str = "True", **metadata: Any) -> Any:
        labels = {"app.kubernetes.io/component": component}
        conditions = [{"type": "Ready", "status": ready}]
        return read_pod(
            {"metadata": {"name": name, "labels": labels, **metadata}, "status": {"conditions": conditions}}
        )

    def answer(name: str) -> WorkerStatus:
        return WorkerStatus(name, True, "", 12, 50, [1], busy=0.4)

    pods = [
        pod("a"), pod("silent"), pod("starts", ready="False"), pod("g", "gateway"),
        pod("ends", deletionTimestamp="2026-01-01T00:00:00Z"),
    ]  # fmt: skip
    assert worker_loads(pods, {name: answer(name) for name in ("a", "starts", "ends", "g")}) == [
        WorkerLoad("a", True, 0.4, 12, 50),
        WorkerLoad("silent", True, None),
        WorkerLoad("starts", False, None),
    ]


def test_one_condition_for_both() -> None:
    def size(limited: Finding | None) -> WorkerSize:
        return WorkerSize(Size(2, (), limited), "", Memory())

    fine = Finding(SCALING_LIMITED, "False", "AsSessionsAsk", "enough")
    held = Finding(SCALING_LIMITED, "True", "Stabilizing", "gateways wait")
    late = Finding(SCALING_LIMITED, "True", "AtMaximum", "workers are at their maximum")
    assert both(fine, None) == both(fine, size(None)) == fine
    assert both(fine, size(late)) == late
    assert both(held, size(None)) == held
    together = both(held, size(late))
    assert (together.reason, together.message) == ("Stabilizing", "gateways wait; workers are at their maximum")


def test_what_is_told() -> None:
    up = size_workers(autoscaling(), 8, 2, workers(0.9, 0.9), "", STEADY, NOW)
    event = workers_scaled_event(2, up, 3)
    assert event is not None
    assert (event.reason, event.message) == (
        "ScaledUp", "from 2 to 3 workers: workers use the CPU of 1.8 and ask for 3 workers",
    )  # fmt: skip
    down = workers_scaled_event(3, up, 2)
    assert down is not None
    assert down.reason == "ScaledDown"
    assert workers_scaled_event(0, up, 2) is workers_scaled_event(2, up, 2) is None
    many = size_workers(autoscaling(), 8, 2, workers(0.1, 0.1, sessions=1700), "", STEADY, NOW)
    assert many.why == "3400 sessions ask for 3 workers"
    uneven = size_workers(autoscaling(), 8, 4, workers(0.95, 0.2, 0.2, 0.2), "", STEADY, NOW)
    assert uneven.why == "the busiest worker uses 95% of its CPU, which asks for 5 workers"
