"""What a process may use of the CPU, and how much it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from litevoice_broker.cpu import CpuMeter, allowed_cores

HERE = float(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, HERE),
        ({"cpu.max": "25000 100000\n"}, 0.25),
        ({"cpu.max": "max 100000\n"}, HERE),
        ({"cpu.max": "9900000 100000\n"}, HERE),
        ({"cpu.max": "nonsense\n"}, HERE),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, HERE),
    ],
)
def test_the_containers_limit_counts(files: dict[str, str], cores: float, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert allowed_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("description", "cores", "process", "thread", "busy"),
    [
        ("half a core of two", 2.0, 0.5, 0.2, 0.25),
        ("one thread takes its core", 4.0, 1.0, 1.0, 1.0),
        ("others take the core of that thread", 2.0, 0.2, 0.9, 0.9),
        ("all of a quarter", 0.25, 0.25, 0.1, 1.0),
        ("more than the limit says", 0.25, 0.5, 0.1, 1.0),
        ("nothing", 1.0, 0.0, 0.0, 0.0),
    ],
)
def test_the_share_in_use(description: str, cores: float, process: float, thread: float, busy: float) -> None:
    at = [0.0, 0.0, 0.0]
    meter = CpuMeter(cores, lambda: (at[0], at[1], at[2]))
    for _ in range(20):
        at = [at[0] + 1.0, at[1] + process, at[2] + thread]
        share = meter.look()
    assert share == pytest.approx(busy, abs=0.001), description
    assert meter.look() == share, "no time has passed"


def test_one_second_is_only_half_of_the_truth() -> None:
    at = [0.0, 0.0, 0.0]
    meter = CpuMeter(1.0, lambda: (at[0], at[1], at[2]))
    at = [1.0, 1.0, 1.0]
    assert meter.look() == 0.5
