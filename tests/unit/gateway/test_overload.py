"""When a gateway takes no new sessions, and that no client is read while it holds as much as it may."""

from __future__ import annotations

import math

import pytest

from litevoice_gateway import commands as do
from litevoice_gateway.overload import (
    FEW,
    IDLE,
    MAX_BUSY,
    MAX_LOOP_LAG_SECONDS,
    MAX_WORKER_LAG_SECONDS,
    STEPS,
    Full,
    Load,
    allowance,
)
from tests.unit.gateway.driver import Driver


@pytest.mark.parametrize(
    ("load", "full"),
    [
        (Load(), ""),
        (Load(sessions=9, held_bytes=99, loop_lag_seconds=0.1, worker_lag_seconds=1), ""),
        (Load(sessions=10), "sessions"),
        (Load(held_bytes=100), "memory"),
        (Load(loop_lag_seconds=MAX_LOOP_LAG_SECONDS), "gateway_cpu"),
        (Load(worker_lag_seconds=MAX_WORKER_LAG_SECONDS), "worker_lag"),
        (Load(worker_lag_seconds=60, workers_full=True), "worker_sessions"),
        (Load(held_bytes=100, worker_lag_seconds=60), "memory"),
        (Load(busy=1.0, workers_busy=IDLE), ""),
        (Load(workers_busy=MAX_BUSY), "worker_cpu"),
        (Load(worker_lag_seconds=60, workers_busy=1), "worker_lag"),
    ],
)
def test_full_of_what(load: Load, full: Full) -> None:
    load.look()
    assert load.full(max_sessions=10, max_held_bytes=100) == full


def test_one_late_turn_of_the_loop_is_no_overload_but_a_few_seconds_are() -> None:
    load = Load()
    load.loop_was_late(1.5)
    assert load.full(10, 100) == ""
    for _ in range(8):
        load.loop_was_late(1.0)
    assert load.full(10, 100) == "gateway_cpu"
    for _ in range(20):
        load.loop_was_late(0.0)
    assert load.full(10, 100) == ""


@pytest.mark.parametrize(
    ("description", "sessions", "busy", "may_come"),
    [
        ("nothing is known to be short", 1000, IDLE - 0.01, math.inf),
        ("as many again would fit", 600, MAX_BUSY / 2, 600 / STEPS),
        ("half as many would fit", 600, MAX_BUSY / 1.5, 300 / STEPS),
        ("others use it, or something else does", FEW - 1, 0.8, math.inf),
        ("there is hardly room", FEW, 0.8, 1),
        ("no more", 1000, MAX_BUSY, 0),
    ],
)
def test_so_many_new_sessions_a_second(description: str, sessions: int, busy: float, may_come: float) -> None:
    assert allowance(sessions, busy) == pytest.approx(may_come), description


def test_however_many_come_those_inside_keep_their_cpu() -> None:
    """Each takes 1 %, 20 come every second, and what they take is known two seconds later."""
    load, taken, history = Load(), 0, [0.0, 0.0]
    for _ in range(60):
        load.sessions, load.workers_busy = taken, min(1.0, history[-2])
        load.look()
        for _ in range(20):
            if not load.full(1000, 1000):
                load.came()
                taken += 1
        history.append(taken / 100)
    assert 0.7 <= history[-1] <= 1.0


def test_a_full_pod_reads_no_client_and_then_reads_on() -> None:
    driver = Driver()
    driver.audio()
    assert driver.session.held_bytes == 960
    driver.session.hold_back(True)
    driver.take()
    assert not driver.is_reading()
    driver.pass_time(1)
    assert not driver.is_reading()
    driver.session.hold_back(False)
    driver.take()
    assert driver.is_reading()
    assert len(driver.all(do.PauseReading)) == 1


def test_a_session_that_no_worker_takes_is_told_to_come_back_later() -> None:
    driver = Driver()
    driver.session.refused(driver.now)
    driver.take()
    assert driver.closes == [1013]
