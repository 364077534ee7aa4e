"""`python -m tests.simulation`: many seeds, each a run of the whole path in virtual time; fails when one does."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.planting import enough, search
from tests.simulation.plants import PLANTS
from tests.simulation.shrinking import kind, shrink
from tests.simulation.world import Result, run

SHOWN_LINES = 60


def main() -> int:
    """0 when no seed failed."""
    arguments = _arguments()
    if arguments.plants is not None:
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        return _plants(arguments.plants or list(PLANTS), seeds, arguments.jobs)
    if arguments.plant:
        PLANTS[arguments.plant]()
    if arguments.seed is not None:
        return max([_one(seed, whole=arguments.story, shrinks=arguments.shrink) for seed in arguments.seed])
    began, failures, done = time.monotonic(), list[Result](), 0
    questions = steps = lost = 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    for result in _results(seeds, arguments.jobs):
        done += 1
        questions, steps, lost = questions + result.questions, steps + result.steps, lost + result.lost
        if result.broken:
            failures.append(result)
            print(f"seed {result.seed}: {result.broken[0]}", flush=True)
            if arguments.stop:
                break
        if done % 100 == 0:
            print(f"{done} of {len(seeds)} seeds, {len(failures)} failed", file=sys.stderr, flush=True)
    print(
        f"{done} seeds in {time.monotonic() - began:.0f} s: {questions} questions answered, {steps} steps, "
        f"{lost} lost with gateway and worker, {len(failures)} seeds failed"
    )
    if not failures:
        return 0
    for problem, count in Counter(kind(result.broken[0]) for result in failures).most_common():
        first = next(result.seed for result in failures if kind(result.broken[0]) == problem)
        print(f"{count:5}  {problem}  (seed {first})")
    _tell(shrink(failures[0], run) if arguments.shrink else failures[0], whole=arguments.story)
    return 1


def _arguments() -> argparse.Namespace:
    plants = textwrap.fill(", ".join(sorted(PLANTS)), 100, break_on_hyphens=False)
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        epilog=f"Known faults:\n{plants}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: 0)")
    parser.add_argument("--seed", type=int, nargs="+", help="only this one, with its story; or these, in their order")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--shrink", action="store_true", help="leave out the faults that the first failure does without"
    )
    parser.add_argument("--story", action="store_true", help="the whole story, not only its end")
    parser.add_argument("--stop", action="store_true", help="end with the first failure")
    parser.add_argument("--plant", metavar="PLANT", choices=sorted(PLANTS), help="put a known fault back")
    parser.add_argument(
        "--plants",
        nargs="*",
        metavar="PLANT",
        choices=[*PLANTS, []],
        help="put all of them back, or these, one after the other, each until a seed tells",
    )
    return parser.parse_args()


def _one(seed: int, *, whole: bool, shrinks: bool) -> int:
    result = run(seed)
    if result.broken and shrinks:
        result = shrink(result, run)
    _tell(result, whole=whole)
    digest = hashlib.sha256("\n".join(result.story).encode()).hexdigest()[:16]
    print(f"seed {seed}: {result.questions} questions, {result.steps} steps, story {digest}")
    return 1 if result.broken else 0


def _plants(plants: list[str], seeds: range, jobs: int) -> int:
    """0 when enough of the plants are found."""
    found = []
    for one in search(plants, seeds, jobs):
        found.append(one)
        print(one, flush=True)
    told = sum(one.seed is not None for one in found)
    print(f"{told} of {len(found)} plants found within {len(seeds)} seeds")
    return 0 if enough(found) else 1


def _tell(result: Result, *, whole: bool) -> None:
    print(f"\nseed {result.seed}, faults:")
    print("\n".join(f"  {fault}" for fault in result.faults) or "  none")
    story = result.story if whole else result.story[-SHOWN_LINES:]
    print("\n".join(story))
    for problem in result.broken:
        print(f"BROKEN: {problem}")


def _results(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs < 2:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        yield from pool.map(run, seeds, chunksize=5)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
