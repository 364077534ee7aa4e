"""What this process was in the middle of when it stood still: it takes nothing back from whoever has come meanwhile."""

from __future__ import annotations

import pytest

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.lite.changes import CALLS_AT_ONCE
from litevoice_broker.lite.commands import Fate, Replace, Subscribe
from litevoice_broker.lite.full_sync import Postponed
from litevoice_broker.lite.ownership import HEALS_AT_ONCE
from litevoice_broker.lite.topic import CLAIM_RETRY_SECONDS, Heal
from tests.unit.broker import driver
from tests.unit.broker.driver import ASK, ME, OWN, REMOVE, THEM, Broker, N, add

broker = driver.broker


def stand_still(broker: Broker) -> None:
    broker.now += 5.0
    broker.ownership.stood_still(broker.now)


@pytest.mark.parametrize("answered", [0, 1])
def test_a_takeover_that_was_overtaken_while_we_stood_still_takes_nothing_back(broker: Broker, answered: int) -> None:
    """Its first subscription had told everybody to leave: who is listed has come after it."""
    request = broker.ownership.take_over(N, 3, broker.now)
    for _ in range(answered):
        broker.answer()
    stand_still(broker)
    broker.listed = {THEM}
    assert ASK in (calls := broker.answer_all())
    assert add(3) not in calls
    assert (broker.evicted, broker.finished[request]) == ([N], None)
    assert broker.ownership.get(N) is None


@pytest.mark.parametrize("listed", [[], [ME]])
def test_a_takeover_begins_again_when_nobody_has_come_while_we_stood_still(broker: Broker, listed: list[str]) -> None:
    request = broker.ownership.take_over(N, 3, broker.now)
    broker.answer()
    stand_still(broker)
    broker.listed = listed
    calls = broker.answer_all() + broker.pass_time(1.0)
    assert calls[:3] == [add(2), REMOVE, ASK]
    assert calls[-3:] == [add(2), REMOVE, add(3)]
    assert (broker.evicted, broker.finished[request]) == ([], None)
    assert broker.offer(3) is Fate.DELIVER


def test_the_last_step_of_a_takeover_that_failed_while_we_stood_still_is_not_simply_tried_again(broker: Broker) -> None:
    broker.ownership.take_over(N, 3, broker.now)
    broker.answer()
    broker.answer()
    stand_still(broker)
    broker.listed = {THEM}
    broker.answer(BrokerUnavailable("no answer"))
    assert broker.pass_time(1.0) == [add(2), REMOVE, add(3), ASK]
    assert broker.evicted == [N]


@pytest.mark.parametrize("tries_again", [False, True])
def test_nor_is_one_tried_again_whose_last_step_had_failed_before(broker: Broker, *, tries_again: bool) -> None:
    """Everybody had been told to leave by then: who is listed has come later."""
    request = broker.ownership.take_over(N, 3, broker.now)
    broker.answer()
    broker.answer()
    broker.answer(BrokerUnavailable("no answer"))
    if tries_again:
        broker.now += CLAIM_RETRY_SECONDS
        broker.ownership.tick(broker.now)
        broker.take()
    stand_still(broker)
    broker.listed = {THEM}
    calls = broker.answer_all() + broker.pass_time(1.0)
    assert calls == [add(2), REMOVE, add(3), *[REMOVE] * tries_again, ASK]
    assert (broker.evicted, broker.finished[request]) == ([N], None)


def test_a_takeover_that_had_hardly_begun_when_we_stood_still_goes_on(broker: Broker) -> None:
    """Nobody knows whether who is listed was there before it."""
    broker.own(3)
    broker.ownership.take_over(N, 3, broker.now)
    stand_still(broker)
    broker.listed = {THEM}
    assert broker.answer() == REMOVE
    assert broker.open[0].what == add(2)
    broker.answer(BrokerUnavailable("no answer"))
    assert ASK not in broker.pass_time(1.0)
    assert broker.evicted == []


def test_nor_does_one_go_on_that_had_begun_again_since_the_last_time(broker: Broker) -> None:
    """Everybody had been told to leave before, and nobody had come by then."""
    request = broker.ownership.take_over(N, 3, broker.now)
    broker.take()
    stand_still(broker)
    assert [broker.answer(), broker.answer()] == [add(2), ASK]
    stand_still(broker)
    broker.listed = {THEM}
    assert broker.answer_all() == [add(2), ASK, REMOVE, ASK]
    assert (broker.evicted, broker.finished[request]) == ([N], None)


def claim_what_is_ours(broker: Broker, *, resumes: bool) -> None:
    """Ours are the positions up to 3: a heal, or a client that reads on, for which something was withheld."""
    broker.own(3)
    if resumes:
        broker.ownership.pause_delivery(N)
        broker.offer(4)
        broker.ownership.resume_delivery(N, broker.now)
    else:
        broker.ownership.heal([N], broker.now, Heal.CLAIM)
    broker.take()


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("answered", [0, 1, 2])
@pytest.mark.parametrize("fails", [False, True])
def test_what_was_ours_is_not_claimed_again_when_it_was_taken_while_we_stood_still(
    broker: Broker, answered: int, *, resumes: bool, fails: bool
) -> None:
    """Also before its first subscription: whoever is listed has come after us (seed 3506 of the simulator)."""
    claim_what_is_ours(broker, resumes=resumes)
    for step in (REMOVE, add(3))[:answered]:
        assert broker.answer() == step
    stand_still(broker)
    broker.listed = {THEM}
    broker.answer(BrokerUnavailable("no answer") if fails else None)
    calls = broker.answer_all() + broker.pass_time(1.0)
    assert calls == [*[REMOVE, add(3), REMOVE][: answered + 1], ASK]
    assert broker.evicted == [N]


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("answered", [0, 1, 2])
def test_it_is_claimed_when_nobody_has_come(broker: Broker, answered: int, *, resumes: bool) -> None:
    claim_what_is_ours(broker, resumes=resumes)
    for _ in range(answered):
        broker.answer()
    stand_still(broker)
    broker.listed = [ME] if answered == 1 else []
    calls = broker.answer_all() + broker.pass_time(1.0)
    assert calls[-3:] == [add(3), REMOVE, add(4)]
    assert broker.evicted == []
    assert broker.offer(4) is Fate.DELIVER


def test_a_heals_answer_from_before_we_stood_still_says_nothing_of_who_has_come_since(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.heal([N], broker.now)
    broker.take()
    stand_still(broker)
    assert broker.answer() == ASK, "the broker had listed us"
    broker.listed = {THEM}
    assert broker.answer_all() == [ASK, ASK]
    assert broker.evicted == [N]


def test_nor_does_the_answer_from_before_that_nobody_is_there(broker: Broker) -> None:
    """Of whoever has stepped out in a doubt."""
    broker.own(3)
    broker.listed = ()
    broker.ownership.heal([N], broker.now)
    assert broker.answer_all() == [ASK, REMOVE]
    broker.now += 0.5
    broker.ownership.tick(broker.now)
    broker.take()
    stand_still(broker)
    assert broker.answer() == ASK
    broker.listed = {THEM}
    assert broker.answer_all() == [ASK, ASK]
    assert broker.evicted == [N]


def test_nor_the_answers_about_a_new_link(broker: Broker) -> None:
    """What had come a moment before the last one broke is claimed at once else. We leave it as well, because the full
    sync may have put us back."""
    broker.own(3)
    broker.ownership.links.linked(2)
    broker.answer_all()
    broker.ownership.links.settled(2, broker.now)
    broker.take()
    stand_still(broker)
    assert broker.answer() == ASK
    broker.listed = {THEM}
    assert broker.answer_all() == [ASK, ASK, REMOVE]
    assert broker.evicted == [N]


def test_nor_the_answer_after_which_a_takeover_would_begin_again(broker: Broker) -> None:
    request = broker.ownership.take_over(N, 3, broker.now)
    broker.answer()
    stand_still(broker)
    assert broker.answer() == REMOVE
    stand_still(broker)
    assert broker.answer() == ASK, "the broker had listed us"
    broker.listed = {THEM}
    assert broker.answer_all() == [add(2), REMOVE, ASK, ASK]
    assert (broker.evicted, broker.finished[request]) == ([N], None)


def test_a_resumption_that_waited_for_its_next_try_asks_first(broker: Broker) -> None:
    claim_what_is_ours(broker, resumes=True)
    broker.answer(BrokerUnavailable("no answer"))
    stand_still(broker)
    broker.listed = {THEM}
    assert broker.answer_all() + broker.pass_time(1.0) == [REMOVE, ASK]
    assert broker.evicted == [N]


def test_a_heal_that_waits_for_others_asks_anew(broker: Broker) -> None:
    names = [f"other-{number}" for number in range(HEALS_AT_ONCE)]
    broker.ownership.begin([*names, N], broker.now)
    broker.answer_all()
    broker.ownership.heal([*names, N], broker.now, Heal.CLAIM)
    broker.take()
    stand_still(broker)
    broker.listed = {THEM}
    calls = broker.answer_all()
    assert not [call for call in calls if isinstance(call, Subscribe)]
    assert sorted(broker.evicted) == sorted([*names, N])


def test_so_does_one_that_waits_for_the_last_step_of_a_takeover(broker: Broker) -> None:
    broker.ownership.take_over(N, 3, broker.now)
    assert [broker.answer(), broker.answer()] == [add(2), REMOVE]
    broker.ownership.heal([N], broker.now, Heal.CLAIM)
    stand_still(broker)
    broker.listed = {THEM}
    assert broker.answer_all() == [add(2), REMOVE, add(3), ASK]
    assert broker.evicted == [N]


@pytest.mark.parametrize(("answered", "held_up"), [(1, 3), (3, 4)])
def test_a_call_that_had_not_been_made_is_not_made(broker: Broker, answered: int, held_up: int) -> None:
    """It was to share the next one of its step, for which others had to end first."""
    broker.own(3)
    for number in range(CALLS_AT_ONCE):
        broker.ownership.take_over(f"other-{number}", held_up + 1, broker.now)
        broker.take()
    others, broker.open = broker.open, []
    broker.ownership.heal([N], broker.now, Heal.CLAIM)
    for _ in range(answered):
        broker.answer()
    assert not broker.open
    broker.open = others
    stand_still(broker)
    broker.listed = {THEM}
    assert add(held_up) not in broker.answer_all()
    assert N in broker.evicted


def test_a_takeovers_call_that_had_not_been_made_is_made_when_nobody_was_told_to_leave(broker: Broker) -> None:
    names = [f"other-{number}" for number in range(CALLS_AT_ONCE)]
    for name in names:
        broker.ownership.take_over(name, 4, broker.now)
        broker.take()
    request = broker.ownership.take_over(N, 4, broker.now)
    broker.take()
    assert len(broker.open) == CALLS_AT_ONCE
    stand_still(broker)
    assert add(3) in broker.answer_all()
    broker.pass_time(1.0)
    assert broker.finished[request] is None and broker.ownership.get(N) is not None


def test_a_resumption_that_is_told_of_somebody_else_asks_whose_it_is(broker: Broker) -> None:
    claim_what_is_ours(broker, resumes=True)
    broker.answer()
    broker.notice()
    broker.listed = {THEM}
    assert broker.answer_all() == [REMOVE, add(3), ASK]
    assert broker.evicted == [N]


def test_what_is_new_is_nobody_elses_however_long_we_stood_still(broker: Broker) -> None:
    broker.ownership.begin([N], broker.now)
    broker.answer()
    stand_still(broker)
    broker.listed = []
    assert broker.answer_all() == [REMOVE, add(0)]


@pytest.mark.parametrize("first_is_on_its_way", [False, True])
def test_a_full_sync_that_waited_when_we_stood_still_does_not_run_before_we_have_looked(
    broker: Broker, *, first_is_on_its_way: bool
) -> None:
    """It would put us back beside whoever has come meanwhile."""
    broker.own(3)
    if first_is_on_its_way:
        broker.sync()
    broker.ownership.begin(["s-new"], broker.now)
    broker.take()
    waits = broker.ownership.links.full_sync(1)
    broker.take()
    stand_still(broker)
    assert Replace((N, "s-new"), 1) not in broker.answer_all()
    assert isinstance(broker.finished[waits], Postponed)
    broker.listed = {THEM}
    broker.ownership.links.look_again()
    broker.answer_all()
    assert N in broker.evicted


def test_nor_does_that_of_a_new_link_about_which_we_had_asked(broker: Broker) -> None:
    broker.own(3)
    waits = broker.ownership.links.linked(2)
    broker.take()
    stand_still(broker)
    assert broker.answer_all()[-1] == OWN
    assert isinstance(broker.finished[waits], Postponed)
    broker.ownership.links.linked(2)
    assert broker.answer_all() == [OWN, Replace((N,), 2)]
