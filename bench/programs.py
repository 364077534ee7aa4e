"""The programs that measurements need, built once; where everything built stands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def cache() -> Path:
    """The folder for what is built, outside the repository."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("LITEVOICE_CACHE") or base / "litevoice")


def program(name: str) -> str:
    """Path of `loadgen`, `peer-rust` or `peer-go`. Raises RuntimeError when it cannot be built; it has said why."""
    try:
        return subprocess.run(
            [str(SCRIPTS / "install-bench"), name], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{name} could not be built") from error
