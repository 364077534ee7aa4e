"""A program whose clock is off."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest


def test_a_program_reads_the_wrong_time(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("import sys, time\nprint(sys.argv, time.time(), time.time_ns())\n")
    command = [sys.executable, "-m", "litevoice_dev.off_clock", "-3600", "told"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    *arguments, seconds, nanoseconds = answer.stdout.split()
    assert len(arguments) == 1
    assert float(seconds) == pytest.approx(time.time() - 3600, abs=30)
    assert int(nanoseconds) / 1e9 == pytest.approx(float(seconds), abs=1)
