"""What a process has used is known after its end, too."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.proc import Sampler, children, cpu_seconds

pytestmark = pytest.mark.unit


def test_a_child_is_known_by_its_command_line_and_counts_after_its_end() -> None:
    work = "import sys; sum(range(20_000_000)); print(); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", work, "bench.sender"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert children()[child.pid] == "sender"
    sampler = Sampler({child.pid: "sender", os.getpid(): "we"})
    used = sampler.sample(0.0).parts["sender"]
    assert used >= 0.1
    assert set(sampler.memory()) == {"sender", "we"}
    child.communicate()
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(child.pid)
    assert sampler.sample(1.0).parts["sender"] == used
    assert set(sampler.memory()) == {"we"}
