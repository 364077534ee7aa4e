"""Puts one known fault after the other back, each in a process of its own, and looks how soon a seed tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context

from tests.simulation.plants import PLANTS
from tests.simulation.shrinking import kind
from tests.simulation.world import run

MISSED = 1
"""Of twenty, so many may stay unfound."""
UNKNOWN = "the model does not know"
"""A call that the model broker lacks fails by the model's fault: nothing is found by it."""
MISFIT = ".<locals>."
"""Nor by a plant that the product has outgrown: the function that it puts in place is not called like that any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """`seed`: the first of `tried` that tells, None when none does; `problem`: how it shows."""

    plant: str
    seed: int | None
    tried: int
    problem: str = ""

    def __str__(self) -> str:
        return f"{'-' if self.seed is None else self.seed:>5}  {self.plant:<56} {self.problem}"


def search(plants: Iterable[str], seeds: range, jobs: int = 1) -> Iterator[Found]:
    """So many plants at a time; in their order."""
    with _process() as clean, ThreadPoolExecutor(jobs) as threads:
        unplanted = lru_cache(maxsize=None)(partial(_in, clean))

        def find(plant: str) -> Found:
            with _process(plant) as planted:
                seed, problem = first_telling(seeds, partial(_in, planted), unplanted)
            return Found(plant, seed, len(seeds), problem)

        yield from threads.map(find, plants)


def enough(found: Iterable[Found]) -> bool:
    """Whether no more than MISSED of them are unfound."""
    return sum(one.seed is None for one in found) <= MISSED


def first_telling(
    seeds: range, planted: Callable[[int], str], unplanted: Callable[[int], str]
) -> tuple[int | None, str]:
    """The first seed that fails with the plant, and in another way, or not at all, without it; how it fails."""
    for seed in seeds:
        problem = planted(seed)
        if problem and not _is_the_plants_own(problem) and kind(problem) != kind(unplanted(seed)):
            return seed, problem
    return None, ""


def _is_the_plants_own(problem: str) -> bool:
    return UNKNOWN in problem or ("TypeError" in problem and MISFIT in problem)


def _process(plant: str = "") -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=PLANTS.get(plant))


def _in(process: ProcessPoolExecutor, seed: int) -> str:
    return process.submit(_problem, seed).result()


def _problem(seed: int) -> str:
    """What it fails with, "" when it does not."""
    broken = run(seed).broken
    return broken[0] if broken else ""
