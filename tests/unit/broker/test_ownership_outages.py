"""The broker is away and comes back, answers slowly, or refuses for good: what is asked, held up and given up."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import Ask, Fate, Listed, Replace, Subscribe
from litevoice_broker.lite.full_sync import Postponed
from litevoice_broker.lite.ownership import DOUBT_SECONDS, HEALS_AT_ONCE
from litevoice_broker.lite.topic import HEALS_IN_VAIN, HEALS_REFUSED, Heal, Look, Stage
from tests.unit.broker import driver
from tests.unit.broker.driver import ASK, ME, OWN, REMOVE, THEM, Broker, N, add

broker = driver.broker

AWAY = BrokerUnavailable("restarting")
REFUSED = BrokerError("SyncLiteSubscription: LITE_SUBSCRIPTION_QUOTA_EXCEEDED: 2000", code=40011)
ALL = Replace((N,), 1)


def test_what_came_a_moment_before_the_outage_is_fetched_again_however_long_it_was(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.links.lost(broker.now)
    broker.pass_time(12.0)
    broker.ownership.links.lost(broker.now)
    broker.listed, broker.own_names = (), ()
    broker.sync()
    assert broker.answer_all() == [OWN, ASK, ALL, ASK, REMOVE, add(3), REMOVE, add(4)]


def test_a_full_sync_that_may_have_come_before_the_outage_says_nothing(broker: Broker) -> None:
    broker.own(3)
    broker.sync()
    broker.take()
    broker.ownership.links.lost(broker.now)
    assert broker.answer_all() == [ALL], "on its way already"
    broker.sync()
    assert broker.answer_all()[:3] == [OWN, ALL, ASK]


def test_a_full_sync_after_the_outage_ends_it(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.links.lost(broker.now)
    broker.sync()
    broker.answer_all()
    broker.sync()
    assert broker.answer_all() == [ALL]


@pytest.mark.parametrize("noticed_by_a_poll", [True, False])
def test_who_came_after_the_outage_does_not_step_out_for_who_was_there_before(
    broker: Broker, *, noticed_by_a_poll: bool
) -> None:
    """The old owner's full sync was on its way, and has put it beside us; it asks, and goes."""
    if noticed_by_a_poll:
        broker.ownership.links.lost(broker.now)
    else:
        broker.sync()
        broker.answer(AWAY)
    broker.own(3)
    broker.calls.clear()
    broker.listed = (ME, THEM)
    broker.sync()
    assert broker.answer_all() == [ALL]
    assert broker.evicted == []


def test_who_came_before_the_outage_makes_way_for_who_is_beside_it(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.links.lost(broker.now)
    broker.sync()
    broker.answer()
    broker.answer()
    broker.listed = (ME, THEM)
    broker.answer_all()
    broker.listed = (THEM,)
    broker.pass_time(1.0)
    assert broker.evicted == [N]


def test_a_takeover_that_began_before_the_outage_is_asked_for(broker: Broker) -> None:
    broker.ownership.take_over(N, 3, broker.now)
    broker.take()
    broker.ownership.links.lost(broker.now)
    broker.answer_all()
    broker.listed = (THEM,)
    broker.sync()
    broker.answer_all()
    assert broker.evicted == [N]


def test_a_change_that_fails_is_an_outage_too(broker: Broker) -> None:
    """It came and went between two full syncs."""
    broker.own(3)
    broker.ownership.begin(["s-new"], broker.now)
    broker.answer(AWAY)
    broker.answer_all()
    broker.calls.clear()
    broker.listed = (THEM,)
    broker.sync()
    assert broker.answer_all()[:2] == [OWN, Ask((N, "s-new"))]
    assert N in broker.evicted


def test_the_questions_of_an_old_link_do_not_bring_it_back(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.links.lost(broker.now)
    broker.ownership.links.full_sync(1)
    broker.take()
    old = broker.open.pop(0)
    broker.ownership.links.linked(2)
    broker.answer_all()
    broker.ownership.answered(old.number, {}, broker.now)
    broker.answer_all()
    broker.ownership.links.full_sync(2)
    assert Replace((N,), 2) in broker.answer_all()


def test_a_full_sync_over_the_old_link_settles_nothing(broker: Broker) -> None:
    """The question whose it is would come before the full sync over the new link, which may put us back."""
    broker.own(3)
    broker.ownership.links.lost(broker.now)
    broker.ownership.links.full_sync(1)
    broker.ownership.links.linked(2)
    broker.answer()
    old = broker.open.pop()
    assert old.what == ALL
    broker.answer()
    broker.ownership.answered(old.number, None, broker.now)
    broker.take()
    assert [call.what for call in broker.open] == [Replace((N,), 2)], "not yet"
    broker.answer()
    assert [call.what for call in broker.open] == [ASK]


def heal_all(broker: Broker, names: list[str], error: BrokerError) -> None:
    """Each is asked for, and its first call fails."""
    broker.ownership.begin(names, broker.now)
    broker.answer_all()
    broker.ownership.heal(names, broker.now)
    broker.take()
    while broker.open:
        broker.answer(None if isinstance(broker.open[0].what, Ask) else error)


@pytest.mark.parametrize("error", [AWAY, REFUSED])
def test_heals_that_fail_do_not_hold_up_others(broker: Broker, error: BrokerError) -> None:
    heal_all(broker, [f"s-{number}" for number in range(HEALS_AT_ONCE)], error)
    broker.ownership.begin(["s-other"], broker.now)
    broker.answer_all()
    broker.ownership.heal(["s-other"], broker.now)
    assert Subscribe(("s-other",), 0) in broker.answer_all()


def test_a_heal_that_is_refused_for_good_is_given_up_and_told(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.heal([N], broker.now)
    tries = 0
    while not broker.failed:
        broker.take()
        while broker.open:
            asks = isinstance(broker.open[0].what, Ask)
            tries += not asks
            broker.answer(None if asks else REFUSED)
        if (at := broker.ownership.wake_at) is not None:
            broker.now = at
            broker.ownership.tick(at)
    assert tries == HEALS_REFUSED + 1, "and is left"
    assert broker.failed == [(N, REFUSED)]
    assert broker.ownership.get(N) is None
    assert broker.evicted == []


def test_a_position_that_never_comes_is_given_up_and_told(broker: Broker) -> None:
    """Its log was cut: what comes after it comes again with each heal."""
    broker.own(3)
    began = broker.now
    while not broker.failed:
        broker.offer(9)
        broker.answer_all()
        at = broker.ownership.wake_at
        assert at is not None
        broker.pass_time(at - broker.now)
    assert str(broker.failed[0][1]) == "position 4 does not come"
    assert broker.heals <= HEALS_IN_VAIN
    assert 30 < broker.now - began < 60
    broker.answer_all()
    assert broker.ownership.get(N) is None


def test_a_call_without_an_answer_does_not_hold_up_new_sessions(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.begin(["s-slow"], broker.now)
    broker.take()
    slow = broker.open.pop(0)
    sync = broker.ownership.links.full_sync(1)
    new = broker.ownership.begin(["s-new"], broker.now)
    broker.ownership.give_way(broker.now)
    broker.answer_all()
    assert new not in broker.finished, "the full sync comes first, for a moment"
    broker.ownership.give_way(broker.now)
    broker.answer_all()
    assert broker.finished[new] is None
    assert isinstance(broker.finished[sync], Postponed)
    again = broker.ownership.links.full_sync(1)
    broker.ownership.answered(slow.number, None, broker.now)
    broker.answer_all()
    assert broker.finished[again] is None


def test_who_stood_still_finds_out_what_was_taken_meanwhile_and_changes_nothing_else(broker: Broker) -> None:
    broker.own(3)
    request = broker.ownership.links.look_again()
    assert broker.answer_all() == [OWN]
    assert broker.finished[request] is None
    assert broker.offer(4) is Fate.DELIVER
    broker.listed = (THEM,)
    request = broker.ownership.links.look_again()
    assert broker.answer_all() == [OWN, ASK]
    assert broker.evicted == [N]
    assert broker.finished[request] is None
    assert broker.answer_all() == []
    request = broker.ownership.links.look_again()
    assert broker.answer_all() == []
    assert broker.finished[request] is None


def own_another(broker: Broker, *, synced: bool = True) -> None:
    broker.ownership.begin(["s-2"], broker.now)
    broker.answer_all()
    topic = broker.ownership.get("s-2")
    assert topic is not None
    topic.synced = synced


def test_what_was_claimed_since_the_last_full_sync_does_not_say_that_the_broker_remembers(broker: Broker) -> None:
    """It may have been restarted before that: who owned the other session alone was told that it was replaced."""
    broker.own(3)
    own_another(broker, synced=False)
    broker.listed, broker.own_names = (ME,), ["s-2"]
    broker.ownership.links.look_again()
    assert broker.answer() == OWN
    broker.listed = ()
    broker.answer_all()
    assert broker.evicted == []


@pytest.mark.parametrize(("own_names", "evicted"), [(["s-2"], [N]), ([], [])])
def test_what_was_taken_and_left_again_meanwhile_is_not_ours(
    broker: Broker, own_names: list[str], evicted: list[str]
) -> None:
    """The broker lists nobody: it has been restarted, unless it still lists us for what else is ours."""
    broker.own(3)
    broker.length = 4
    if own_names:
        own_another(broker)
    broker.listed, broker.own_names = (ME,), own_names
    request = broker.ownership.links.look_again()
    assert broker.answer() == OWN
    broker.listed = ()
    assert broker.answer_all() == [OWN, ASK]
    assert broker.finished[request] is None
    assert broker.evicted == evicted
    assert broker.ownership.links.unlisted() == ({} if evicted else {N: broker.length})


@pytest.mark.parametrize("yields", [False, True])
def test_what_nobody_was_listed_for_and_is_longer_than_known_is_claimed_again(broker: Broker, *, yields: bool) -> None:
    """Whoever has had it has acknowledged what we lack: a broker that lists us again hands out nothing of that. Who
    does not want it for a client any more stays in its place."""
    broker.own(3)
    if yields:
        broker.ownership.yield_to_others(N, broker.now)
    broker.own_names, broker.listed, broker.length = [], (), 6
    broker.ownership.links.look_again()
    broker.answer_all()
    assert broker.pass_time(0.5) == ([] if yields else [ASK, add(3), REMOVE, add(4)])
    assert [broker.offer(position) for position in (4, 5)] == [Fate.DELIVER] * 2
    assert broker.evicted == []


def test_nor_is_that_given_up_when_it_is_looked_again_meanwhile(broker: Broker) -> None:
    """The broker lists us for everything else by then: that says nothing of when it had forgotten us."""
    broker.own(3)
    own_another(broker)
    other = broker.ownership.get("s-2")
    assert other is not None
    other.order.restart(6)
    broker.own_names, broker.listed, broker.length = [], (), 6
    broker.ownership.links.look_again()
    broker.answer_all()
    broker.own_names, broker.listed = ["s-2"], (ME,)
    broker.sync()
    assert broker.answer_all() == [Replace(("s-2",), 1)]
    broker.ownership.links.look_again()
    broker.answer()
    broker.listed = ()
    broker.answer_all()
    assert broker.evicted == []
    assert broker.pass_time(0.5)[-1] == add(4)


def test_what_nobody_was_listed_for_is_told_once_also_after_another_look(broker: Broker) -> None:
    """The channel has looked before its full sync, which puts us back before the gateway asks (seed 19156 of the
    simulator: a broker's restart while the gateway stood still)."""
    broker.own(3)
    broker.own_names, broker.listed = [], ()
    broker.ownership.links.look_again()
    broker.answer_all()
    broker.own_names, broker.listed = [N], (ME,)
    broker.ownership.links.look_again()
    broker.answer_all()
    assert broker.ownership.links.unlisted() == {N: broker.length}
    assert broker.ownership.links.unlisted() == {}


def test_nor_is_that_in_doubt_which_is_taken_over_again(broker: Broker) -> None:
    broker.own(3)
    broker.own_names, broker.listed = [], ()
    broker.ownership.links.look_again()
    broker.answer_all()
    broker.own(3, message=False)
    assert broker.ownership.links.unlisted() == {}


def test_what_was_taken_and_left_again_is_not_ours_while_its_notice_is_looked_into(broker: Broker) -> None:
    """Else the look would end before, and what waits for it would be sent."""
    broker.own(3)
    own_another(broker)
    broker.notice()
    held = broker.open.pop()
    broker.own_names = ["s-2"]
    request = broker.ownership.links.look_again()
    assert broker.answer() == OWN
    broker.listed = ()
    broker.answer_all()
    assert broker.evicted == [N]
    assert broker.finished[request] is None
    broker.ownership.answered(held.number, {N: Listed(())}, broker.now)
    assert broker.answer_all() == []
    assert broker.evicted == [N]


def look_for_a_heal(broker: Broker, stage: Stage, listed: Collection[str]) -> None:
    """Until the question, which is answered with `listed`, has come to this stage; its next call is left open."""
    broker.own(3)
    own_another(broker)
    if len(listed) > 1:
        broker.sync()
        broker.answer_all()
    broker.listed = listed
    broker.ownership.heal([N], broker.now)
    broker.take()
    for _ in range({Stage.ASKED: 0, Stage.STEPPING_OUT: 1}.get(stage, 2)):
        broker.answer()
    if stage is Stage.ASKED_AGAIN:
        broker.now += DOUBT_SECONDS[0]
        broker.ownership.tick(broker.now)
        broker.take()
    topic = broker.ownership.get(N)
    assert topic is not None and isinstance(topic.work, Look) and topic.work.stage is stage


def look_again_and_find_nobody(broker: Broker, own_names: Collection[str]) -> None:
    """While what is open already has no answer yet."""
    slow, broker.open = broker.open, []
    broker.own_names = own_names
    request = broker.ownership.links.look_again()
    broker.listed = (ME,)
    assert broker.answer() == OWN
    broker.listed = ()
    broker.answer()
    assert broker.finished[request] is None
    broker.open = slow + broker.open


@pytest.mark.parametrize("stage", Stage)
def test_what_was_taken_and_left_again_is_not_ours_while_a_heal_asks_whose_it_is(broker: Broker, stage: Stage) -> None:
    """It has stepped out because nobody was listed, and that must not hide it (seed 17385 of the simulator)."""
    look_for_a_heal(broker, stage, ())
    look_again_and_find_nobody(broker, ["s-2"])
    assert broker.evicted == [N]
    calls = broker.answer_all() + broker.pass_time(1.0)
    assert not [call for call in calls if isinstance(call, Subscribe)]
    assert broker.ownership.get(N) is None and broker.ownership.idle


@pytest.mark.parametrize("stage", Stage)
def test_it_is_ours_when_the_broker_may_have_been_away(broker: Broker, stage: Stage) -> None:
    look_for_a_heal(broker, stage, ())
    look_again_and_find_nobody(broker, [])
    broker.answer_all()
    broker.pass_time(1.0)
    assert broker.evicted == []
    assert broker.offer(4) is Fate.DELIVER


@pytest.mark.parametrize("stage", [Stage.WAITING, Stage.ASKED_AGAIN])
def test_who_stepped_out_before_somebody_else_did_is_not_told_that_it_was_replaced(
    broker: Broker, stage: Stage
) -> None:
    """The broker had listed both: nobody is left when both have gone."""
    look_for_a_heal(broker, stage, (ME, THEM))
    look_again_and_find_nobody(broker, ["s-2"])
    broker.answer_all()
    broker.pass_time(1.0)
    assert broker.evicted == []
    assert broker.offer(4) is Fate.DELIVER


def test_what_steps_out_for_its_own_heal_is_not_taken_for_left_when_an_old_notice_comes(broker: Broker) -> None:
    """Its client is here, and would be told that it was replaced."""
    broker.own(3)
    broker.ownership.heal([N], broker.now)
    assert broker.answer() == ASK
    assert broker.answer() == REMOVE
    (held,) = broker.open
    broker.notice()
    broker.own_names = ["s-2"]
    request = broker.ownership.links.look_again()
    broker.take()
    broker.open.remove(held)
    assert broker.answer() == OWN
    broker.listed = ()
    assert broker.answer() == ASK
    assert broker.finished[request] is None
    assert broker.evicted == []
    broker.open.append(held)
    broker.listed = (ME,)
    broker.answer_all()
    broker.pass_time(1)
    assert broker.evicted == []
    assert broker.offer(4) is Fate.DELIVER


def test_a_broker_that_may_have_been_away_does_not_say_that_somebody_has_left(broker: Broker) -> None:
    broker.own(3)
    broker.length = 4
    broker.ownership.links.lost(broker.now)
    broker.own_names = ["s-2"]
    broker.ownership.links.look_again()
    assert broker.answer() == OWN
    broker.listed = ()
    assert broker.answer_all() == [OWN, ASK]
    assert broker.evicted == []


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_takeover_whose_client_has_left_goes_no_further(broker: Broker, steps: int) -> None:
    """Its last step would come after that of whoever the client has gone to."""
    request = broker.ownership.take_over(N, 5, broker.now)
    for _ in range(steps - 1):
        broker.answer()
    broker.take()
    begun = len(broker.calls)
    broker.ownership.yield_to_others(N, broker.now)
    assert broker.answer_all()[begun:] == [REMOVE], "what was begun is taken back"
    assert broker.finished[request] is None
    assert broker.ownership.get(N) is None
    assert broker.ownership.idle


def test_a_look_that_is_not_answered_ends(broker: Broker) -> None:
    broker.own(3)
    broker.listed = None
    request = broker.ownership.links.look_again()
    assert broker.answer_all() == [OWN, ASK]
    assert broker.finished[request] is None
    assert not broker.evicted


def test_what_nobody_waits_for_is_not_claimed_again_after_an_outage(broker: Broker) -> None:
    broker.own(3)
    broker.ownership.yield_to_others(N, broker.now)
    broker.ownership.heal([N], broker.now)
    broker.ownership.links.lost(broker.now)
    broker.ownership.links.linked(2)
    broker.ownership.links.settled(2, broker.now)
    calls = [*broker.answer_all(), *broker.pass_time(60)]
    assert not [call for call in calls if isinstance(call, Subscribe)]
    assert broker.offer(4) is Fate.DELIVER
    broker.ownership.take_over(N, 5, broker.now)
    assert add(5) in broker.answer_all()
    broker.ownership.heal([N], broker.now, Heal.CLAIM)
    assert add(5) in broker.answer_all(), "taken over anew"
