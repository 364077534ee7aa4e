"""What callers do and suffer beside the faults of others, each in a story of its own; and that it would be noticed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from litevoice_gateway.hub import Hub
from litevoice_gateway.intake import Intake
from tests.simulation.answers import Answers, Question, are_parts, rest_of
from tests.simulation.client import Client
from tests.simulation.faults import Fault, one_of_several
from tests.simulation.poison import Poison
from tests.simulation.seeded import quiet
from tests.simulation.world import Result, World, run

PLAIN, POISONED, NARROW, IDLE, TWO_BROKERS = 38, 301, 39, 7, 29
"""Seeds: a caller without acknowledgements; one whose first question kills recognizers; one that says much at once; one
that says nothing for long; two callers, each of another broker. Worlds are drawn without the faults."""


def looked_at(seed: int, faults: list[Fault], look: Callable[[World], object]) -> Result:
    """`look` at the world after its end, which it does not outlive."""

    def live() -> Result:
        world = World(seed, faults)
        result = world.run()
        look(world)
        return result

    with quiet():
        return live()


def lines(result: Result, *words: str) -> list[str]:
    return [line for line in result.story if all(word in line for word in words)]


def in_its_question(kind: str) -> Fault:
    return Fault(3.0, kind, "caller-0's gateway", seconds=1.0, moment="caller-0 asks", delay=0.35)


def test_a_caller_without_acknowledgements_may_lose_something_with_its_gateway() -> None:
    result = run(PLAIN, [in_its_question("kill gateway")])
    assert result.broken == []
    assert lines(result, "'578797': understood is '57897'")


def test_it_loses_nothing_in_a_planned_move() -> None:
    result = run(PLAIN, [in_its_question("end gateway")])
    assert result.broken == []
    assert lines(result, "closes with 1012")
    assert lines(result, "has its answer to '578797'")


def test_what_is_read_and_neither_sent_nor_counted_is_noticed() -> None:
    def look(world: World) -> None:
        assert world.problems == []
        world.gateways_begun[0].read.setdefault("caller-0", set()).add(999)
        world.watching.compare_with_counted()

    (problem,) = looked_at(PLAIN, [], look).broken
    assert "has counted 0 packets as lost, lost are {'caller-0': {999}}" in problem


def test_a_question_that_kills_its_workers_is_given_up_after_three() -> None:
    result = run(POISONED, [])
    assert result.broken == []
    assert len(lines(result, "dies of")) == 3
    assert len(lines(result, "is given up")) == 1
    assert lines(result, "has its answer"), "the session goes on"


def test_a_turn_beside_it_may_be_given_up_after_as_many_deaths_since_it_began() -> None:
    """It begins with the question whose answer the caller talks over."""
    with quiet():
        world = World(POISONED, [])
        answers = world.clients[0].answers
        cut, newest = Question("1", True, 10.0, 11.0), Question("2", True, 20.0, 21.0)
        world.workers_hit = [9.0, 12.0, 21.0, 22.0]
        assert not answers._may_be_given_up(newest)
        answers.cut = cut
        assert answers._may_be_given_up(newest)
        world.workers_hit = [8.0, 9.0, 21.0, 22.0]
        assert not answers._may_be_given_up(newest)


def test_a_restart_of_the_broker_ends_no_longer_fault_of_a_worker() -> None:
    with quiet():
        world = World(POISONED, [])
        world.watching.hurt(["worker-0"], 20.0)
        world.watching.hurt(["worker-1"], 0.5)
        world.brokers[0].up = False
        world.watching.look()
        assert [world.watching._is_hurt("worker-0", world.loop.now + seconds) for seconds in (29.9, 30.1)] == [
            True,
            False,
        ]
        world.loop.now += 10.0
        world.watching.look()
        assert world.watching._is_hurt("worker-1", world.loop.now + 9.9), (
            "who is hurt when it restarts, for as long again"
        )


def test_who_sends_too_much_is_read_later_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(NARROW, [])
    assert result.broken == []
    assert lines(result, "says it all at once")
    monkeypatch.setattr(Intake, "_throttle", lambda *_: None)
    assert "which nobody has counted" in run(NARROW, []).broken[0]


def test_who_says_nothing_for_longer_than_a_litetopic_lives_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(IDLE, [])
    assert result.broken == []
    assert lines(result, "says nothing for")
    monkeypatch.setattr(Hub, "_keep_alive", lambda *_: None)
    assert run(IDLE, []).broken[0].endswith("session has expired")


@pytest.mark.parametrize("number", [0, 1])
def test_sessions_of_one_broker_do_not_wait_for_the_other_one(number: int) -> None:
    homes: dict[str, int] = {}

    def look(world: World) -> None:
        homes.update({client.name: world.names.broker_of(client.session_id) for client in world.clients})

    result = looked_at(TWO_BROKERS, [Fault(5.0, "restart broker", f"broker-{number}", seconds=9.0)], look)
    assert result.broken == []
    assert set(homes.values()) == {0, 1}
    other = next(name for name, home in homes.items() if home != number)
    meanwhile = [line for line in lines(result, f"{other} has its answer") if 5.5 < float(line.split()[0]) < 14.0]
    assert len(meanwhile) >= 2


def test_only_one_of_several_brokers_dies_at_a_time() -> None:
    faults = [Fault(4.0, "restart broker", seconds=2.0), Fault(5.0, "client leaves", "caller-0")]
    assert one_of_several(Random(1), faults, 1) == faults
    drawn = [fault for seed in range(20) for fault in one_of_several(Random(seed), faults, 2)]
    died = [fault.target for fault in drawn if fault.kind == "restart broker"]
    assert set(died) == {"broker-0", "broker-1"}
    assert 20 < len(died) < 40, "in some one does besides"


@pytest.mark.parametrize(
    ("deaths", "given_up", "faults", "owners", "lost", "wrong"),
    [
        (3, 1, 0, 3, False, ""),
        (4, 1, 0, 4, False, "has killed 4 workers"),
        (4, 1, 1, 4, False, ""),
        (2, 1, 0, 2, False, "has killed 2 workers"),
        (2, 1, 1, 2, False, ""),
        (2, 1, 0, 3, False, ""),
        (1, 1, 0, 2, False, "has killed 1 workers"),
        (1, 0, 9, 1, False, "was told 0 times that it is given up"),
        (1, 0, 1, 1, True, ""),
        (4, 0, 0, 4, True, "has killed 4 workers"),
        (3, 2, 0, 3, True, "was told 2 times that it is given up"),
    ],
)
def test_how_many_workers_a_question_may_kill(
    deaths: int, given_up: int, faults: int, owners: int, lost: bool, wrong: str
) -> None:
    assert Poison("caller-0", deaths=deaths).judged(given_up, faults, owners=owners, lost=lost) == wrong


@pytest.mark.parametrize(
    ("understood", "left"), [("", "3484"), ("34", "84"), ("4", "84"), ("8", "4"), ("3484", ""), ("9", "")]
)
def test_what_was_understood_is_not_left_for_the_next_question(understood: str, left: str) -> None:
    """Heard again with that, it would be a fault."""
    assert rest_of("3484", understood) == left


def understood(text: str) -> dict[str, Any]:
    return {"t": "input_transcribed", "transcript": text}


def answer_begins(to: str) -> dict[str, Any]:
    return {"t": "response_started", "response_id": to}


def answer_ends(to: str, status: str = "cancelled") -> dict[str, Any]:
    return {"t": "response_finished", "response_id": to, "status": status, "reason": "turn_detected", "text": ""}


BY_ITSELF = [understood("3"), answer_begins("3"), answer_ends("3")]
ANSWERED = [understood("16"), answer_begins("16")]


@pytest.mark.parametrize(
    ("recorded", "told", "wrong"),
    [
        (True, [*BY_ITSELF, *ANSWERED], []),
        (True, [understood("3"), *ANSWERED], []),
        (True, [*BY_ITSELF, *ANSWERED, answer_begins("again")], ["caller-0: a second response to '16'"]),
        (True, [*BY_ITSELF, understood("6")], ["caller-0: '16' was understood as '6'"]),
        (True, [*BY_ITSELF, understood("3")], ["caller-0: '16' was understood as '3'"]),
        (
            True,
            [understood("3"), answer_begins("3"), answer_ends("3", "failed")],
            ["caller-0: the answer to '3' is failed"],
        ),
        (True, [understood("2")], ["caller-0: '16' was understood as '2'"]),
        (True, [understood("")], ["caller-0: '16' was understood as ''"]),
        (False, [understood("3")], ["caller-0: '16' was understood as '3'"]),
    ],
)
def test_what_was_left_is_understood_by_itself_before_what_begins_with_silence(
    told: list[dict[str, Any]], wrong: list[str], *, recorded: bool
) -> None:
    """Once, and answered once or not at all; what is said then is understood as it is."""
    problems: list[str] = []
    world = SimpleNamespace(
        say=lambda _: None, broken=problems.append, counted_losses=lambda: 0, loop=SimpleNamespace(now=1.0)
    )
    client = SimpleNamespace(
        name="caller-0", acks=False, world=world, wrong=problems.append, hears=lambda _: None, moment=lambda _: None
    )
    answers = Answers(cast(Client, client))
    answers.left = "311465"
    answers.open = Question("16", True, 0.0, 0.0, limited_before=0 if recorded else -1)
    for event in told:
        answers.event(event)
    assert [problem.split(": None")[0].split(": turn")[0] for problem in problems] == wrong


@pytest.mark.parametrize(
    ("understood", "ordered", "late"),
    [
        (["34", "84"], True, True),
        (["3", "4"], True, True),
        (["84", "3"], False, True),
        (["84", "34"], False, True),
        (["448"], False, False),
        (["34", "48"], False, True),
        (["84", "8"], False, False),
        (["84", "5"], False, False),
    ],
)
def test_pieces_are_understood_once_and_in_order_unless_one_comes_late(
    understood: list[str], *, ordered: bool, late: bool
) -> None:
    assert are_parts(understood, "3484", in_order=True) == ordered
    assert are_parts(understood, "3484", in_order=False) == late
