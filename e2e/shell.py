"""Runs the command line tools that a user would run."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


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
        result = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(),
            input=text,
            stdout=subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        raise CommandFailed(f"{command[0]} is not installed") from None
    if result.returncode:
        said = "\n".join(((result.stdout or "") + (result.stderr or "")).splitlines()[-20:])
        raise CommandFailed(f"{' '.join(command)} exited with {result.returncode}:\n{said}")
    return result.stdout


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
