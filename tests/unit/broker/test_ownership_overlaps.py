"""Who owns a LiteTopic when one thing begins before the last has ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from litevoice_broker.lite.commands import Ask, Fate, Replace
from tests.unit.broker import test_ownership as cases
from tests.unit.broker.test_ownership import ASK, ME, REMOVE, THEM, Broker, N, add

broker = cases.broker


# What the user changes its mind about


def test_a_cancelled_takeover_is_undone(broker: Broker) -> None:
    request = broker.ownership.take_over(N, 3, broker.now)
    broker.answer()
    broker.ownership.cancel(request, broker.now)
    assert broker.ownership.get(N) is None
    assert broker.answer_all() == [add(2), REMOVE, REMOVE]
    assert broker.finished[request] is None
    assert broker.offer(3) is Fate.HAND_BACK


def test_a_cancelled_resume_pauses_again(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.pause_delivery(N)
    broker.offer(4)
    request = broker.ownership.resume_delivery(N, broker.now)
    assert request is not None
    broker.ownership.cancel(request, broker.now)
    broker.answer_all()
    assert broker.offer(4) is Fate.KEEP
    again = broker.ownership.resume_delivery(N, broker.now)
    assert again is not None
    assert broker.answer_all() == [REMOVE, add(3), REMOVE, add(4)]
    assert broker.finished[again] is None
    assert broker.offer(4) is Fate.DELIVER


def test_leaving_cannot_be_cancelled(broker: Broker) -> None:
    broker.own(3)
    request = broker.ownership.release(N, broker.now)
    assert request is not None
    broker.ownership.cancel(request, broker.now)
    assert request not in broker.finished
    assert broker.answer_all() == [REMOVE]
    assert broker.finished[request] is None


def test_taken_over_while_leaving(broker: Broker) -> None:
    broker.own(3)
    released = broker.ownership.release(N, broker.now)
    assert released is not None
    broker.ownership.take_over(N, 4, broker.now)
    broker.take()
    assert broker.finished[released] is None, "left, and then taken again: nothing is to be waited for"
    assert broker.answer_all() == [REMOVE, add(3), REMOVE, add(4)]


def test_an_alarm_from_before_leaving_does_not_forget_the_next_takeover(broker: Broker) -> None:
    broker.own(3, message=False)
    broker.ownership.release(N, broker.now)
    broker.answer_all()
    broker.ownership.take_over(N, 9, broker.now)
    broker.answer_all()
    assert broker.offer(9) is Fate.DELIVER
    assert broker.pass_time(60) == []
    assert broker.offer(10) is Fate.DELIVER


def test_pausing_twice_is_pausing_once(broker: Broker) -> None:
    broker.own(3)
    assert broker.ownership.resume_delivery(N, broker.now) is None, "not paused"
    broker.ownership.pause_delivery(N)
    assert broker.offer(4) is Fate.KEEP
    broker.ownership.pause_delivery(N)
    assert broker.ownership.resume_delivery(N, broker.now) is not None, "what came is still to be fetched"


def test_what_is_not_owned_is_neither_paused_nor_healed(broker: Broker) -> None:
    broker.ownership.pause_delivery("other")
    assert broker.ownership.resume_delivery("other", broker.now) is None
    broker.ownership.heal(["other"], broker.now)
    assert broker.answer_all() == []
    assert len(broker.ownership) == 0


# Gaps


def test_a_second_message_does_not_prolong_the_wait_for_the_first(broker: Broker) -> None:
    broker.own(3)
    assert broker.offer(5) is Fate.WAIT
    assert broker.pass_time(0.15) == []
    assert broker.offer(6) is Fate.WAIT
    assert broker.pass_time(0.1)[0] == ASK


def test_a_gap_that_closes_by_itself_is_not_healed(broker: Broker) -> None:
    broker.own(3)
    assert [broker.offer(position) for position in (5, 4, 5)] == [Fate.WAIT, Fate.DELIVER, Fate.DELIVER]
    assert broker.pass_time(60) == [], "nor is the takeover repeated: it has brought something"
    assert broker.heals == 0


# Doubts


def stepping_out(broker: Broker) -> None:
    """The broker lists us beside somebody, after a full sync of ours."""
    broker.own(3)
    broker.sync()
    broker.answer_all()
    broker.listed = {ME, THEM}
    broker.notice()


def test_a_takeover_does_not_wait_for_the_end_of_a_doubt(broker: Broker) -> None:
    stepping_out(broker)
    assert broker.answer_all() == [ASK, REMOVE]
    broker.ownership.take_over(N, 4, broker.now)
    assert broker.answer_all() == [add(3), REMOVE, add(4)]
    broker.pass_time(1)
    assert broker.offer(4) is Fate.DELIVER
    assert broker.evicted == []


def test_a_full_sync_holds_up_stepping_out(broker: Broker) -> None:
    stepping_out(broker)
    broker.sync()
    assert broker.answer() == ASK
    assert broker.answer_all() == [ASK, Replace((N,), 1), REMOVE]
    broker.listed = {THEM}
    assert broker.pass_time(1) == [ASK]
    assert broker.evicted == [N]


def test_a_takeover_overrides_stepping_out_that_is_held_up(broker: Broker) -> None:
    stepping_out(broker)
    broker.sync()
    assert broker.answer() == ASK
    request = broker.ownership.take_over(N, 4, broker.now)
    broker.listed = {ME}
    assert broker.answer_all() == [ASK, Replace((N,), 1), add(3), REMOVE, add(4)]
    assert broker.finished[request] is None
    assert broker.offer(4) is Fate.DELIVER
    assert broker.evicted == []


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda broker: broker.ownership.release(N, broker.now), id="left"),
        pytest.param(lambda broker: broker.ownership.take_over(N, 4, broker.now), id="taken over again"),
    ],
)
def test_a_new_links_question_says_nothing_of_what_changed_since(
    broker: Broker, meanwhile: Callable[[Broker], object]
) -> None:
    broker.own(3)
    broker.ownership.linked(2)
    meanwhile(broker)
    broker.listed = {THEM}
    assert Ask((N,)) in broker.answer_all()
    assert broker.evicted == []


# Full syncs


def test_full_syncs_that_wait_are_one(broker: Broker) -> None:
    broker.ownership.take_over(N, 3, broker.now)
    waiting = [broker.ownership.full_sync(1), broker.ownership.full_sync(1)]
    assert broker.answer_all() == [add(2), REMOVE, add(3), Replace((N,), 1)]
    assert [broker.finished[request] for request in waiting] == [None, None]


def test_full_syncs_wanted_during_one_are_one_more(broker: Broker) -> None:
    first = broker.ownership.full_sync(1)
    broker.take()
    later = [broker.ownership.full_sync(1), broker.ownership.full_sync(1)]
    broker.answer()
    assert broker.finished[first] is None
    assert not set(later) & set(broker.finished), "they tell what is owned after they were asked for"
    assert broker.answer_all() == [Replace((), 1), Replace((), 1)]
    assert [broker.finished[request] for request in later] == [None, None]
