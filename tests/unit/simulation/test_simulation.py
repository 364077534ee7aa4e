"""The simulator itself: a seed decides everything, and what is broken on purpose is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.faults import Fault, schedule
from tests.simulation.planting import Found, enough, first_telling
from tests.simulation.shrinking import kind, shrink
from tests.simulation.world import Result

ROOT = Path(__file__).parents[3]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the order of sets is part of a run."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    environment = {**os.environ, "PYTHONASYNCIODEBUG": "", "PYTHONHASHSEED": "random"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_seed_is_the_same_story_in_every_process() -> None:
    first, again, other = simulate("--seed", "3"), simulate("--seed", "3"), simulate("--seed", "4")
    assert first.stdout == again.stdout
    assert "has its answer" in first.stdout
    assert first.stdout != other.stdout


def test_a_seed_has_as_many_steps_among_many_as_alone() -> None:
    alone = simulate("--first", "3", "--seeds", "1", "--jobs", "1")
    assert " 1 seeds in" in f" {alone.stdout}"
    steps = alone.stdout.split("answered, ")[1].split(" steps")[0]
    single = simulate("--seed", "3").stdout.strip().splitlines()[-1]
    assert f" {steps} steps" in single


def test_what_is_broken_on_purpose_is_found() -> None:
    plants = ["a-turn-is-given-up-after-its-first-attempt", "packets-are-applied-whatever-their-number"]
    found = simulate("--seeds", "1", "--plants", *plants)
    assert "2 of 2 plants found" in found.stdout
    assert found.returncode == 0


def test_a_plant_counts_as_found_only_by_what_fails_without_it_in_another_way() -> None:
    tried = []

    def unplanted(seed: int) -> str:
        tried.append(seed)
        return "caller-0 got '1'"

    problems = {3: "", 4: "caller-1 got '22'", 5: "caller-1 was told of an error: x"}
    assert first_telling(range(3, 6), problems.__getitem__, unplanted) == (5, problems[5])
    assert first_telling(range(3, 5), problems.__getitem__, unplanted) == (None, "")
    assert 3 not in tried


def test_one_plant_of_twenty_may_stay_unfound() -> None:
    missed = Found("one", None, 200)
    assert enough([Found("other", 3, 4, "problem"), missed])
    assert not enough([missed, missed])


def test_the_faults_of_a_seed_are_its_own() -> None:
    places = (["gateway-0"], ["worker-0"], ["proxy-0"], ["caller-0"])
    assert schedule(1, *places) == schedule(1, *places)
    assert schedule(1, *places) != schedule(2, *places)


def test_only_the_faults_that_matter_are_left() -> None:
    faults = [Fault(float(number), f"fault {number}") for number in range(6)]

    def run(seed: int, tried: list[Fault]) -> Result:
        both = {faults[1], faults[4]} <= set(tried)
        return Result(seed, tried, [], ["caller-1 got '7'"] if both else ["another problem"])

    assert shrink(run(1, faults), run).faults == [faults[1], faults[4]]


@pytest.mark.parametrize("problem", ["caller-1 got '12', expected [1, 2]", "caller-23 got '', expected []"])
def test_problems_are_counted_by_kind(problem: str) -> None:
    assert kind(problem) == "caller-… got …, expected …"
