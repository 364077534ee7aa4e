"""A process gets only so much CPU: what a container's limit does, without a container.

Linux gives a container its quota anew every 100 ms and stops it once that is used up; so does this, with signals.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import TracebackType
from typing import Self

PERIOD_SECONDS = 0.1
_LOOK_SECONDS = 0.002
_CPUCLOCK_SCHED = 2


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, to the nanosecond. Raises OSError when the process has ended."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)  # clock_getcpuclockid(3)


class CpuQuota:
    """`with CpuQuota(pid, cores):` the process gets `cores` on average; 0.25 is a quarter of a core.

    Attributes:
        cores: may be changed at any time.
        stopped_seconds: how long the process had to stand still.
    """

    def __init__(self, pid: int, cores: float) -> None:
        self._pid = pid
        self.cores = cores
        self.stopped_seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"quota of {pid}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        used, period, debt = cpu_seconds(self._pid), time.monotonic(), 0.0
        try:
            while not self._over.wait(_LOOK_SECONDS):
                now, left = time.monotonic(), self.cores * PERIOD_SECONDS - debt
                if now - period >= PERIOD_SECONDS:
                    spent = cpu_seconds(self._pid) - used
                    # What was used too much, between two looks, is missing in the next period.
                    debt = max(0.0, spent - left)
                    used, period = used + spent, now
                elif cpu_seconds(self._pid) - used >= left:
                    self._stop(period + PERIOD_SECONDS - now)
        except (OSError, ProcessLookupError):
            return  # it has ended

    def _stop(self, seconds: float) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        self._over.wait(seconds)
        os.kill(self._pid, signal.SIGCONT)
        self.stopped_seconds += seconds
