"""The walk: plants each fault, waits for as long as a caller does before they complain, and asks `litevoice`.

What is counted is what the two commands say, as programs of their own: session, pod, node, client and cause, and how
long both took together.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from litevoice_cli.tables import table
from litevoice_dev.progress import say
from litevoice_dev.walk.asking import BOUND_SECONDS, Found
from litevoice_dev.walk.faults import ONE_BY_ONE, SIDE_BY_SIDE, Plant
from litevoice_dev.walk.place import WalkPlace, place

FAULTS = (*SIDE_BY_SIDE, *ONE_BY_ONE)


def add_arguments(command: argparse.ArgumentParser) -> None:
    listed = ", ".join(repr(name) for name in FAULTS)
    command.add_argument(
        "--only", nargs="+", choices=FAULTS, default=FAULTS, metavar="FAULT", help=f"of {listed} (default: all)"
    )


def walk(options: argparse.Namespace) -> int:
    """Prints the table; the exit code."""
    found = asyncio.run(plant(options.folder / "walk", options.only))
    rows = [(name, one.cause, one.right, f"{one.seconds:.1f} s", one.says[:90]) for name, one in found.items()]
    print(table(("FAULT", "CAUSE", "RIGHT", "TOOK", "LITEVOICE SAYS"), rows))
    good = sum(one.good for one in found.values())
    print(f"{good} of {len(found)} right: session, pod, node, client and cause, within {BOUND_SECONDS:.0f} s")
    return 0 if good == len(found) else 1


async def plant(folder: Path, only: tuple[str, ...]) -> dict[str, Found]:
    """Fault → what was said of it. Faults of single callers at once, the others one after the other."""
    async with place(folder) as here:
        at_once = [name for name in SIDE_BY_SIDE if name in only]
        answers = await asyncio.gather(*(told(here, name, SIDE_BY_SIDE[name]) for name in at_once))
        found = dict(zip(at_once, answers, strict=True))
        for name, one in ONE_BY_ONE.items():
            if name in only:
                found[name] = await told(here, name, one)
    return found


async def told(here: WalkPlace, fault: str, one: Plant) -> Found:
    """What fails is wrong as well, and does not keep the others from being planted."""
    try:
        found = await one(here)
    except Exception as error:
        found = Found("none", [f"not asked: {type(error).__name__}: {error}"], 0.0, "")
    say(f"{fault}: {found.cause}, {found.right} ({found.seconds:.1f} s)")
    return found
