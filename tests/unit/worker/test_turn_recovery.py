"""Workers die, gateways move, packets are lost or come twice, in the middle of a turn: the client notices nothing."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litevoice_contracts import events, packets
from litevoice_contracts.envelopes import DownEnvelope, MessageId, MessageIds, UpEnvelope
from litevoice_worker import commands
from litevoice_worker.outlet import Outlet
from tests.unit.worker.scenarios import (
    SCENARIOS,
    TWO_QUESTIONS,
    audio_of,
    conversation,
    expected,
    finished,
    plain,
    same_order_of_each_kind,
)
from tests.unit.worker.world import tone


@pytest.mark.parametrize("scenario", SCENARIOS)
@settings(max_examples=40, deadline=None)
@given(deaths=st.lists(st.tuples(st.floats(0.05, 16), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=2))
def test_workers_may_die_at_any_moment_and_the_client_notices_nothing(
    scenario: str, deaths: list[tuple[float, int, int]]
) -> None:
    """What was un-acknowledged comes again, and so does what was sent twice."""
    world = SCENARIOS[scenario]()
    for time, redelivered, sent_twice in deaths:
        world.at(time, partial(world.kill, redelivered=redelivered, sent_twice=sent_twice))
    world.run(45)
    got, want = world.transcript(), expected(scenario)
    if scenario == "two questions":
        assert got == want
    assert same_order_of_each_kind(got) == same_order_of_each_kind(want)
    assert audio_of(got) == audio_of(want)


@pytest.mark.parametrize("scenario", SCENARIOS)
@settings(max_examples=15, deadline=None)
@given(times=st.lists(st.floats(0.05, 16), min_size=1, max_size=3))
def test_a_question_for_no_reason_doubles_nothing(scenario: str, times: list[float]) -> None:
    world = SCENARIOS[scenario]()
    for time in times:
        world.at(time, world.ask)
    world.run(45)
    got, want = world.transcript(), expected(scenario)
    assert same_order_of_each_kind(got) == same_order_of_each_kind(want)
    assert audio_of(got) == audio_of(want)


@pytest.mark.parametrize("scenario", ["two questions", "out of band", "functions"])
@settings(max_examples=15, deadline=None)
@given(moves=st.lists(st.tuples(st.floats(0.05, 16), st.booleans()), min_size=1, max_size=3))
def test_the_session_may_move_to_another_gateway_at_any_moment(scenario: str, moves: list[tuple[float, bool]]) -> None:
    world = SCENARIOS[scenario]()
    for time, farewell in moves:
        world.at(time, lambda farewell=farewell: world.move(farewell=farewell))  # type: ignore[misc]
    world.run(45)
    got, want = world.transcript(), expected(scenario)
    if scenario == "two questions":
        assert got == want
    assert same_order_of_each_kind(got) == same_order_of_each_kind(want)
    assert audio_of(got) == audio_of(want)
    assert (world.replays, world.rejections) == (0, 0)


def test_the_former_gateway_is_told_that_it_is_one() -> None:
    world = plain()
    world.run(3)
    former = world.uplink
    world.move(farewell=True)
    world.run(4)
    world.uplink, current = former, world.uplink
    world.send(packets.Audio(tone(0)))
    world.send(packets.Audio(tone(0)))
    world.uplink = current
    world.run(30)
    assert world.rejections == 1, "once is enough"
    assert world.transcript() == expected("two questions")


def test_packets_that_got_lost_are_asked_for() -> None:
    world = plain()
    world.at(1.55, lambda: setattr(world, "up", False))
    world.at(1.95, lambda: setattr(world, "up", True))
    world.run(30)
    assert world.replays == 1
    assert world.transcript() == expected("two questions")


def test_a_death_in_the_middle_of_an_answer_continues_to_the_byte() -> None:
    whole = conversation([(1.2, 4), (70.0, 0)])
    whole.run(90)
    for death in (2.3, 6.05, 20.0, 33.333):
        world = conversation([(1.2, 4), (70.0, 0)])
        world.at(death, world.kill)
        world.run(95)
        assert world.transcript() == whole.transcript()
        assert world.prompts[-1].said, "only the rest is asked for"


@pytest.mark.parametrize("death", [3.0, 3.2, 3.9, 4.4])
def test_a_gateway_that_dies_before_it_has_answered_a_worker_is_followed_by_one_that_does(death: float) -> None:
    """While an answer is spoken: the question is in the log, and so is how far the answer was."""
    world = plain()
    world.owner_dies_when_asked = True
    world.at(death, world.kill)
    world.run(45)
    assert not world.owner_dies_when_asked
    assert world.replays == 1
    assert world.transcript() == expected("two questions")


def test_leaving_in_good_order_asks_for_what_is_open() -> None:
    world = conversation(TWO_QUESTIONS)

    def leave() -> None:
        world.do(world.machine.abandon(world.now))
        world.run(world.now - 1000 + 0.01)
        world.kill()

    world.at(3.5, leave)
    world.run(30)
    assert world.transcript() == expected("two questions")


def test_leaving_with_nothing_open_says_nothing() -> None:
    world = conversation([(3.0, 0)])
    world.run(2.95)
    before = len(world.log)
    world.up = False
    world.do(world.machine.abandon(world.now))
    world.run(2.99)
    assert len(world.log) == before


def test_packets_that_come_twice_are_counted_and_applied_once() -> None:
    world = conversation(TWO_QUESTIONS)
    again: list[int] = []

    def deliver_again() -> None:
        for offset, (_, envelope) in list(enumerate(world._partition))[-3:]:
            again.append(len(envelope.packets))
            world._deliver(offset)

    world.at(1.55, deliver_again)
    world.run(30)
    assert world.counts["litevoice_worker_packets_duplicate_total"] == sum(again) > 0
    assert world.transcript() == expected("two questions")


def test_a_worker_that_is_asked_tells_how_far_it_is_and_computes_nothing() -> None:
    """Its news, or the wake-up of its last message, got lost."""
    world = conversation([(1.0, 0), (1.2, 1), (8.0, 0)])
    world.run(8.98)
    assert finished(world)
    asked = UpEnvelope("s_test", world.uplink.epoch, world.uplink.next_seq, world.folded.turn, [])
    (told,) = (c for c in world.machine.receive(asked, world.now) if not isinstance(c, commands.Count))
    assert isinstance(told, commands.Tell)
    assert told.after is not None
    assert told.after == world.log[-1].id
    assert len(world.prompts) == 1


def test_a_finished_turn_whose_end_is_late_is_not_computed_again() -> None:
    """The end of the answer is at the broker and its wake-up got lost; meanwhile the worker dies, and another one asks.
    Its question stands behind the end: whoever reads one has read the other."""
    world = conversation([(1.0, 0), (1.2, 1), (4.0, 0)])
    late: list[DownEnvelope] = []
    deliver = world._published

    def hold_up(envelope: DownEnvelope) -> None:
        if late or any(isinstance(event, events.ResponseFinished) for event in envelope.events):
            late.append(envelope)
        else:
            deliver(envelope)
        if any(isinstance(event, events.TurnReplay) for event in envelope.events):  # any later message wakes the topic
            for held in late:
                deliver(held)
            late.clear()

    world._published = hold_up  # type: ignore[method-assign]
    world.at(5.5, world.kill)
    world.run(12)
    assert world.replays == 1
    assert len(world.prompts) == 1
    assert [response.status for response in finished(world)] == ["completed"]


def test_a_worker_that_has_asked_begins_nothing_before_the_answer() -> None:
    """What it said would not count, and its models would be asked twice."""
    world = conversation([(1.0, 0), (1.2, 4), (8.0, 0)])
    world.run(4.0)
    assert world.machine._dialogue.responses.in_band is not None
    missing = UpEnvelope("s_test", world.uplink.epoch, world.uplink.next_seq + 5, world.folded.turn, [])
    asked = world.machine.receive(missing, world.now)
    while not any(isinstance(command, commands.Publish) for command in asked):  # one is in flight
        asked = world.machine.handle((commands.Published(),), world.now)
    assert [event for c in asked if isinstance(c, commands.Publish) for event in c.envelope.events] == [
        events.TurnReplay("gap", world.machine._order.applied)
    ]
    assert world.machine.handle((commands.Published(),), world.now + 10) == []
    left = world.machine.wake_at, world.machine.at_work
    assert left == (None, False), "nor does it say that what it has not heard is settled"


def test_what_is_told_as_settled_waits_for_every_message_before_it() -> None:
    outlet = Outlet(MessageIds(3))
    seen = [outlet.last]
    outlet.publish(1, 1, [events.InputCleared()], 0)
    outlet.send_next()
    outlet.publish(1, 1, [events.SessionUpdated()], 0)
    seen.append(outlet.last)  # the first is in flight, the second waits for it
    outlet.keep_only(lambda envelope: False)
    seen.append(outlet.last)  # the session begins anew, from a snapshot of the owner's
    assert seen == [None, MessageId(3, 2), None]
