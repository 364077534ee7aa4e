"""The simulator itself: a seed decides everything, and what is broken on purpose is found."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.faults import Fault, callers_hurry, schedule
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.planting import Found, enough, first_telling
from tests.simulation.shrinking import kind, shrink
from tests.simulation.world import Result

ROOT = Path(__file__).parents[3]
TELLING = {
    0: ("packets-are-lost", "only-a-live-session-counts-attempts", "a-resumed-answer-begins-its-sentence-again"),
    2: ("an-evicted-loser-comes-back-with-its-full-sync", "a-client-that-comes-back-is-told-of-no-answer-under-way"),
    3: ("a-session-has-several-messages-on-their-way",),
    6: ("clients-are-read-as-fast-as-they-send",),
    7: ("a-quiet-session-is-not-kept-alive",),
    8: ("what-a-client-sends-again-counts-again", "packets-are-applied-whatever-their-number"),
    10: ("a-turn-is-given-up-after-its-first-attempt",),
    18: ("nothing-is-left-to-the-next-owner",),
    88: ("a-turn-is-never-given-up",),
    405: ("what-is-sent-again-is-taken-for-new",),
}
"""Plants by a seed that tells, so that the simulator cannot go blind unseen: one for each way in which it tells. When
the world gets another kind of fault, other seeds tell: `--plants` finds them (docs/adr/0017-simulator.md)."""


def simulate(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    """In a process of its own: the order of sets is part of a run. With another `hash_seed` it begins itself anew."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    environment = {**os.environ, "PYTHONASYNCIODEBUG": "", "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@functools.cache
def story(*seeds: str) -> str:
    """One after the other in the same process."""
    return simulate("--story", "--seed", *seeds).stdout


def test_a_seed_is_the_same_story_in_every_process() -> None:
    assert story("3") == simulate("--story", "--seed", "3", hash_seed="random").stdout
    assert story("334") == simulate("--story", "--seed", "334").stdout, "two epochs of the same millisecond"
    assert "has its answer" in story("3")
    assert story("3") != story("4")


def test_a_seed_is_the_same_story_after_other_seeds() -> None:
    """Whatever the process has done before: worlds end while tasks wait, dead programs never clean up."""
    assert story("37", "3") == story("37") + story("3")


@pytest.mark.parametrize(("seed", "plants"), TELLING.items())
def test_what_is_broken_on_purpose_is_found(seed: int, plants: tuple[str, ...]) -> None:
    found = simulate("--first", str(seed), "--seeds", "1", "--plants", *plants)
    assert f"{len(plants)} of {len(plants)} plants found" in found.stdout, found.stdout
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


def test_a_plant_that_the_product_has_outgrown_finds_nothing() -> None:
    misfit = "nobody caught 1004.020 TypeError(\"_p.<locals>.begin() got an unexpected keyword argument 'since'\")"
    problems = {0: misfit, 1: "caller-1 got '22'"}
    assert first_telling(range(2), problems.__getitem__, lambda _: "") == (1, problems[1])


def test_one_plant_of_twenty_may_stay_unfound() -> None:
    missed = Found("one", None, 200)
    assert enough([Found("other", 3, 4, "problem"), missed])
    assert not enough([missed, missed])


def test_the_faults_of_a_seed_are_its_own() -> None:
    places = (["gateway-0"], ["worker-0"], ["proxy-0"], ["caller-0"])
    assert schedule(1, *places) == schedule(1, *places)
    assert schedule(1, *places) != schedule(2, *places)


def test_the_clocks_of_some_seeds_jump() -> None:
    places = (["gateway-0"], ["worker-0"], ["proxy-0"], ["caller-0"])
    jumps = {seed: [fault for fault in schedule(seed, *places) if fault.kind == "clock jumps"] for seed in range(60)}
    assert 5 <= sum(bool(found) for found in jumps.values()) <= 15
    by = [fault.by for found in jumps.values() for fault in found]
    assert min(by) < -60 < 60 < max(by)


def test_in_some_seeds_all_workers_die_and_callers_hurry() -> None:
    places = (["gateway-0"], ["worker-0", "worker-1"], ["proxy-0"], ["caller-0"])
    stories = [schedule(seed, *places) for seed in range(80)]
    killed = {("kill worker", "worker-0"), ("kill worker", "worker-1")}
    dying = [faults for faults in stories if {(fault.kind, fault.target) for fault in faults} == killed]
    assert 5 <= len(dying) <= 20
    assert all(callers_hurry(faults) for faults in dying)


@pytest.mark.parametrize(
    ("kinds", "hurry"),
    [
        (["freeze worker", "client leaves", "clock jumps"], True),
        (["kill gateway", "client leaves"], False),
        (["kill worker", "restart broker"], False),
        ([], False),
    ],
)
def test_callers_hurry_where_workers_go_and_nothing_holds_up_a_takeover(kinds: list[str], hurry: bool) -> None:
    assert callers_hurry([Fault(1.0, kind) for kind in kinds]) is hurry


def test_a_clock_that_jumps_is_the_wall_clock_of_one_machine() -> None:
    loop = VirtualLoop()
    jumped, other = Process("gateway-0"), Process("worker-0")
    right, monotonic = loop.wall(), loop.time()
    loop.clocks_off["gateway-0"] = -90.0
    assert jumped.context.run(loop.wall) == right - 90.0
    assert jumped.context.run(loop.time) == monotonic
    assert other.context.run(loop.wall) == loop.wall() == right
    loop.close()


def test_only_the_faults_that_matter_are_left() -> None:
    faults = [Fault(float(number), f"fault {number}") for number in range(6)]

    def run(seed: int, tried: list[Fault]) -> Result:
        both = {faults[1], faults[4]} <= set(tried)
        return Result(seed, tried, [], ["caller-1 got '7'"] if both else ["another problem"])

    assert shrink(run(1, faults), run).faults == [faults[1], faults[4]]


@pytest.mark.parametrize("problem", ["caller-1 got '12', expected [1, 2]", "caller-23 got '', expected []"])
def test_problems_are_counted_by_kind(problem: str) -> None:
    assert kind(problem) == "caller-… got …, expected …"
