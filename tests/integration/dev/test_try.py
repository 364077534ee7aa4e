"""`make try` as a newcomer runs it: what it says, how it ends, and that nothing of it goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from litevoice_dev.ports import HOST, free_port
from litevoice_dev.rocketmq import LocalRocketMQ
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.timeout(300)

COMMAND = (sys.executable, "-m", "litevoice_dev", "try", "--folder")


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes that know the folder, by their arguments or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if int(process.name) != os.getpid() and str(folder).encode() in command + environment:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def test_a_newcomer_sees_an_answer_survive_the_death_of_its_gateway(rocketmq: LocalRocketMQ, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    broker = ("--endpoints", rocketmq.endpoints, "--name-server", rocketmq.name_server)
    done = subprocess.run(
        (*COMMAND, str(folder), *broker), cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    assert "every check held" in done.stderr, said
    assert "✘" not in done.stdout, said
    assert "kill -9 gateway-0" in done.stdout
    (packets,) = re.findall(r"✔ +audio packets, client → broker +(\d+)", done.stdout)
    events = re.findall(r"✔ +events, broker → client +(\d+) +(\d+) +0 .* 0 +0\n", done.stdout)
    assert int(packets) > 1000
    assert len(events) == 2, "of both callers"
    assert all(int(sent) == int(arrived) > 50 for sent, arrived in events)
    assert re.search(r"s\d+_[\w-]+ +\d+ +\d+ s +gateway-1 +127\.0\.0\.1:\d+", done.stdout), "the top of the backlog"
    assert "make demo" in done.stdout
    assert (tmp_path / "try-output" / "answer-1.wav").stat().st_size > 500_000
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == [], "logs are kept only when something is wrong"


@pytest.mark.parametrize(("number", "waited_for"), [(signal.SIGINT, "NamesrvStartup"), (signal.SIGTERM, "gateway")])
async def test_nothing_goes_on_when_it_is_interrupted(number: int, waited_for: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, and so inherited, in a shell's background
    with subprocess.Popen((*COMMAND, str(folder)), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        await until(lambda: any(waited_for in command for command in processes_of(folder)))
        run.send_signal(number)
        _, said = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 128 + number, said.decode()
    assert b"nothing is left running" in said
    await until(lambda: not processes_of(folder))
    assert list(folder.iterdir()) == []


def test_what_goes_wrong_is_said_and_the_logs_are_kept(tmp_path: Path) -> None:
    folder, nobody = tmp_path / "data", f"{HOST}:{free_port()}"
    broker = ("--endpoints", nobody, "--name-server", nobody)
    done = subprocess.run(
        (*COMMAND, str(folder), *broker), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "nameServer" in done.stderr and nobody in done.stderr
    assert f"logs: {folder}" in done.stderr
    assert list(folder.glob("try/**/gateway-0.log"))
    assert processes_of(folder) == []
