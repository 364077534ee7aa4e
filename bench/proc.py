"""CPU and memory of this program's children, from /proc: no part needs to cooperate."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
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
    """User and system time of all threads. Raises OSError when it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def sample(pids: dict[int, str], at: float) -> Sample:
    parts: dict[str, float] = {}
    for pid, part in pids.items():
        parts[part] = parts.get(part, 0.0) + cpu_seconds(pid)
    user, nice, system, _idle, _wait, irq, softirq, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    busy = sum(int(ticks) for ticks in (user, nice, system, irq, softirq)) / _TICKS
    return Sample(at, parts, busy)


def memory_bytes(pid: int) -> int:
    """Proportional set size. Raises OSError when the process has ended."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * _KIB
    raise OSError(f"/proc/{pid}/smaps_rollup has no Pss")


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
