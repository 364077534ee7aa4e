"""Runs the command line tools that a user would run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
_running: set[subprocess.Popen[str]] = set()
_Result = TypeVar("_Result")


class CommandFailed(RuntimeError):  # noqa: N818 - reads as what it is
    """A tool exited with an error; the message holds the command and the end of what it said."""


def cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("LITEVOICE_CACHE") or base / "litevoice")


def environment() -> dict[str, str]:
    """This process's environment, with the tools of our cache found first."""
    return {**os.environ, "PATH": f"{cache_folder() / 'bin'}:{os.environ['PATH']}"}


def run(command: Sequence[str], *, text: str = "", show: bool = False, timeout_seconds: float = 3600) -> str:
    """Standard output of `command`, run in the repository's root; `text` is its standard input.

    `show` lets its messages (stderr) through as they come. Raises CommandFailed.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        raise CommandFailed(f"{command[0]} is not installed") from None
    _running.add(process)
    try:
        output, complaint = process.communicate(text, timeout_seconds)
    except BaseException:
        _end(process)
        raise
    finally:
        _running.discard(process)
    if process.returncode:
        said = "\n".join(((output or "") + (complaint or "")).splitlines()[-20:])
        raise CommandFailed(f"{' '.join(command)} exited with {process.returncode}:\n{said}")
    return str(output)


def side_by_side(work: Callable[[], _Result], *others: Callable[[], object]) -> _Result:
    """What `work` returns, when all are done. The first error ends the commands that the others run, and is raised."""
    with ThreadPoolExecutor(1 + len(others)) as pool:
        first = pool.submit(work)
        futures: list[Future[Any]] = [first, *(pool.submit(other) for other in others)]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            for process in list(_running):
                _end(process)
            raise
    return first.result()


def _end(process: subprocess.Popen[str]) -> None:
    """SIGTERM to it and to all that it has started."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    tree = [process.pid]
    for pid in tree:
        tree += children.get(pid, [])
    for pid in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kubectl(*arguments: str, text: str = "", timeout_seconds: float = 300) -> str:
    return run(("kubectl", *arguments), text=text, timeout_seconds=timeout_seconds)


def kubectl_json(*arguments: str) -> Any:
    return json.loads(kubectl(*arguments, "-o", "json"))


def wait_until(condition: Any, timeout_seconds: float, what: str) -> Any:
    """Polls `condition()` until it is truthy and returns that. Raises TimeoutError that names `what`."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            if found := condition():
                return found
            trouble = ""
        except CommandFailed as error:
            trouble = f" ({error})"
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds:.0f} s{trouble}")
        time.sleep(0.5)
