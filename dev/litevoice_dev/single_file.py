"""Builds the `litevoice` command as a single file: `python -m litevoice_dev.single_file dist/litevoice`.

The file is a zip archive with everything that the command imports, as it is installed here, after a line that has a
shell start it. Some of that is compiled, and a shared object cannot be loaded from an archive: so the first start
unpacks it all into the user's cache. It runs where this Python's version and this kind of machine are.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import platform
import shutil
import sys
import sysconfig
import tempfile
import zipapp
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

import litevoice_cli
import litevoice_contracts
import litevoice_operator

COMMAND = "litevoice-cli"
OWN = {"litevoice-cli": litevoice_cli, "litevoice-contracts": litevoice_contracts}
"""Installed as links into the workspace: their folders are taken."""
DECIDING = ("api", "decide", "observe", "__init__.py", "alert_trial.py")
"""Of the operator: how a BacklogAlert decides, for `litevoice alert test`."""
LEFT_OUT = frozenset(
    {"aiohttp", "aiohappyeyeballs", "aiohttp-retry", "aiosignal", "attrs", "frozenlist", "multidict", "propcache"}
    | {"tzdata", "yarl"}
)
"""What only `kubernetes.aio` needs, or another operating system."""
UNUSED = ("kubernetes/aio", "kubernetes/client/api", "kubernetes/client/models")
"""Three quarters of the whole. The command asks paths and reads JSON: of these it needs no more than that the last two
can be imported."""

MAIN = '''\
import os, runpy, shutil, sys, tempfile, zipfile

MADE_FOR = {made_for!r}
archive = os.path.abspath(sys.argv[0])


def refuse(text):
    sys.stderr.write("litevoice: " + text + "\\n")
    sys.exit(1)


def unpacked():
    """The folder that has what is in the archive."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    base = os.path.join(home, "litevoice")
    folder = os.path.join(base, "command-{digest}")
    if os.path.isdir(folder):
        return folder
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        new = tempfile.mkdtemp(prefix="new-", dir=base)
        try:
            with zipfile.ZipFile(archive) as whole:
                whole.extractall(new)
            os.rename(new, folder)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            if not os.path.isdir(folder):  # else another one was faster
                raise
    except OSError as error:
        refuse("XDG_CACHE_HOME: expected a folder that can be written and has 40 MB left: " + str(error))
    return folder


found = [sys.implementation.name, "%d.%d" % sys.version_info[:2], sys.platform, os.uname().machine]
if found != MADE_FOR:
    refuse("this file is for %s, and this is %s: pip install ./contracts ./cli" % (" ".join(MADE_FOR), " ".join(found)))
sys.path[0] = unpacked()
sys.argv[0] = "litevoice"
runpy.run_module("litevoice_cli", run_name="__main__")
'''


def main() -> int:
    parser = argparse.ArgumentParser(prog="single_file", description=__doc__)
    parser.add_argument("output", type=Path)
    output: Path = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), output)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, for {' '.join(made_for())}")
    return 0


def build(folder: Path, output: Path) -> None:
    """`folder`: empty; gets what the file consists of."""
    for distribution in needed(COMMAND):
        copy(distribution, folder)
    copy_deciding(folder / litevoice_operator.__name__)
    for unused in UNUSED:
        leave_out(folder / unused)
    digest = digest_of(folder)
    (folder / "__main__.py").write_text(MAIN.format(made_for=made_for(), digest=digest))
    zipapp.create_archive(folder, output, interpreter="/usr/bin/env python3", compressed=True)


def made_for() -> list[str]:
    version = ".".join(map(str, sys.version_info[:2]))
    return [sys.implementation.name, version, sys.platform, platform.machine()]


def needed(name: str) -> Iterator[importlib.metadata.Distribution]:
    """The distribution, and those that it requires on this machine."""
    waiting, known = [name], {name}
    while waiting:
        distribution = importlib.metadata.distribution(waiting.pop())
        for text in distribution.requires or []:
            requirement = Requirement(text)
            required = requirement.name.lower().replace("_", "-")
            if required not in known and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                known.add(required)
                if required not in LEFT_OUT:
                    waiting.append(required)
        yield distribution


def copy(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    name = distribution.metadata["Name"].lower().replace("_", "-")
    if (own := OWN.get(name)) is not None:
        (source,) = own.__path__
        shutil.copytree(source, folder / own.__name__, ignore=shutil.ignore_patterns("__pycache__"))
        return
    site = Path(sysconfig.get_path("purelib"))
    for file in distribution.files or []:
        path = Path(str(distribution.locate_file(file))).resolve()
        if path.suffix == ".pyc" or not path.is_relative_to(site.resolve()):
            continue  # a program beside the packages
        target = folder / path.relative_to(site.resolve())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def copy_deciding(folder: Path) -> None:
    (source,) = litevoice_operator.__path__
    folder.mkdir()
    for name in DECIDING:
        part = Path(source) / name
        if part.is_dir():
            shutil.copytree(part, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(part, folder / name)


def leave_out(folder: Path) -> None:
    """All but the package itself, whose names are looked up when they are used."""
    if not folder.is_dir():
        raise SystemExit(f"{folder.name}: there is no such folder any more: look what UNUSED should name")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "__init__.py":
            path.unlink()


def digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
