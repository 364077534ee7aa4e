"""CPU and memory of this program's children, from /proc: no part needs to cooperate."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SCHEDULED = 2  # see clock_getcpuclockid(3): a process's clock is made from its id
_KIB = 1024
PARTS = {
    "litevoice_gateway": "gateway",
    "litevoice_worker": "worker",
    "BrokerStartup": "broker",
    "ProxyStartup": "proxy",
    "NamesrvStartup": "name server",
    "loadgen": "load generator",
    "null_stages": "null stages",
    "bench.sender": "sender",
}
"""What in a child's command line says which part it is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds since their start of each part, several processes added up, and of the whole machine."""

    at: float
    parts: dict[str, float]
    machine: float


def children() -> dict[int, str]:
    """Process id → part, of this process's children."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        part = next((name for mark, name in PARTS.items() if mark in command), None)
        if parent == os.getpid() and part:
            found[int(folder.name)] = part
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, to the nanosecond. Raises OSError when it has ended."""
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


class Sampler:
    """Samples these processes (id → part). One that has ended counts with what it last had."""

    def __init__(self, pids: Mapping[int, str]) -> None:
        self._pids = pids
        self._seconds = dict.fromkeys(pids, 0.0)

    def sample(self, at: float) -> Sample:
        parts: dict[str, float] = {}
        for pid, part in self._pids.items():
            with contextlib.suppress(OSError):
                self._seconds[pid] = cpu_seconds(pid)
            parts[part] = parts.get(part, 0.0) + self._seconds[pid]
        user, nice, system, _idle, _wait, irq, softirq, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        busy = sum(int(ticks) for ticks in (user, nice, system, irq, softirq)) / _TICKS
        return Sample(at, parts, busy)

    def memory(self) -> dict[str, int]:
        """Bytes by part, of those that live."""
        parts: dict[str, int] = {}
        for pid, part in self._pids.items():
            with contextlib.suppress(OSError):
                parts[part] = parts.get(part, 0) + memory_bytes(pid)
        return parts


def memory_bytes(pid: int, kind: str = "Pss") -> int:
    """Proportional set size. Raises OSError when the process has ended."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * _KIB
    raise OSError(f"/proc/{pid}/smaps_rollup has no {kind}")


def own_memory_bytes(pid: int) -> int:
    """Without files, of which a process's share depends on who else has them open. Raises OSError when it has ended."""
    return memory_bytes(pid, "Pss_Anon")


def allow_open_files(count: int) -> None:
    """For this process and its children. Raises RuntimeError when the machine does not allow so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise RuntimeError(f"open files: expected a limit of at least {count}, it is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def machine() -> dict[str, str | int]:
    """Where this was measured, and which commit."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
    }
