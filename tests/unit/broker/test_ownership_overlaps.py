"""Who owns a LiteTopic when one thing begins before the last has ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.lite.changes import CALLS_AT_ONCE
from litevoice_broker.lite.commands import Ask, Fate, Replace, Subscribe, Unsubscribe
from litevoice_broker.lite.full_sync import ASKED_AT_ONCE, ASKED_PER_SECOND, SETTLED_PER_SECOND
from litevoice_broker.lite.topic import Heal
from tests.unit.broker import driver
from tests.unit.broker.driver import ASK, ME, OWN, REMOVE, THEM, Broker, N, add

broker = driver.broker


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


def notice_in_a_heal(broker: Broker, steps: int) -> None:
    """So many of its steps are done when it is told of somebody else."""
    broker.own(3)
    broker.ownership.heal([N], broker.now, Heal.CLAIM)
    broker.take()
    for _ in range(steps - 1):
        broker.answer()
    broker.notice()
    broker.answer()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_heal_does_not_take_back_what_is_taken_over_meanwhile(broker: Broker, steps: int) -> None:
    notice_in_a_heal(broker, steps)
    broker.listed = (THEM,)
    assert broker.answer_all()[-1] == ASK
    assert broker.evicted == [N]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_heal_that_was_broken_off_for_nobody_is_made_up_for(broker: Broker, steps: int) -> None:
    notice_in_a_heal(broker, steps)
    broker.listed = (ME,) if steps == 2 else ()
    calls = [*broker.answer_all(), *broker.pass_time(1.0)]
    assert [add(3), REMOVE, add(4)] in [calls[first : first + 3] for first in range(len(calls))]
    assert not broker.evicted
    assert broker.offer(4) is Fate.DELIVER


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
    broker.ownership.links.linked(2)
    meanwhile(broker)
    broker.listed = {THEM}
    assert Ask((N,)) in broker.answer_all()
    assert broker.evicted == []


# Full syncs


def test_full_syncs_that_wait_are_one(broker: Broker) -> None:
    broker.ownership.take_over(N, 3, broker.now)
    waiting = [broker.ownership.links.full_sync(1), broker.ownership.links.full_sync(1)]
    assert broker.answer_all() == [add(2), REMOVE, add(3), Replace((N,), 1)]
    assert [broker.finished[request] for request in waiting] == [None, None]


def test_full_syncs_wanted_during_one_are_one_more(broker: Broker) -> None:
    first = broker.ownership.links.full_sync(1)
    broker.take()
    later = [broker.ownership.links.full_sync(1), broker.ownership.links.full_sync(1)]
    broker.answer()
    assert broker.finished[first] is None
    assert not set(later) & set(broker.finished), "they tell what is owned after they were asked for"
    assert broker.answer_all() == [Replace((), 1), Replace((), 1)]
    assert [broker.finished[request] for request in later] == [None, None]


# Many at once


def test_takeovers_at_once_share_their_calls(broker: Broker) -> None:
    requests = [broker.ownership.take_over(name, 3, broker.now) for name in "abc"]
    assert broker.answer_all() == [
        Subscribe(("a", "b", "c"), 2),
        Unsubscribe(("a", "b", "c")),
        Subscribe(("a", "b", "c"), 3),
    ]
    assert [broker.finished[request] for request in requests] == [None] * 3


def test_what_comes_while_calls_are_under_way_shares_the_next(broker: Broker) -> None:
    names = [f"s-{number}" for number in range(CALLS_AT_ONCE + 100)]
    for name in names:
        broker.ownership.take_over(name, 3, broker.now)
        broker.take()
    assert len(broker.open) == CALLS_AT_ONCE
    calls = broker.answer_all()
    first = [call.names for call in calls if isinstance(call, Subscribe) and call.offset == 2]
    assert [len(shared) for shared in first] == [1] * CALLS_AT_ONCE + [100]
    assert sum(isinstance(call, Unsubscribe) for call in calls) == len(first)
    second = [call.names for call in calls if isinstance(call, Subscribe) and call.offset == 3]
    assert sorted(name for shared in second for name in shared) == sorted(names)
    assert set(broker.finished.values()) == {None} and len(broker.ownership) == len(names)


def test_a_shared_call_that_fails_is_tried_again_for_all(broker: Broker) -> None:
    requests = [broker.ownership.take_over(name, 3, broker.now) for name in "ab"]
    broker.answer(BrokerUnavailable("no answer"))
    assert not broker.open and not set(requests) & set(broker.finished)
    broker.pass_time(1.0)
    assert [broker.finished[request] for request in requests] == [None, None]


# Reconnects


def reconnect(broker: Broker, names: list[str], listed: list[str]) -> tuple[list[Ask], list[Ask]]:
    """What is asked for one by one after a link was lost that owned `names`, of which the broker still lists us for
    `listed`: before the first full sync over the new one, and after it."""
    broker.ownership.begin(names, broker.now)
    broker.answer_all()
    broker.now += 60
    broker.own_names = listed
    broker.ownership.links.linked(2)
    own, *before, full_sync = broker.answer_all()
    assert (own, full_sync) == (OWN, Replace(tuple(names), 2))
    broker.ownership.links.settled(2, broker.now)
    return [call for call in before if isinstance(call, Ask)], [
        call for call in broker.answer_all() if isinstance(call, Ask)
    ]


@pytest.mark.parametrize("forgotten", [0, 30, 1000])
def test_questions_after_a_reconnect_are_few_and_spread(broker: Broker, forgotten: int) -> None:
    names = [f"s-{number:04}" for number in range(1000)]
    before, after = reconnect(broker, names, names[forgotten:])
    assert [name for call in before for name in call.names] == names[:forgotten], "one call has told the others"
    assert [name for call in after for name in call.names] == names, "once each"
    assert all(len(call.names) <= ASKED_AT_ONCE for call in (*before, *after))


def test_questions_that_can_wait_are_asked_at_a_jittered_rate(broker: Broker) -> None:
    asked: list[tuple[float, float]] = []

    def pause(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    broker.ownership.links._pause = pause
    names = [f"s-{number:04}" for number in range(1000)]
    before, after = reconnect(broker, names, [])
    assert sum(call.pause for call in before) / 2 == pytest.approx(1000 / ASKED_PER_SECOND)
    assert sum(call.pause for call in after) / 2 == pytest.approx(1000 / SETTLED_PER_SECOND)
    assert {low for low, _ in asked} == {0.0}, "the first of two gateways is as likely the one as the other"


def test_what_came_a_moment_before_the_link_broke_is_asked_for_at_once(broker: Broker) -> None:
    broker.own(3)
    names = [f"s-{number:04}" for number in range(200)]
    broker.ownership.begin(names, broker.now)
    broker.answer_all()
    broker.ownership.links.linked(2)
    broker.answer_all()
    broker.ownership.links.settled(2, broker.now)
    first, *_ = broker.answer_all()
    assert first == Ask((N,), 0.0)


def test_nobody_is_asked_any_more_when_nobody_answers(broker: Broker) -> None:
    broker.listed = None
    before, after = reconnect(broker, [f"s-{number:04}" for number in range(1000)], [])
    assert (len(before), len(after)) == (1, 1)


def reconnected(broker: Broker) -> list[str]:
    """A thousand LiteTopics over the second link, before its questions are over."""
    names = [f"s-{number:04}" for number in range(1000)]
    broker.ownership.begin(names, broker.now)
    broker.answer_all()
    broker.now += 60
    broker.own_names = names
    broker.ownership.links.linked(2)
    broker.answer_all()
    return names


def test_a_second_reconnect_ends_the_questions_of_the_first(broker: Broker) -> None:
    names = reconnected(broker)
    settled = broker.ownership.links.settled(2, broker.now)
    broker.answer()
    broker.ownership.links.linked(3)
    broker.answer_all()
    assert broker.finished[settled] is None
    broker.ownership.links.settled(3, broker.now)
    assert [name for call in broker.answer_all() if isinstance(call, Ask) for name in call.names] == names


def test_full_syncs_go_on_beside_the_questions_of_a_reconnect(broker: Broker) -> None:
    reconnected(broker)
    broker.ownership.links.settled(2, broker.now)
    broker.sync()
    assert [type(call) for call in broker.answer_all()].count(Ask) == 1000 / ASKED_AT_ONCE
