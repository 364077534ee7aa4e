"""Which fleets of the cluster are rolled now: an upgrade of the operator changes all of them at once. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from litevoice_operator.api.resource import Key
from litevoice_operator.decide.scale import Load

PATIENCE_SECONDS = 600.0
"""Who has its turn and gets nowhere for so long lets others go first."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A fleet that has gateways to replace.

    Attributes:
        since: when it asked first (seconds, on the clock of `now`).
        begun: some are replaced already.
        idle_since: when one of them last drained, or its turn began.
        given_way: how often it has let others go first since.
    """

    key: Key
    since: float
    begun: bool
    idle_since: float
    given_way: int = 0


def asking(key: Key, before: Asking | None, had_turn: bool, pods: Sequence[Load], now: float) -> Asking | None:
    """None: it disturbs nobody, or has nothing to replace."""
    old = [pod for pod in pods if pod.outdated and not (pod.ending or pod.starting)]
    if not old:
        return None
    begun = any(pod.marked for pod in old) or any(not (pod.outdated or pod.ending) for pod in pods)
    busy = any(pod.outdated and (pod.draining or pod.ending) for pod in pods)
    if before is None:
        return Asking(key, now, begun, now)
    if busy:
        return Asking(key, before.since, begun, now)
    if had_turn:
        return replace(before, begun=begun)
    gave_way = _is_patient_no_more(before, now)
    return replace(before, begun=begun, idle_since=now, given_way=before.given_way + gave_way)


def turns(fleets: Collection[Asking], at_a_time: int, now: float) -> frozenset[Key]:
    """Who has begun goes on, then who has asked first. Those that get nowhere take turns behind the others: each may
    be able to go on by now."""

    def rank(one: Asking) -> tuple[int, bool, bool, float, Key]:
        gives_way = _is_patient_no_more(one, now)
        return one.given_way + gives_way, gives_way, not one.begun, one.since, one.key

    return frozenset(one.key for one in sorted(fleets, key=rank)[:at_a_time])


def _is_patient_no_more(one: Asking, now: float) -> bool:
    return now - one.idle_since >= PATIENCE_SECONDS
