"""How gateways are replaced that are of an older template, or on a cordoned node: by sessions, batch after batch. Pure.

A batch is what a share of the sessions lives on. First there are as many gateways more as it has, and as its sessions
need; once those are ready and have room, the batch is drained; the next one is chosen when the last is gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from litevoice_operator.api.conditions import RECONCILING
from litevoice_operator.decide.accepting import NEARLY_FULL_PERCENT
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.scale import Load, victims

BATCH_PERCENT = 25
"""Of the sessions, and of the gateways, that may be on the move at a time; at least one gateway."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Attributes:
    going: names of those that go now.
    newest: gateways to have that stay: of the newest revision, on nodes that stay.
    finding: what it waits for, as the condition Reconciling says it; None: nothing is to be replaced.
    """

    going: tuple[str, ...]
    newest: int
    finding: Finding | None = None


def rollout(pods: Sequence[Load], made: int, wanted: int, max_per_pod: int, *, may_begin: bool = True) -> Batch:
    """`made`: gateways of the newest revision that its ReplicaSet is to have; `max_per_pod`: sessions that a new one
    takes; `may_begin`: it is this fleet's turn to replace what is outdated. What a node gives up never waits for that.

    Nobody goes before those that stay, with those that replace it, are as many as wanted, are ready, and have room for
    all its sessions: a session that is moved to a gateway that goes, too, would be moved again.
    """
    staying = [pod for pod in pods if not pod.ending]
    old = [pod for pod in staying if pod.leaves]
    new = [pod for pod in staying if not pod.leaves]
    if not old:
        return Batch((), wanted, _last_ones(pods))
    at_once = [pod for pod in old if pod.starting]
    under_way = [pod for pod in old if pod.marked and not pod.starting]
    others = [pod for pod in old if not (pod.marked or pod.starting) and (may_begin or pod.cordoned)]
    last_ones = any(pod.ending and pod.leaves and pod.sessions for pod in pods)
    surplus = len(old) - len(at_once) - wanted  # those go whether or not they are replaced
    chosen = [] if under_way or last_ones else _batch(staying, others, wanted, surplus)
    held = sum(pod.sessions or 0 for pod in (*under_way, *chosen))
    left = len(old) - len(at_once) - len(under_way) - len(chosen)
    in_new = sum(pod.sessions or 0 for pod in new)
    by_sessions = math.ceil((in_new + held) * 100 / (max_per_pod * NEARLY_FULL_PERCENT)) if held else 0
    newest = min(wanted, max(len(new), made - sum(not pod.outdated for pod in old), wanted - left, by_sessions))
    ready = sum(pod.ready and not pod.draining for pod in new)
    room = sum(pod.room for pod in new)
    counted = f"{len(old)} of {len(staying)} gateways are to be replaced"
    if not chosen and not under_way and others:
        why = f"{counted}; those that went before them still end"
    elif not chosen and not under_way:
        why = f"{counted}; another VoiceGateway is being rolled out" if not at_once else counted
    elif not chosen:
        why = f"{counted}; {len(under_way)} of them drain, with {held} sessions"
    elif ready < wanted - left:
        chosen, why = [], f"{counted}; first {wanted - left} that replace them must be ready: {ready} are"
    elif room < held and len(chosen) > surplus:
        chosen, why = [], f"{counted}; the next {held} sessions wait for room: there is some for {room}"
        return Batch(_names(at_once), newest, Finding(RECONCILING, "True", "RolloutWithoutRoom", why))
    else:
        why = f"{counted}; {len(chosen)} of them go now, with {held} sessions"
    return Batch(_names((*at_once, *under_way, *chosen)), newest, Finding(RECONCILING, "True", "RollingOut", why))


def taken_over() -> Finding:
    """What an earlier release kept with a Deployment."""
    message = "the ReplicaSets of the Deployment of an earlier release become the VoiceGateway's own; no pod is touched"
    return Finding(RECONCILING, "True", "TakingOver", message)


def _batch(staying: Sequence[Load], others: Sequence[Load], wanted: int, surplus: int) -> list[Load]:
    """The cheapest first, and what a node gives up before all; those that need no replacement may go together."""
    most_sessions = sum(pod.sessions or 0 for pod in staying) * BATCH_PERCENT / 100
    most_pods = max(1, wanted * BATCH_PERCENT // 100, surplus)
    by_name = {pod.name: pod for pod in others}
    chosen: list[Load] = []
    held = 0
    for pod in (by_name[name] for name in victims(others, min(len(others), most_pods))):
        held += pod.sessions or 0
        if chosen and held > most_sessions:
            break
        chosen.append(pod)
    return chosen


def _last_ones(pods: Sequence[Load]) -> Finding | None:
    if not any(pod.ending and pod.leaves for pod in pods):
        return None
    return Finding(RECONCILING, "True", "RollingOut", "the last gateways of an older version end")


def _names(pods: Sequence[Load]) -> tuple[str, ...]:
    return tuple(pod.name for pod in pods)
