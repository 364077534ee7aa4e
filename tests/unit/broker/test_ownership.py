"""Who owns a LiteTopic: what each input leads to, and stories that need several."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import Ask, Fate, Listed, Replace, Subscribe, Unsubscribe, What
from litevoice_broker.lite.ownership import HEALS_AT_ONCE
from litevoice_broker.lite.topic import ASK_AGAIN_SECONDS, CLAIM_ATTEMPTS, FIRST_SECONDS, QUESTIONS
from tests.unit.broker import driver
from tests.unit.broker.driver import ASK, ME, OWN, REMOVE, THEM, Broker, N, add

broker = driver.broker


# Claims


@pytest.mark.parametrize(
    ("position", "first"),
    [
        pytest.param(0, [add(1), REMOVE, add(0)], id="the broker ignores a reset to where it is"),
        pytest.param(7, [add(6), REMOVE, add(7)], id="in the middle of the log"),
    ],
)
def test_a_takeover_is_two_subscriptions(broker: Broker, position: int, first: list[What]) -> None:
    request = broker.ownership.take_over(N, position, broker.now)
    assert broker.answer_all() == first
    assert broker.finished[request] is None
    broker.ownership.take_over(N, position, broker.now)
    assert broker.answer_all() == [REMOVE, *first], "subscribed already: its own notice would look like an eviction"


def test_a_takeover_waits_for_what_its_first_step_hands_out(broker: Broker) -> None:
    """No other poll can be under way then, which would block the LiteTopic again behind the last step."""
    broker.hands_out = False
    request = broker.ownership.take_over(N, 8, broker.now)
    assert broker.answer_all() == [add(7)]
    assert broker.offer(6) is Fate.ACKNOWLEDGE
    assert broker.answer_all() == [], "what was handed out before"
    assert broker.offer(7) is Fate.ACKNOWLEDGE
    assert broker.answer_all() == [REMOVE, add(8)]
    assert broker.finished[request] is None
    assert broker.offer(8) is Fate.DELIVER


def test_a_takeover_whose_first_step_has_handed_out_before_its_answer_waits_for_nothing(broker: Broker) -> None:
    broker.hands_out = False
    broker.ownership.take_over(N, 8, broker.now)
    broker.take()
    assert broker.offer(7) is Fate.ACKNOWLEDGE
    assert broker.answer_all() == [add(7), REMOVE, add(8)]


def test_a_takeover_waits_for_a_moment_only(broker: Broker) -> None:
    """The log may be empty or cut."""
    broker.hands_out = False
    request = broker.ownership.take_over(N, 8, broker.now)
    assert broker.answer_all() == [add(7)]
    assert broker.pass_time(FIRST_SECONDS) == [REMOVE, add(8)]
    assert broker.finished[request] is None
    assert broker.offer(7) is Fate.ACKNOWLEDGE


def test_who_is_given_up_while_it_waits_takes_no_further_step(broker: Broker) -> None:
    broker.hands_out = False
    broker.ownership.take_over(N, 8, broker.now)
    assert broker.answer_all() == [add(7)]
    broker.ownership.release(N, broker.now)
    assert broker.pass_time(FIRST_SECONDS) == [REMOVE]


def test_new_litetopics_share_their_calls(broker: Broker) -> None:
    request = broker.ownership.begin(["a", "b"], broker.now)
    assert broker.answer_all() == [Unsubscribe(("a", "b")), Subscribe(("a", "b"), 0)]
    assert broker.finished[request] is None
    again = broker.ownership.begin(["a"], broker.now)
    assert broker.answer_all() == []
    assert broker.finished[again] is None


def test_new_to_two_users_at_once(broker: Broker) -> None:
    requests = [broker.ownership.begin(["a"], broker.now) for _ in range(2)]
    broker.take()
    assert not broker.finished.keys() & set(requests), "it is not known yet"
    error = BrokerError("quota")
    broker.answer(error)
    assert [broker.finished[request] for request in requests] == [error, error]


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        pytest.param(BrokerUnavailable("restarting"), CLAIM_ATTEMPTS, id="may succeed later"),
        pytest.param(BrokerError("no such group"), 1, id="will never succeed"),
    ],
)
def test_a_takeover_that_fails(broker: Broker, error: BrokerError, attempts: int) -> None:
    request = broker.ownership.take_over(N, 3, broker.now)
    for number in range(attempts):
        assert isinstance(broker.answer(error), Subscribe if number == 0 else Unsubscribe)
        if number < attempts - 1:
            broker.now = broker.ownership.wake_at or 0.0
            broker.ownership.tick(broker.now)
    assert broker.finished[request] is error
    assert broker.ownership.get(N) is None
    assert broker.answer_all()[-1] == REMOVE, "the broker may have taken a part of it"


def test_none_of_several_new_ones_is_owned_when_one_fails(broker: Broker) -> None:
    request = broker.ownership.begin(["a", "b"], broker.now)
    error = BrokerError("quota")
    broker.answer()
    broker.answer(error)
    assert broker.finished == {**broker.finished, request: error}
    assert len(broker.ownership) == 0


def test_the_last_wish_counts(broker: Broker) -> None:
    first = broker.ownership.take_over(N, 3, broker.now)
    broker.answer()
    second = broker.ownership.take_over(N, 9, broker.now)
    assert broker.answer_all() == [add(2), REMOVE, REMOVE, add(8), REMOVE, add(9)]
    assert (broker.finished[first], broker.finished[second]) == (None, None)
    released = broker.ownership.release(N, broker.now)
    assert released is not None
    assert broker.answer_all() == [REMOVE]
    assert broker.finished[released] is None
    assert broker.ownership.release(N, broker.now) is None


def test_released_in_the_middle_of_a_takeover(broker: Broker) -> None:
    taking = broker.ownership.take_over(N, 3, broker.now)
    broker.answer()
    released = broker.ownership.release(N, broker.now)
    broker.take()
    assert broker.finished[taking] is None
    assert released is not None
    assert released not in broker.finished
    assert broker.answer_all() == [add(2), REMOVE, REMOVE]
    assert broker.finished[released] is None
    assert broker.offer(3) is Fate.HAND_BACK


# Messages


def test_strictly_by_position(broker: Broker) -> None:
    broker.own(3)
    assert [broker.offer(position) for position in (3, 5, 4, 5)] == [
        Fate.ACKNOWLEDGE,
        Fate.WAIT,
        Fate.DELIVER,
        Fate.DELIVER,
    ]
    assert broker.ownership.message("other", 0, broker.now) is Fate.HAND_BACK


def test_a_gap_is_claimed_again_after_a_moment(broker: Broker) -> None:
    broker.own(3)
    assert broker.offer(5) is Fate.WAIT
    assert broker.pass_time(0.1) == []
    assert broker.pass_time(0.2) == [ASK, REMOVE, add(3), REMOVE, add(4)]
    assert broker.heals == 1


def test_a_takeover_that_brought_nothing_yet_is_not_repeated_while_more_waits_than_comes(broker: Broker) -> None:
    broker.own(3, message=False)
    for _ in range(20):
        broker.ownership.busy(broker.now)
        assert broker.pass_time(0.5) == []
    assert ASK in broker.pass_time(1.1)


def test_a_takeover_that_brought_nothing_is_repeated_twice(broker: Broker) -> None:
    broker.own(3, message=False)
    again = [ASK, REMOVE, add(2), REMOVE, add(3)]
    assert broker.pass_time(0.9) == []
    assert broker.pass_time(0.2) == again
    assert broker.pass_time(3) == again
    assert broker.pass_time(60) == []


def test_a_takeover_that_brought_nothing_is_not_repeated_when_there_is_nothing(broker: Broker) -> None:
    """A heal unsubscribes between its steps: a takeover that comes meanwhile would be undone by the last one."""
    broker.length = 3
    broker.own(3, message=False)
    assert broker.pass_time(1.1) == [ASK]
    broker.length = 4  # and its wake-up was lost
    assert broker.pass_time(3) == [ASK, REMOVE, add(2), REMOVE, add(3)]
    assert broker.pass_time(60) == []


def test_what_is_known_to_be_lost_is_claimed_again_even_if_the_log_has_no_more(broker: Broker) -> None:
    """What was not acknowledged blocks what comes next."""
    broker.length = 3
    broker.own(3, message=False)
    broker.now += 1.0
    broker.ownership.tick(broker.now)
    broker.ownership.heal([N], broker.now)
    assert broker.answer_all() == [ASK, REMOVE, add(2), REMOVE, add(3)]


@pytest.mark.parametrize(
    ("listed", "calls"),
    [
        pytest.param({ME, THEM}, [ASK, REMOVE, add(2), REMOVE, add(3)], id="beside somebody"),
        pytest.param(set(), [ASK, REMOVE, ASK, add(2), REMOVE, add(3)], id="forgotten by the broker"),
    ],
)
def test_who_is_not_listed_alone_takes_over_again_whatever_waits(
    broker: Broker, listed: Collection[str], calls: list[What]
) -> None:
    broker.length = 3
    broker.own(3, message=False)
    broker.listed = listed
    assert broker.pass_time(1.3) == calls
    assert broker.evicted == []


def test_paused_and_resumed(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.pause_delivery(N)
    assert broker.ownership.resume_delivery(N, broker.now) is None, "nothing came"
    broker.ownership.pause_delivery(N)
    assert broker.offer(4) is Fate.KEEP
    request = broker.ownership.resume_delivery(N, broker.now)
    assert request is not None
    assert broker.answer_all() == [REMOVE, add(3), REMOVE, add(4)]
    assert broker.finished[request] is None
    assert broker.offer(4) is Fate.DELIVER


def test_paused_again_when_it_cannot_be_resumed(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.pause_delivery(N)
    broker.offer(4)
    request = broker.ownership.resume_delivery(N, broker.now)
    assert request is not None
    broker.answer(BrokerError("refused"))
    assert str(broker.finished[request]) == "refused"
    assert broker.offer(4) is Fate.KEEP


# Doubts


@pytest.mark.parametrize(
    ("synced", "listed", "again", "ours", "calls"),
    [
        pytest.param(False, {ME}, None, True, [ASK], id="the notice is older than our takeover"),
        pytest.param(False, {THEM}, None, False, [ASK], id="somebody else has it"),
        pytest.param(False, set(), None, False, [ASK], id="somebody is in the middle of a takeover"),
        pytest.param(False, None, None, False, [ASK], id="nobody answers: the notice is believed"),
        pytest.param(False, {ME, THEM}, None, True, [ASK], id="a full sync of theirs put them back"),
        pytest.param(True, {ME, THEM}, {THEM}, False, [ASK, REMOVE, ASK], id="a full sync of ours put us back"),
        pytest.param(True, {ME, THEM}, None, False, [ASK, REMOVE, ASK], id="put back, and then no answer"),
        pytest.param(
            True, {ME}, set(), True, [ASK, REMOVE, ASK, add(3), REMOVE, add(4)], id="put back alone: claimed again"
        ),
        pytest.param(True, {ME}, {THEM}, False, [ASK, REMOVE, ASK], id="put back, and taken meanwhile"),
    ],
)
def test_a_notice(
    broker: Broker,
    synced: bool,
    listed: Collection[str] | None,
    again: Collection[str] | None,
    ours: bool,
    calls: list[What],
) -> None:
    broker.own(3)
    if synced:
        broker.sync()
        broker.answer_all()
    broker.notice()
    assert broker.offer(4) is Fate.HAND_BACK, "it may be somebody else's"
    broker.listed = listed
    seen = broker.answer_all()
    broker.listed = again
    seen += broker.pass_time(0.5)
    assert seen == calls
    assert broker.evicted == ([] if ours else [N])
    assert broker.intercepted == ([N] if REMOVE in calls and not ours else []), "while it was listed beside them"
    assert broker.offer(4) is (Fate.DELIVER if ours else Fate.HAND_BACK)


def test_a_notice_during_a_takeover_belongs_to_what_it_overrides(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.take_over(N, 4, broker.now)
    for _ in range(3):
        broker.notice()
        broker.answer()
    broker.calls.clear()
    broker.notice()  # the last subscription is on its way: from now on it can be a real one
    broker.listed = {THEM}
    assert broker.answer_all() == [ASK]
    assert broker.evicted == [N]


def test_taken_again_while_the_broker_is_asked(broker: Broker) -> None:
    broker.own(3)
    broker.notice()
    broker.ownership.take_over(N, 4, broker.now)
    broker.listed = {THEM}
    assert broker.answer_all() == [ASK, REMOVE, add(3), REMOVE, add(4)]
    assert broker.evicted == []


@pytest.mark.parametrize(
    ("listed", "calls", "ours"),
    [
        pytest.param({ME}, [ASK, REMOVE, add(3), REMOVE, add(4)], True, id="ours"),
        pytest.param({THEM}, [ASK], False, id="a newer owner whose notice is late"),
        pytest.param(None, [ASK, REMOVE, add(3), REMOVE, add(4)], True, id="nobody answers: not believed"),
    ],
)
def test_a_heal_takes_nothing_from_a_newer_owner(
    broker: Broker, listed: Collection[str] | None, calls: list[What], ours: bool
) -> None:
    broker.own(3)
    broker.listed = listed
    broker.ownership.heal([N], broker.now)
    assert broker.answer_all() == calls
    assert broker.evicted == ([] if ours else [N])


def test_a_heal_that_fails_asks_again_and_waits_longer(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.heal([N], broker.now)
    waits = []
    for _ in range(3):
        broker.answer()
        broker.answer(BrokerUnavailable("restarting"))
        at = broker.ownership.wake_at
        while at is not None and not broker.open:
            waits.append(round(at - broker.now, 1))
            broker.now = at
            broker.ownership.tick(at)
            broker.take()
            at = broker.ownership.wake_at
    assert sum(waits) == pytest.approx(0.4 + 0.8 + 1.6, abs=0.1)
    assert broker.ownership.get(N) is not None


def test_heals_are_bounded(broker: Broker) -> None:
    names = [f"s-{number}" for number in range(HEALS_AT_ONCE + 5)]
    broker.ownership.begin(names, broker.now)
    broker.answer_all()
    broker.ownership.heal(names, broker.now)
    broker.take()
    assert len(broker.open) == HEALS_AT_ONCE
    healed = broker.answer_all()
    assert {name for what in healed if isinstance(what, Ask) for name in what.names} == set(names)


# Full syncs


def test_a_full_sync_waits_for_a_takeover_and_holds_up_the_next(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.take_over("b", 0, broker.now)
    broker.sync()
    broker.ownership.take_over("c", 0, broker.now)
    assert broker.answer_all() == [
        Subscribe(("b",), 1),
        Unsubscribe(("b",)),
        Subscribe(("b",), 0),
        Replace((N, "b"), 1),
        Subscribe(("c",), 1),
        Unsubscribe(("c",)),
        Subscribe(("c",), 0),
    ]


def test_what_is_lost_during_a_full_sync_is_taken_out_again(broker: Broker) -> None:
    broker.own(3)
    broker.notice()
    broker.sync()
    broker.listed = {THEM}
    broker.answer()  # who has it, while the full sync that names it is on its way
    assert broker.evicted == [N]
    assert broker.answer_all() == [ASK, Replace((N,), 1), REMOVE]
    broker.sync()
    assert broker.answer_all() == [Replace((), 1)]


def test_evicted_after_a_full_sync_that_came_later_than_the_answer(broker: Broker) -> None:
    broker.own(3)
    broker.notice()
    asked = broker.open.pop(0)
    broker.sync()
    broker.answer_all()  # it has put us back beside the new owner, who would step out for it
    broker.ownership.answered(asked.number, {N: Listed([THEM])}, broker.now)
    assert broker.answer_all() == [REMOVE]
    assert broker.evicted == [N]


@pytest.mark.parametrize(
    ("listed", "calls", "ours"),
    [
        pytest.param({THEM}, [OWN, ASK, Replace((), 1)], False, id="taken while the broker knew nobody"),
        pytest.param(set(), [OWN, ASK, Replace((N,), 1), ASK, REMOVE, add(3), REMOVE, add(4)], True, id="ours"),
        pytest.param({ME}, [OWN, Replace((N,), 1), ASK, REMOVE, add(3), REMOVE, add(4)], True, id="it knew us"),
    ],
)
def test_a_full_sync_that_failed_counts_as_a_lost_link(
    broker: Broker, listed: Collection[str], calls: list[What], ours: bool
) -> None:
    broker.own(3)
    broker.sync()
    broker.answer(BrokerUnavailable("restarting"))
    broker.answer_all()
    broker.listed = listed
    broker.sync()
    assert broker.answer_all() == calls
    assert broker.evicted == ([] if ours else [N])
    broker.sync()
    assert broker.answer_all() == [Replace((N,) if ours else (), 1)], "once"


def test_a_full_sync_that_fails(broker: Broker) -> None:
    request = broker.ownership.links.full_sync(1)
    error = BrokerUnavailable("restarting")
    broker.answer(error)
    assert broker.finished[request] is error
    following = broker.ownership.links.full_sync(1)
    broker.answer_all()
    assert broker.finished[following] is None


# Links


@pytest.mark.parametrize(
    ("listed", "after", "ours"),
    [
        pytest.param({ME}, [REMOVE, add(3), REMOVE, add(4)], True, id="ours: what came a moment ago is fetched again"),
        pytest.param({THEM}, [], False, id="taken while there was no link"),
        pytest.param(set(), [REMOVE, add(3), REMOVE, add(4)], True, id="expired or restarted"),
    ],
)
def test_a_new_link(broker: Broker, listed: Collection[str], after: list[What], ours: bool) -> None:
    broker.own(3)
    broker.listed = listed
    linked = broker.ownership.links.linked(2)
    ignored = broker.ownership.links.full_sync(2)
    asked = [OWN] if listed == {ME} else [OWN, ASK]
    assert broker.answer_all() == [*asked, Replace((N,) if ours else (), 2)]
    assert (broker.finished[linked], broker.finished[ignored]) == (None, None)
    settled = broker.ownership.links.settled(2, broker.now)
    assert broker.answer_all() == ([ASK, *after] if ours else [])
    assert broker.finished[settled] is None
    assert broker.evicted == ([] if ours else [N])


@pytest.mark.parametrize("heard", [True, False])
def test_after_a_new_link_silence_is_asked_again_before_anything_is_claimed(broker: Broker, heard: bool) -> None:
    """Gateways that were cut off with their node took sessions from those who had them since."""
    broker.own(3)
    broker.listed = None
    broker.ownership.links.linked(2)
    assert broker.answer_all() == [OWN, ASK, Replace((N,), 2)]
    broker.ownership.links.settled(2, broker.now)
    assert broker.answer_all() == [ASK, ASK], "about all that is recent, then about this one"
    for _ in range(QUESTIONS - 2):
        assert broker.pass_time(ASK_AGAIN_SECONDS) == [ASK]
    if heard:
        broker.listed = {THEM}
    assert broker.pass_time(ASK_AGAIN_SECONDS) == [ASK, REMOVE, *(() if heard else (add(3), REMOVE, add(4)))]
    assert broker.evicted == ([N] if heard else [])


def test_beside_somebody_after_the_full_sync_over_a_new_link(broker: Broker) -> None:
    broker.own(3)
    broker.now += 60  # nothing came for long
    broker.ownership.links.linked(2)
    broker.answer_all()
    broker.ownership.links.settled(2, broker.now)
    broker.listed = {ME, THEM}
    assert broker.answer_all() == [ASK, ASK, REMOVE], "who has it is decided when we have stepped out"
    broker.listed = {THEM}
    assert broker.pass_time(0.5) == [ASK]
    assert broker.evicted == [N]
