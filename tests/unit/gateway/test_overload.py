"""When a gateway takes no new sessions, and that no client is read while it holds as much as it may."""

from __future__ import annotations

import pytest

from litevoice_gateway import commands as do
from litevoice_gateway.overload import MAX_LOOP_LAG_SECONDS, MAX_WORKER_LAG_SECONDS, Full, Load
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
    ],
)
def test_full_of_what(load: Load, full: Full) -> None:
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
