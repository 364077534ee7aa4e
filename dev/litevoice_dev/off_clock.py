"""Runs a program whose clock is off: `python -m litevoice_dev.off_clock 90 litevoice_worker` is 90 s ahead."""

from __future__ import annotations

import runpy
import sys
import time


def main(ahead_seconds: float, module: str) -> None:
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + ahead_seconds
    time.time_ns = lambda: now_ns() + round(ahead_seconds * 1e9)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
