"""The alert's state machine: `forSeconds` before it fires, hysteresis before it is resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from litevoice_operator.api.backlog_alert import (
    SEVERITIES,
    AlertPhase,
    BacklogAlertSpec,
    PerSession,
    Severity,
    Threshold,
)
from litevoice_operator.observe.backlogs import Load, Sample

Transition = Literal["Firing", "Escalated", "Resolved"]
_PHASES: tuple[AlertPhase, ...] = get_args(AlertPhase)


@dataclass(frozen=True, slots=True)
class AlertState:
    """Attributes:
    severity: the worst threshold that is exceeded; None while inactive.
    since: when the phase began, Unix seconds; None only before the first measurement.
    clearing_since: firing, but below the clear level since then; Unix seconds.
    """

    phase: AlertPhase = "Inactive"
    severity: Severity | None = None
    since: float | None = None
    clearing_since: float | None = None


def next_state(
    state: AlertState, spec: BacklogAlertSpec, sample: Sample, now: float
) -> tuple[AlertState, Transition | None]:
    """The state after one more measurement; a transition is worth telling. `now` in Unix seconds.

    Pending → Firing once exceeded for `forSeconds`, with the severity of that moment. While firing, a severity holds
    until the value is below `clearBelowPercent` of its threshold; below all of them for `keepFiringForSeconds`, the
    alert is resolved. Thresholds removed from the spec no longer count. What is not seen may be there: a sample that
    lacks something makes nothing better. What began later than `now` began at `now`: the clock was set back.
    """
    since, clearing_since = (None if at is None else min(at, now) for at in (state.since, state.clearing_since))
    state = replace(state, since=since, clearing_since=clearing_since)
    after, transition = _next_state(state, spec, sample, now)
    milder = (_PHASES.index(after.phase), rank(after.severity)) < (_PHASES.index(state.phase), rank(state.severity))
    if sample.unseen and (milder or after.clearing_since is not None):
        return replace(state, clearing_since=None), None
    return after, transition


def _next_state(
    state: AlertState, spec: BacklogAlertSpec, sample: Sample, now: float
) -> tuple[AlertState, Transition | None]:
    if state.phase == "Firing":
        return _while_firing(state, spec, sample, now)
    severity = _worst(spec.thresholds, sample, percent=100)
    if severity is None:
        since = state.since if state.phase == "Inactive" and state.since is not None else now
        return AlertState("Inactive", None, since), None
    since = state.since if state.phase == "Pending" and state.since is not None else now
    if now - since < spec.for_seconds:
        return AlertState("Pending", severity, since), None
    return AlertState("Firing", severity, now), "Firing"


def seconds_until_change(state: AlertState, spec: BacklogAlertSpec, now: float) -> float | None:
    """Until the mere passing of time may change the phase; None: it will not."""
    if state.phase == "Pending" and state.since is not None:
        return max(0.0, state.since + spec.for_seconds - now)
    if state.phase == "Firing" and state.clearing_since is not None:
        return max(0.0, state.clearing_since + spec.keep_firing_for_seconds - now)
    return None


def worst_first(spec: BacklogAlertSpec, severity: Severity | None, loads: Sequence[Load]) -> list[Load]:
    """Sessions over the severity's own bound come before those that are not."""
    bounds = [one.per_session for one in spec.thresholds if one.severity == severity and one.per_session is not None]
    return sorted(loads, key=lambda load: not any(_over(bound, load, 100, False) for bound in bounds))


def _while_firing(
    state: AlertState, spec: BacklogAlertSpec, sample: Sample, now: float
) -> tuple[AlertState, Transition | None]:
    exceeded = _worst(spec.thresholds, sample, percent=100)
    up_to_now = [threshold for threshold in spec.thresholds if rank(threshold.severity) <= rank(state.severity)]
    held = _worst(up_to_now, sample, percent=spec.clear_below_percent, may_be=True)
    severity = max((exceeded, held), key=rank)
    if severity is not None:
        escalated = rank(severity) > rank(state.severity)
        return AlertState("Firing", severity, state.since), "Escalated" if escalated else None
    clearing_since = state.clearing_since if state.clearing_since is not None else now
    if now - clearing_since < spec.keep_firing_for_seconds:
        return AlertState("Firing", state.severity, state.since, clearing_since), None
    return AlertState("Inactive", None, now), "Resolved"


def _worst(thresholds: Sequence[Threshold], sample: Sample, percent: int, *, may_be: bool = False) -> Severity | None:
    reached = [threshold.severity for threshold in thresholds if _reached(threshold, sample, percent, may_be)]
    return max(reached, key=rank, default=None)


def _reached(threshold: Threshold, sample: Sample, percent: int, may_be: bool) -> bool:
    """Any bound is enough. With nothing waiting none is reached, however low the level. `may_be`: of a partition nobody
    says whose messages wait in it, so they may be one session's. Its oldest is one session's in any case."""
    value = sample.value
    if not value.messages and not value.age_seconds:
        return False
    if _at_least(threshold.messages, value.messages, percent):
        return True
    if _at_least(threshold.age_seconds, value.age_seconds, percent):
        return True
    if threshold.per_session is None:
        return False
    found = [load for load in sample.loads if _over(threshold.per_session, load, percent, may_be)]
    sessions = [load for load in found if load.session]
    known = {load.partition for load in sessions}
    over = len(sessions) + sum(1 for load in found if not load.session and load.partition not in known)
    unknown = sum(load.backlog for load in sample.loads if not load.session) if may_be else 0
    return over > 0 and _at_least(threshold.sessions or 1, max(over, unknown), percent)


def _over(bound: PerSession, load: Load, percent: int, may_be: bool) -> bool:
    if _at_least(bound.age_seconds, load.age_seconds, percent):
        return True
    return (bool(load.session) or may_be) and _at_least(bound.messages, load.backlog, percent)


def _at_least(bound: int | None, measured: int, percent: int) -> bool:
    return bound is not None and measured * 100 >= bound * percent


def rank(severity: Severity | None) -> int:
    return -1 if severity is None else SEVERITIES.index(severity)
