"""How a fleet becomes even again, after a scale-up for example: new clients go where there is room, live sessions move
only when one gateway holds far more than the others. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from litevoice_contracts.control import SessionInfo
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.scale import Load

LEAST_SESSIONS = 20
"""More than the average, before a gateway counts as crowded: a handful of calls is no imbalance."""
LEVEL_PERCENT = 10
"""Above the average: a gateway that holds no more is crowded no longer."""
PATIENCE_SECONDS = 60.0
"""How long a gateway is crowded before its sessions are moved: calls end, and new ones go elsewhere."""
ONCE_IN_SECONDS = 600.0
"""A session whose connection is younger is not moved: it has just come, perhaps because it was moved."""
MOST_AT_ONCE = 100


def crowded(pods: Sequence[Load], before: Mapping[str, float], percent: int, now: float) -> dict[str, float]:
    """Who holds more than `percent` above the average of those that stay, and since when; `before`: as returned last.
    Nobody while others are drained, replaced, or start: then what they hold is about to change. While one does not
    answer nothing is known anew."""
    staying = [pod for pod in pods if not pod.ending]
    if len(staying) < 2 or any(_changes(pod) for pod in staying):
        return {}
    if _somebody_is_silent(staying):
        return {pod.name: before[pod.name] for pod in staying if pod.name in before}
    mean = _mean(staying)
    return {
        pod.name: before.get(pod.name, now)
        for pod in staying
        if _above(pod, mean) > (_level(mean) if pod.name in before else max(LEAST_SESSIONS, mean * percent / 100))
    }


def to_move(pods: Sequence[Load], crowds: Mapping[str, float], tokens: float, now: float) -> dict[str, int]:
    """How many sessions of each gateway are told to move now; `crowds`: as `crowded` returned it; `tokens`: as many as
    may be moved now. Never more than bring a gateway to the average and a little more, nor than the others lack of
    it."""
    staying = [pod for pod in pods if not pod.ending]
    if not crowds or _somebody_is_silent(staying):
        return {}
    mean = _mean(staying)
    wanting = sum(max(0, math.floor(mean) - (pod.sessions or 0)) for pod in staying if pod.name not in crowds)
    most = min(MOST_AT_ONCE, math.floor(tokens), wanting, sum(pod.room for pod in staying if pod.name not in crowds))
    moves: dict[str, int] = {}
    for pod in sorted(staying, key=lambda one: (-(one.sessions or 0), one.name)):
        if pod.name in crowds and now - crowds[pod.name] >= PATIENCE_SECONDS:
            moves[pod.name] = min(most, math.floor(_above(pod, mean) - _level(mean)))
            most -= moves[pod.name]
    return {name: count for name, count in moves.items() if count > 0}


def candidates(sessions: Iterable[SessionInfo], told: Collection[str], count: int) -> list[str]:
    """Ids of those that move: between two turns, and here for long enough. `told`: lately, and they are still here."""
    chosen = [
        session.session_id
        for session in sessions
        if session.stage == "idle" and session.age_seconds >= ONCE_IN_SECONDS and session.session_id not in told
    ]
    return chosen[:count]


def rebalanced_event(pod: str, sessions: int, moved: int) -> EventText:
    message = f"{pod}: {moved} of its {sessions} sessions go where there is more room"
    return EventText("Normal", "Rebalanced", message)


def _changes(pod: Load) -> bool:
    return pod.draining or pod.marked or pod.leaves or not pod.ready


def _somebody_is_silent(staying: Sequence[Load]) -> bool:
    return any(pod.sessions is None for pod in staying)


def _mean(staying: Sequence[Load]) -> float:
    return sum(pod.sessions or 0 for pod in staying) / max(1, len(staying))


def _above(pod: Load, mean: float) -> float:
    return (pod.sessions or 0) - mean


def _level(mean: float) -> float:
    return mean * LEVEL_PERCENT / 100
