"""From a seed that fails to the few faults that matter."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.simulation.faults import Fault
from tests.simulation.world import Result

_PARTICULAR = re.compile(r"'[^']*'|\[[^]]*\]|\d+")


def kind(problem: str) -> str:
    """The problem without its particulars: names, numbers, texts."""
    return _PARTICULAR.sub("…", problem)


def shrink(result: Result, run: Callable[[int, list[Fault]], Result]) -> Result:
    """Leaves out one fault after the other, for as long as the same kind of problem comes of the rest."""
    wanted = kind(result.broken[0])
    shrunk = True
    while shrunk:
        shrunk = False
        for number in range(len(result.faults)):
            fewer = result.faults[:number] + result.faults[number + 1 :]
            tried = run(result.seed, fewer)
            if tried.broken and kind(tried.broken[0]) == wanted:
                result, shrunk = tried, True
                break
    return result
