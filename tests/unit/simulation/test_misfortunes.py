"""Several things at a time befall one caller: what is drawn, when it strikes, and stories of it that failed once."""

from __future__ import annotations

import pytest

from litevoice_gateway.homes import Homes
from litevoice_gateway.standstill import Standstill
from tests.simulation import client
from tests.simulation.faults import MOMENTARY, Fault
from tests.simulation.loop import VirtualLoop
from tests.simulation.misfortunes import LOST_ANSWERS_SHARE, SHARE, WAIT_SECONDS, Moments, lost_answers, misfortunes
from tests.simulation.world import Result, run

PLACES = (["proxy-0", "proxy-1"], ["caller-0", "caller-1"])
WORLD = 16
"""A seed with three gateways, two workers and one caller."""


def test_some_seeds_have_them_and_each_has_its_own() -> None:
    found = {seed: misfortunes(seed, *PLACES) for seed in range(300)}
    assert found == {seed: misfortunes(seed, *PLACES) for seed in range(300)}
    assert abs(sum(map(bool, found.values())) / 300 - SHARE) < 0.1
    faults = [fault for faults in found.values() for fault in faults]
    assert {fault.target.partition("'s ")[2] for fault in faults} == {"", "gateway", "worker"}
    assert all(fault.seconds == 0.0 for fault in faults if fault.kind in MOMENTARY)
    assert all(fault.seconds > 0.0 for fault in faults if fault.kind not in MOMENTARY)


def test_it_strikes_a_while_after_the_next_such_moment() -> None:
    loop, struck = VirtualLoop(), list[tuple[float, str]]()
    began = loop.now
    moments = Moments(loop, lambda fault: struck.append((round(loop.now - began, 2), fault.kind)))
    moments.came("caller-0 asks")  # nothing waits for it yet
    moments.wait_for(Fault(0.0, "first", moment="caller-0 asks", delay=0.5))
    moments.wait_for(Fault(0.0, "in vain", moment="caller-0 hears", delay=0.5))
    for seconds in (1.0, 2.0):
        loop.within(None, seconds, moments.came, "caller-0 asks")
    loop.within(None, WAIT_SECONDS + 1.0, loop.stop)
    loop.run_forever()
    loop.close()
    assert struck == [(1.5, "first"), (WAIT_SECONDS, "in vain")]


def story(*faults: Fault) -> Result:
    return run(WORLD, list(faults))


def test_its_own_gateway_and_worker_are_those_of_that_moment() -> None:
    kill = Fault(3.0, "kill gateway", "caller-0's gateway", seconds=0.5, moment="caller-0 hears", delay=0.01)
    result = story(kill)
    opened = next(line.rpartition(" ")[2] for line in result.story if "session opened" in line)
    assert any(line.endswith(f"FAULT {kill}: {opened}") for line in result.story)
    assert result.broken == []
    nobody = story(Fault(0.1, "kill worker", "caller-0's worker", seconds=0.5))
    assert any(line.endswith("for 0.50 s: nobody") for line in nobody.story)


def test_a_worker_that_stands_still_is_replaced() -> None:
    freeze = Fault(3.0, "freeze worker", "caller-0's worker", seconds=18.0, moment="caller-0 hears", delay=0.05)
    result = story(freeze)
    assert any(line.endswith("worker-0 is no member any more") for line in result.story)
    assert any("worker-1 computes" in line for line in result.story)
    assert result.broken == []


@pytest.mark.parametrize("how", ["leaves", "vanishes"])
@pytest.mark.parametrize("delay", [0.01, 0.3])
def test_a_gateway_that_stood_still_sends_nothing_of_what_is_another_ones_by_now(how: str, delay: float) -> None:
    """It did, when its own full sync came before its question, and when its client's connection was still open."""
    result = story(
        Fault(3.0, "freeze gateway", "caller-0's gateway", seconds=8.0, moment="caller-0 asks", delay=delay),
        Fault(3.0, f"client {how}", "caller-0", moment="caller-0 asks", delay=0.4),
    )
    assert result.broken == []
    assert any("freeze gateway gateway-1 is over" in line for line in result.story)


def test_what_a_worker_has_refused_comes_back_by_the_owner_after_the_next() -> None:
    """It had begun with the silence that the second of three owners had: that one did not know yet of the speech ahead
    of it, which the third did, but took the worker for one that had it. Nothing came of it for as long as it stayed."""
    silent = "caller-0 has asked"
    faults = [
        Fault(2.0, "late notices", seconds=6.0),
        Fault(3.0, "kill worker", "caller-0's worker", seconds=3.0, moment=silent),
        Fault(3.0, "client vanishes", "caller-0", moment=silent, delay=0.6),
        Fault(3.0, "client leaves", "caller-0", moment=silent, delay=1.75),
    ]
    result = run(2, faults)
    assert result.broken == []
    assert any("leaves gateway" in line for line in result.story)


def test_some_seeds_have_a_gateway_that_does_not_hear_what_becomes_of_its_questions() -> None:
    found = {seed: lost_answers(seed, PLACES[1]) for seed in range(600)}
    assert abs(sum(map(bool, found.values())) / 600 - LOST_ANSWERS_SHARE) < 0.02
    assert {fault.kind for faults in found.values() for fault in faults} == {"deafen gateway", "kill worker"}


@pytest.mark.parametrize("delay", [2.1, 2.2])
def test_a_client_that_comes_back_while_it_asks_whose_its_sessions_are_waits_for_the_answer(delay: float) -> None:
    """Others had it meanwhile, and have left it again: what it had kept went ahead of its new epoch."""
    result = story(
        Fault(3.0, "freeze gateway", "caller-0's gateway", seconds=3.0, moment="caller-0 asks", delay=0.01),
        Fault(3.0, "client leaves", "caller-0", moment="caller-0 asks", delay=0.4),
        Fault(3.0, "client leaves", "caller-0", moment="caller-0 asks", delay=delay),
    )
    assert result.broken == []
    opened = [line.rpartition(" ")[2] for line in result.story if "session opened" in line]
    assert opened[0] == opened[2]


def test_a_client_that_did_not_wait_for_a_gateway_to_thaw_keeps_what_it_has_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its connection had waited at the frozen gateway, which takes it when it thaws and sees only then that it has
    ended: in half an hour of `make chaos` nineteen of them took their sessions from where the clients were by then."""
    monkeypatch.setattr(client, "HELLO_SECONDS", 1.0)
    result = story(
        Fault(3.0, "freeze gateway", "caller-0's gateway", seconds=8.0, moment="caller-0 asks", delay=0.01),
        Fault(3.0, "client leaves", "caller-0", moment="caller-0 asks", delay=0.4),
        Fault(3.0, "client leaves", "caller-0", moment="caller-0 asks", delay=2.2),
    )
    assert result.broken == []
    assert any("gives up on" in line for line in result.story)
    assert not [line for line in result.story if "closes with 4001" in line]


@pytest.mark.parametrize("given_up", [False, True])
def test_what_a_client_had_said_before_does_not_leave_with_the_end_of_its_last_attempt(
    monkeypatch: pytest.MonkeyPatch, *, given_up: bool
) -> None:
    """It has tried to come back to the frozen gateway, which reads its question and both ends at its thaw (half an hour
    of `make chaos` had two turns that were computed twice, as the session was given up before anybody was asked)."""

    async def nobody_asks(_: Standstill) -> None: ...

    if given_up:
        monkeypatch.setattr(Standstill, "is_over", nobody_asks)
        monkeypatch.setattr(Homes, "own", lambda *_: True)
    result = story(
        Fault(3.0, "freeze gateway", "caller-0's gateway", seconds=8.0, moment="caller-0 has asked"),
        Fault(3.0, "client insists", "caller-0", moment="caller-0 has asked", delay=0.8),
    )
    assert any("does not take its connection" in line for line in result.story)
    assert ["sends what it had" in problem for problem in result.broken] == [True] * given_up
