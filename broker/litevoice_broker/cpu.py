"""How much of the CPU that this process may use it does use: near all of it everything takes longer, long before
anything fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""Nanoseconds on a core and waiting for one; see sched-stats in the kernel's documentation."""
_SMOOTHING = 0.5

Times = tuple[float, float, float]
"""Seconds: of the wall; of the process's CPU; of the calling thread's CPU and of its wait for a core."""


def _times() -> Times:
    try:
        waited = int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # a kernel without it
        waited = 0.0
    return time.monotonic(), time.process_time(), time.thread_time() + waited


def allowed_cores(folder: Path = _CGROUPS) -> float:
    """What the container's limit allows (cgroups v2 or v1), at most the cores that the process may run on.

    Source: `cpu.max` and `cpu.cfs_quota_us` in the kernel's cgroup documentation.
    """
    cores = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return cores
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return cores  # "max", or -1
    return min(cores, int(quota) / int(period))


class CpuMeter:
    """For the event loop's thread: a second core does not help it, and others may use the one that it has.

    Args:
        cores: that the process may use; 0: what its container may use.
    """

    def __init__(self, cores: float = 0.0, read: Callable[[], Times] = _times) -> None:
        self._cores = cores or allowed_cores()
        self._read = read
        self._share = 0.0
        self._at, self._process, self._thread = read()

    def look(self) -> float:
        """The share in use, 0 to 1, smoothed; to be called about once a second.

        Of the event loop's time, or of all cores that the process may use, whichever is larger.
        """
        at, process, thread = self._read()
        elapsed = at - self._at
        if elapsed > 0:
            used = max((process - self._process) / self._cores, thread - self._thread)
            self._share += _SMOOTHING * (min(1.0, used / elapsed) - self._share)
            self._at, self._process, self._thread = at, process, thread
        return self._share
