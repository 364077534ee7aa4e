"""Which partitions a worker takes, keeps and leaves, look by look. Several of them: test_claims_together.py."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from litevoice_contracts.names import ClientId, Names
from litevoice_worker.claims import (
    GONE_SECONDS,
    HANDOVER_SECONDS,
    LOOK_SECONDS,
    SETTLE_SECONDS,
    STILL_SECONDS,
    TIE_SECONDS,
    Action,
    Claims,
    Drop,
    Leave,
    Take,
)
from litevoice_worker.partitions import ranking
from tests.unit.worker.fences import SYNC_SECONDS

A, B = "worker-a", "worker-b"
ME = ClientId(A, "10.0.0.1", "worker-fence", "1")
EARLIER_ME = ClientId(A, "10.0.0.1", "worker-fence", "0")
OTHER = ClientId(B, "10.0.0.2", "worker-fence", "1")
STRANGER = ClientId("worker-z", "10.0.0.3", "worker-fence", "1")
MINE = next(p for p in range(100) if ranking(p, (A, B))[0] == A)
"""First in the ranking: A's."""
NOT_MINE = next(p for p in range(100) if ranking(p, (A, B))[0] == B)
PARTITIONS = max(MINE, NOT_MINE) + 1
BOTH_THERE = {Names.presence(A): {ME}, Names.presence(B): {OTHER}}


class One:
    """Claims of A, whose other fences are always B's."""

    def __init__(self, members: tuple[str, ...] = (A, B)) -> None:
        self.now = 1000.0
        self.members = members
        self.claims = Claims(ME, PARTITIONS, self.now)

    def look(self, listed: Mapping[str, set[ClientId]] | None, seconds: float = LOOK_SECONDS) -> list[Action]:
        """Some time later."""
        self.now += seconds
        names = self.claims.questions(self.members, self.now)
        answer = None if listed is None else {name: frozenset(listed.get(name, ())) for name in names}
        return [a for a in self.claims.decide(answer, self.now, self.now) if a.partition in (MINE, NOT_MINE)]

    def looks(self, listed: Mapping[str, set[ClientId]] | None, seconds: float) -> list[Action]:
        """For so long, at most until something is done."""
        until = self.now + seconds
        while self.now < until:
            if actions := self.look(listed):
                return actions
        return []

    def hold(self, partition: int) -> None:
        self.claims.taken(partition, self.now)


def fences(mine: set[ClientId], not_mine: set[ClientId]) -> dict[str, set[ClientId]]:
    return {**BOTH_THERE, Names.fence(MINE): mine, Names.fence(NOT_MINE): not_mine}


@pytest.mark.parametrize(
    ("why", "listed", "want"),
    [
        ("nobody holds what is due", fences(set(), {OTHER}), [Take(MINE)]),
        ("somebody still holds what is due", fences({OTHER}, {OTHER}), []),
        ("an earlier process of the same name holds it: newest wins", fences({EARLIER_ME}, {OTHER}), [Take(MINE)]),
        ("what is not due is free", fences({OTHER}, set()), []),
        ("we are not listed, so nothing missing counts", {Names.fence(NOT_MINE): {OTHER}}, []),
        ("another process has our name", fences(set(), {OTHER}) | {Names.presence(A): {EARLIER_ME}}, []),
    ],
)
def test_a_first_look(why: str, listed: dict[str, set[ClientId]], want: list[Action]) -> None:
    assert One().look(listed) == want, why


@pytest.mark.parametrize(
    ("why", "holds", "listed", "want"),
    [
        ("all is well", {MINE}, fences({ME}, {OTHER}), []),
        ("the broker has forgotten us: the next full sync tells it", {MINE}, fences(set(), {OTHER}), []),
        ("somebody else alone is listed", {MINE}, fences({OTHER}, {OTHER}), [Drop(MINE)]),
        ("the same, while the broker forgets us", {MINE}, {Names.fence(MINE): {OTHER}}, [Drop(MINE)]),
        ("both are listed, and we rank higher", {MINE}, fences({ME, OTHER}, {OTHER}), []),
        ("both are listed, and the other is no member", {MINE}, fences({ME, STRANGER}, {OTHER}), []),
        (
            "both are listed, and the other ranks higher",
            {MINE, NOT_MINE},
            fences({ME}, {ME, OTHER}),
            [Leave(NOT_MINE)],
        ),
        ("its own worker is there", {MINE, NOT_MINE}, fences({ME}, {ME}), [Leave(NOT_MINE)]),
        (
            "its own worker is not there",
            {MINE, NOT_MINE},
            fences({ME}, {ME}) | {Names.presence(B): set()},
            [],
        ),
        (
            "another process has taken our name",
            {MINE},
            fences({ME}, {OTHER}) | {Names.presence(A): {EARLIER_ME}},
            [Drop(MINE)],
        ),
    ],
)
def test_what_is_held(why: str, holds: set[int], listed: dict[str, set[ClientId]], want: list[Action]) -> None:
    one = One()
    for partition in holds:
        one.hold(partition)
    assert one.looks(listed, TIE_SECONDS + 2) == want, why


def test_two_that_are_listed_for_a_moment_are_a_takeover() -> None:
    """While the worker that ranks highest is not there, the other two may both hold its partition."""
    members = (A, B, "worker-c")
    partition = next(p for p in range(1000) if ranking(p, members) == ["worker-c", B, A])
    claims = Claims(ME, partition + 1, 0.0)
    claims.taken(partition, 0.0)
    now = 0.0

    def looks(holders: set[ClientId], seconds: float) -> list[Action]:
        nonlocal now
        until = now + seconds
        while now < until:
            now += LOOK_SECONDS
            names = claims.questions(members, now)
            listed = {**BOTH_THERE, Names.fence(partition): holders}
            actions = claims.decide({name: frozenset(listed.get(name, ())) for name in names}, now, now)
            if found := [action for action in actions if action.partition == partition]:
                return found
        return []

    assert looks({ME, OTHER}, TIE_SECONDS) == []
    assert looks({ME}, 1.0) == []
    assert looks({ME, OTHER}, TIE_SECONDS) == []
    assert looks({ME, OTHER}, 0.5) == [Leave(partition)], "the lower rank"


def test_a_member_that_was_seen_and_is_missing_is_gone() -> None:
    one = One()
    one.hold(MINE)
    assert one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1) == []
    without = {Names.presence(A): {ME}, Names.fence(MINE): {ME}}
    started = one.now
    assert one.looks(without, 10) == [Take(NOT_MINE)]
    assert GONE_SECONDS <= one.now - started < GONE_SECONDS + 3 * LOOK_SECONDS


def test_a_member_that_is_missing_for_a_moment_is_not_gone() -> None:
    one = One()
    one.hold(MINE)
    there, missing = fences({ME}, {OTHER}), {Names.presence(A): {ME}, Names.fence(MINE): {ME}}
    one.looks(there, SETTLE_SECONDS + 1)
    for _ in range(20):
        assert one.looks(missing, GONE_SECONDS - LOOK_SECONDS) == []
        assert one.look(there) == []


@pytest.mark.parametrize(
    ("why", "disturbance"),
    [("the broker did not answer", None), ("the broker did not list us", {Names.fence(MINE): {ME}})],
)
def test_nobody_is_gone_until_the_broker_has_answered_for_two_sync_periods(
    why: str, disturbance: dict[str, set[ClientId]] | None
) -> None:
    one = One()
    one.hold(MINE)
    assert one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1) == []
    assert one.look(disturbance) == []
    without = {Names.presence(A): {ME}, Names.fence(MINE): {ME}}
    assert one.looks(without, SETTLE_SECONDS - LOOK_SECONDS) == []
    assert not one.claims.gone
    assert one.looks(without, 1.0) == [Take(NOT_MINE)], why


def test_but_one_that_was_seen_since_is_gone_at_once() -> None:
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), 1.0)
    one.look(None)
    one.looks(fences({ME}, {OTHER}), 1.0)
    started = one.now
    without = {Names.presence(A): {ME}, Names.fence(MINE): {ME}}
    one.looks(without, GONE_SECONDS + 2 * LOOK_SECONDS)
    assert one.claims.gone == {B}
    assert one.now - started < 1.5


def test_after_a_disturbance_a_free_fence_says_nothing_either() -> None:
    one = One()
    assert one.look(fences({OTHER}, {OTHER})) == []
    assert one.look(None) == []
    started = one.now
    assert one.looks(fences(set(), {OTHER}), 20) == [Take(MINE)]
    assert one.now - started >= 2 * SYNC_SECONDS


def test_but_one_that_was_seen_held_since_has_been_released() -> None:
    one = One()
    assert one.look(fences({OTHER}, {OTHER})) == []
    assert one.look(None) == []
    assert one.look(fences({OTHER}, {OTHER})) == []
    assert one.look(fences(set(), {OTHER})) == [Take(MINE)]


def test_nor_is_what_a_member_had_that_is_none_any_more_waited_for() -> None:
    """With a broker that took its time to answer, each of its partitions stood still for two sync periods."""
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    one.members = (A,)
    assert one.look(fences({ME}, {OTHER})) == []
    assert one.look(None) == []
    assert one.look(fences({ME}, {OTHER})) == [], "it still holds it"
    assert one.look(None) == []
    assert one.look(fences({ME}, set())) == [Take(NOT_MINE)]


def test_but_what_a_member_has_that_came_back_is() -> None:
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    one.members = (A,)
    assert one.look(None) == []
    one.members = (A, B)
    assert one.look(None) == []
    without = {Names.presence(A): {ME}, Names.fence(MINE): {ME}}
    assert one.looks(without, SETTLE_SECONDS - LOOK_SECONDS) == []


@pytest.mark.parametrize("told_first", [True, False])
def test_a_thawed_worker_that_is_a_member_again_takes_what_its_owner_hands_over(told_first: bool) -> None:
    """It saw who had it when it was not due yet. Without that it waited for two sync periods, without an owner."""
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    one.now += 10
    one.members = (B,)
    one.claims.pulse(one.now)
    if told_first:
        one.claims.lost(MINE, one.now)
    assert one.look(fences({OTHER}, {OTHER}), 0.01) == ([] if told_first else [Drop(MINE)])
    one.claims.lost(MINE, one.now)
    one.claims.ended(MINE, one.now)
    assert one.looks(fences({OTHER}, {OTHER}), 2.0) == []
    one.members = (A, B)
    assert one.looks(fences(set(), {OTHER}), 0.3) == [Take(MINE)]


def test_what_was_held_before_a_disturbance_may_be_forgotten_and_is_waited_for() -> None:
    one = One(members=(B,))
    assert one.look(None) == []
    one.now += 10
    one.claims.pulse(one.now)
    assert one.look(fences({OTHER}, {OTHER}), 0.01) == []
    assert one.look(None) == []
    one.members = (A, B)
    assert one.looks(fences(set(), {OTHER}), SETTLE_SECONDS - 1) == []


def test_an_owner_that_does_not_leave_loses_its_partition_in_the_end() -> None:
    one = One()
    started = one.now
    assert one.looks(fences({STRANGER}, {OTHER}), 20) == [Take(MINE)]
    assert one.now - started >= HANDOVER_SECONDS


def test_an_empty_list_of_members_changes_nothing() -> None:
    one = One()
    one.hold(MINE)
    one.look(fences({ME}, {OTHER}))
    one.members = ()
    assert one.looks(fences({ME}, {OTHER}), 10) == []
    assert one.looks(fences({ME}, {OTHER}) | {Names.presence(B): set()}, 10) == [Take(NOT_MINE)], "and deaths count"


def test_a_look_from_before_a_change_says_nothing_about_it() -> None:
    one = One()
    names = one.claims.questions(one.members, one.now)
    one.claims.taken(MINE, one.now + 0.01)
    listed = {name: frozenset(fences({OTHER}, {OTHER}).get(name, ())) for name in names}
    assert one.claims.decide(listed, one.now, one.now + 0.02) == []


def test_an_answer_that_comes_late_counts_as_none() -> None:
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    asked_at = one.now
    for _ in range(10):
        one.now += LOOK_SECONDS
        one.claims.pulse(one.now)
    names = one.claims.questions(one.members, one.now)
    assert one.claims.decide({name: frozenset({OTHER}) for name in names}, asked_at, one.now) == []


def test_a_process_that_stood_still_believes_nothing_that_it_knew() -> None:
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    asked_at, names = one.now, one.claims.questions(one.members, one.now)
    one.now += 10
    assert one.claims.doubtful(one.now), "before its first timer"
    one.claims.pulse(one.now)
    assert one.claims.doubtful(one.now)
    old = {name: frozenset(fences({ME}, set()).get(name, ())) for name in names}
    assert one.claims.decide(old, asked_at, one.now) == [], "asked before"
    assert one.claims.doubtful(one.now)
    assert one.look(fences({ME, OTHER}, set()), 0.01) == [Drop(MINE)], "taken meanwhile, and put back by a full sync"
    assert not one.claims.doubtful(one.now)


def test_a_broker_that_has_forgotten_who_thaws_has_forgotten_who_took_its_partitions() -> None:
    """It was restarted meanwhile (seed 17283)."""
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    one.now += 10
    one.claims.pulse(one.now)
    assert one.look({name: set[ClientId]() for name in BOTH_THERE}, 0.01) == []
    assert one.claims.doubtful(one.now)
    assert one.look(fences({OTHER}, {OTHER}), 1) == [Drop(MINE)]
    assert not one.claims.doubtful(one.now)


@pytest.mark.parametrize("forgotten", [False, True])
def test_what_was_taken_by_somebody_who_is_gone_when_it_thaws_is_not_its_own(*, forgotten: bool) -> None:
    """Nobody is listed then: its turns have gone on elsewhere (seed 71315). Unless the broker has forgotten all."""
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    one.now += 10
    one.claims.pulse(one.now)
    presence = {Names.presence(A): set[ClientId]() if forgotten else {ME}}
    assert one.look(fences(set(), {OTHER}) | presence, 0.01) == ([] if forgotten else [Drop(MINE)])


@pytest.mark.parametrize(
    ("who", "holders", "want"),
    [
        ("somebody else has it by now", {OTHER}, [Drop(NOT_MINE)]),
        ("and a full sync has put us back", {ME, OTHER}, [Drop(NOT_MINE)]),
        ("still nobody but us", {ME}, []),
        ("nobody, since we have released it", set(), []),
    ],
)
def test_a_process_that_stood_still_while_it_handed_over(who: str, holders: set[ClientId], want: list[Action]) -> None:
    one = One()
    one.hold(MINE)
    one.hold(NOT_MINE)
    assert one.looks(fences({ME}, {ME}), 2) == [Leave(NOT_MINE)]
    assert one.look(fences({ME}, {OTHER})) == [], "as planned"
    one.now += 10
    one.claims.pulse(one.now)
    assert one.look(fences({ME}, holders), 0.01) == want, who
    for _ in want:
        one.claims.ended(NOT_MINE, one.now)
    one.members = (A,)
    assert one.looks(fences({ME}, set()) | {Names.presence(B): set()}, 5) == [], "the other one is under way"
    one.claims.ended(NOT_MINE, one.now)
    assert one.looks(fences({ME}, set()) | {Names.presence(B): set()}, SETTLE_SECONDS + 1) == [Take(NOT_MINE)]


def test_a_process_that_stood_still_while_it_took_one_does_not_take_it_from_the_next_owner() -> None:
    one = One()
    assert one.looks(fences(set(), {OTHER}), 2) == [Take(MINE)]
    one.now += 10
    one.claims.pulse(one.now)
    assert one.look(fences({OTHER}, {OTHER}), 0.01) == [Drop(MINE)]
    one.claims.ended(MINE, one.now)
    assert one.looks(fences(set(), {OTHER}), 3) == [], "it is still being taken"
    one.claims.ended(MINE, one.now)
    assert one.looks(fences(set(), {OTHER}), 3) == [Take(MINE)]


def test_a_look_from_just_before_a_standstill_says_nothing() -> None:
    one = One()
    one.hold(MINE)
    one.looks(fences({ME}, {OTHER}), SETTLE_SECONDS + 1)
    asked_at = one.now + 0.2
    names = one.claims.questions(one.members, asked_at)
    one.now += STILL_SECONDS + 0.1
    listed = {name: frozenset(fences({ME}, {OTHER}).get(name, ())) for name in names}
    assert one.now - asked_at < STILL_SECONDS
    assert one.claims.decide(listed, asked_at, one.now) == []
    assert one.claims.doubtful(one.now)


def test_the_doubt_ends_when_the_fences_cannot_be_looked_at() -> None:
    one = One()
    one.hold(MINE)
    one.look(fences({ME}, {OTHER}))
    one.now += 10
    assert one.looks(None, 10) == []
    assert not one.claims.doubtful(one.now)
