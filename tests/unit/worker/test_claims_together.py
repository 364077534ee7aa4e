"""Several workers that decide by themselves whose the partitions are: what becomes of all of them together."""

from __future__ import annotations

import pytest

from litevoice_contracts.names import Names
from litevoice_worker.claims import TIE_SECONDS
from litevoice_worker.partitions import ranking
from tests.unit.worker.fences import World

NAMES = ("worker-0", "worker-1", "worker-2")


def settled(partitions: int = 4, seed: int = 1) -> World:
    world = World(NAMES, partitions, seed)
    world.run(10)
    assert world.shared
    return world


def test_everybody_gets_its_own_at_once() -> None:
    world = World(NAMES)
    world.run(1)
    assert world.shared
    assert all(world.owners(p) == ranking(p, NAMES)[:1] for p in range(world.partitions))


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 3.0, 5.0, 12.0])
@pytest.mark.parametrize("seed", range(5))
def test_after_a_restart_of_the_broker_nothing_moves(seconds: float, seed: int) -> None:
    world = settled(8, seed)
    before = [len(process.took) for process in world.processes]
    world.restart_broker(seconds)
    world.run(20)
    assert world.shared
    assert [len(process.took) for process in world.processes] == before


@pytest.mark.parametrize("seed", range(10))
def test_two_owners_become_one(seed: int) -> None:
    """However it came about."""
    world = settled(4, seed)
    for process in world.processes:
        for partition in range(world.partitions):
            name = Names.fence(partition)
            process.subscribed.add(name)
            process.claims.taken(partition, world.now)
            world.listed.setdefault(name, set()).add(process.me)
    world.run(TIE_SECONDS + 3)
    assert world.shared
    assert all(world.owners(p) == ranking(p, NAMES)[:1] for p in range(world.partitions))


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_worker_is_replaced_within_a_second_and_a_half(seed: int) -> None:
    world = settled(8, seed)
    world.run(world.random.uniform(0, 3))
    world.kill(world.processes[seed % 3])
    world.run(1.5)
    assert world.shared


@pytest.mark.parametrize("after", [0.0, 0.3, 0.7, 1.0, 1.5, 3.0, 10.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_killed_worker_that_comes_back_under_its_name(after: float, seed: int) -> None:
    world = settled(8, seed)
    victim = world.processes[0]
    world.kill(victim)
    world.run(after)
    again = world.start(victim.name)
    doubly = [0.0]

    def watch() -> None:
        doubly[0] = max(doubly[0], world.now if world.doubly_owned else 0.0)

    killed = world.now
    world.run(3.0, watch)
    assert world.shared
    assert all(world.owners(p) == ranking(p, NAMES)[:1] for p in range(world.partitions))
    assert again.owns
    assert doubly[0] <= killed + 2.0


@pytest.mark.parametrize("two", [False, True])
def test_all_but_one_die(two: bool) -> None:
    world = settled(16)
    world.kill(world.processes[0])
    if not two:
        world.run(0.5)
    world.kill(world.processes[1])
    world.run(5)
    assert world.shared
    assert len(world.processes[2].owns) == 16


@pytest.mark.parametrize("frozen_seconds", [5.0, 12.0, 30.0])
@pytest.mark.parametrize("seed", range(10))
def test_a_frozen_worker_that_thaws_steals_nothing(frozen_seconds: float, seed: int) -> None:
    """Kubernetes notices that it is not ready, and after the thaw that it is ready again."""
    world = settled(8, seed)
    victim = world.processes[seed % 3]
    world.freeze(victim)
    world.run(4)
    world.set_members(set(NAMES) - {victim.name})
    world.run(frozen_seconds - 4)
    taken = {p for p in range(world.partitions) if any(n != victim.name for n in world.owners(p))}
    took, others = len(victim.took), {p: world.owners(p) for p in taken}
    world.thaw(victim)
    assert victim.claims.doubtful(world.now) or not victim.owns & taken, "nothing is read or published meanwhile"
    world.run(2.0)
    assert len(victim.took) == took
    for partition, owners in others.items():
        assert victim.name not in world.owners(partition) or owners == [victim.name]
    world.set_members(NAMES)
    world.run(15)
    assert world.shared
    assert all(world.owners(p) == ranking(p, NAMES)[:1] for p in range(world.partitions))


def test_while_the_name_server_is_down_nobody_is_evicted() -> None:
    world = settled(8)
    before = [len(process.took) for process in world.processes]
    world.name_server_down = True
    world.run(2)
    world.freeze(world.processes[0])
    world.run(4)
    world.thaw(world.processes[0])
    world.run(20)
    world.name_server_down = False
    world.run(20)
    assert world.shared
    assert [len(process.took) for process in world.processes] == before


def test_a_new_member_gets_its_share_once_it_is_there() -> None:
    world = settled(8)
    world.set_members((*NAMES, "worker-3"))
    world.run(20)
    assert world.shared
    assert not any("worker-3" in world.owners(p) for p in range(8)), "its share is served meanwhile"
    world.start("worker-3")
    world.run(3)
    assert world.shared
    assert any("worker-3" in world.owners(p) for p in range(8))


def test_no_member_is_ready_for_a_while() -> None:
    world = settled(8)
    before = [len(process.took) for process in world.processes]
    world.set_members(())
    world.run(30)
    world.set_members(NAMES)
    world.run(10)
    assert world.shared
    assert [len(process.took) for process in world.processes] == before


@pytest.mark.parametrize("seed", range(5))
def test_workers_that_know_of_more_partitions_come_one_by_one(seed: int) -> None:
    """Those that there were have an owner all the time, but for the handovers; the new ones as soon as the last worker
    has gone that does not know them."""
    few, world = 4, settled(4, seed)
    world.partitions = 12
    unowned_since: dict[int, float] = {}
    longest = 0.0

    def watch() -> None:
        nonlocal longest
        for partition in range(few):
            assert len(world.owners(partition)) <= 1
            if world.owners(partition):
                unowned_since.pop(partition, None)
            else:
                longest = max(longest, world.now - unowned_since.setdefault(partition, world.now))

    for old in [process for process in world.processes if process.alive]:
        world.set_members((*world.members, f"{old.name}-next"))
        world.start(f"{old.name}-next")
        world.run(3, watch)
        world.set_members(world.members - {old.name})
        world.run(3, watch)
        world.kill(old)
        world.run(1, watch)
    assert longest < 2
    world.run(1)
    assert world.shared
