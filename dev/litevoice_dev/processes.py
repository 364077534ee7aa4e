"""Child processes that cannot outlive this one: not by an exception, not by Ctrl-C, not by kill -9."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

_Job = tuple["Future[subprocess.Popen[bytes]]", list[str], dict[str, str], Path]
_jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
_start_lock = threading.Lock()
_spawner: threading.Thread | None = None


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child and where to ask about it: its log, and its admin API if it has one."""

    alive: Callable[[], bool]
    log: Path
    admin_url: str = ""
    admin_token: str = ""


spawned: list[Spawned] = []
"""All children, oldest first, for who reports a failure."""


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    admin_url: str = "",
    admin_token: str = "",
) -> subprocess.Popen[bytes]:
    """Starts `command` in its own session, output appended to `log`; the kernel kills it when this process ends.

    The kernel watches the *thread* that forked, so all children come from one thread that lives as long as the process.
    """
    global _spawner
    with _start_lock:
        if _spawner is None or not _spawner.is_alive():
            _spawner = threading.Thread(target=_spawn_loop, name="spawner", daemon=True)
            _spawner.start()
    result: Future[subprocess.Popen[bytes]] = Future()
    _jobs.put((result, ["setpriv", "--pdeathsig", "KILL", *command], {**os.environ, **(env or {})}, log))
    process = result.result()
    spawned.append(Spawned(lambda: process.poll() is None, log, admin_url, admin_token))
    return process


def _spawn_loop() -> None:
    while True:
        result, command, env, log = _jobs.get()
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    start_new_session=True,
                )
        except BaseException as error:  # handed to the caller, whatever it is
            result.set_exception(error)
        else:
            result.set_result(process)


def stop(process: subprocess.Popen[bytes], *, timeout_seconds: float = 15.0) -> None:
    """SIGTERM, and SIGKILL when that is not enough. Returns when the process is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9, as a crash would."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, for error messages."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
