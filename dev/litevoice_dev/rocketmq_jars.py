"""Resolves RocketMQ's jars from Maven Central into the cache, once, so that every later start is offline and quick.

The environment variable ROCKETMQ chooses one of the versions that rocketmq_files/pom.xml names.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

FILES = Path(__file__).with_name("rocketmq_files")
_POM = FILES / "pom.xml"


def cache_folder() -> Path:
    """The project's cache, outside the repository."""
    if configured := os.environ.get("LITEVOICE_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "litevoice"


def say(text: str) -> None:
    """Progress for people; standard output stays free for results."""
    print(f"→ {text}", file=sys.stderr, flush=True)


def versions() -> list[str]:
    """RocketMQ's versions that there are jars for, the default first."""
    name = "{http://maven.apache.org/POM/4.0.0}"
    pom = ElementTree.parse(_POM)  # noqa: S314 - our own file
    return [
        str(element.text)
        for path in (f"{name}properties/{name}rocketmq.version", f"{name}profiles/{name}profile/{name}id")
        for element in pom.iterfind(path)
    ]


def version() -> str:
    """The one that ROCKETMQ names, else the default. Raises ValueError when there are no jars for it."""
    known = versions()
    wanted = os.environ.get("ROCKETMQ") or known[0]
    if wanted not in known:
        raise ValueError(f"ROCKETMQ={wanted}: no such version here; possible: {', '.join(known)}")
    return wanted


def lib_folder(progress: Callable[[str], None] = say) -> Path:
    """Folder with all jars of `version()`; resolves them on the first call. Safe when several processes call at once.

    Raises:
        ValueError: ROCKETMQ names an unknown version.
        RuntimeError: Maven failed; the message ends with its last lines.
    """
    wanted = version()
    home = cache_folder() / f"rocketmq-{wanted}-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]}"
    lib = home / "lib"
    if lib.is_dir():
        return lib
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not lib.is_dir():
            _resolve(wanted, lib, progress)
    return lib


def _resolve(wanted: str, lib: Path, progress: Callable[[str], None]) -> None:
    if shutil.which("mvn") is None:
        raise RuntimeError("mvn not found: install Maven (Debian: apt-get install maven)")
    progress(f"resolving the jars of RocketMQ {wanted} with Maven (about 100 MB, once)")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=lib.parent) as scratch:
        new, log = Path(scratch) / "lib", Path(scratch) / "maven.log"
        profile = [] if wanted == versions()[0] else ["-P", wanted]
        command = ["mvn", "-B", "-f", str(_POM), *profile, "package", f"-DoutputDirectory={new}"]
        with log.open("wb") as output:
            maven = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            while True:
                try:
                    status = maven.wait(timeout=5)
                    break
                except subprocess.TimeoutExpired:
                    downloaded = log.read_text(errors="replace").count("Downloaded from")
                    progress(f"  {downloaded} files after {time.monotonic() - started:.0f} s")
        if status != 0:
            raise RuntimeError("Maven failed:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))
        new.rename(lib)
    progress(f"{len(list(lib.glob('*.jar')))} jars in {time.monotonic() - started:.0f} s")
