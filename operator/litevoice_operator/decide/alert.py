"""The alert's state machine: `forSeconds` before it fires, hysteresis before it is resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from litevoice_operator.api.backlog_alert import (
    SEVERITIES,
    AlertPhase,
    BacklogAlertSpec,
    BacklogValue,
    Severity,
    Threshold,
)

Transition = Literal["Firing", "Escalated", "Resolved"]


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
    state: AlertState, spec: BacklogAlertSpec, value: BacklogValue, now: float
) -> tuple[AlertState, Transition | None]:
    """The state after one more measurement; a transition is worth an Event. `now` in Unix seconds.

    Pending → Firing once exceeded for `forSeconds`, with the severity of that moment. While firing, a severity holds
    until the value is below `clearBelowPercent` of its threshold; below all of them for `keepFiringForSeconds`, the
    alert is resolved. Thresholds removed from the spec no longer count.
    """
    if state.phase == "Firing":
        return _while_firing(state, spec, value, now)
    severity = _worst(spec.thresholds, value, percent=100)
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


def _while_firing(
    state: AlertState, spec: BacklogAlertSpec, value: BacklogValue, now: float
) -> tuple[AlertState, Transition | None]:
    exceeded = _worst(spec.thresholds, value, percent=100)
    up_to_now = [threshold for threshold in spec.thresholds if _rank(threshold.severity) <= _rank(state.severity)]
    held = _worst(up_to_now, value, percent=spec.clear_below_percent)
    severity = max((exceeded, held), key=_rank)
    if severity is not None:
        escalated = _rank(severity) > _rank(state.severity)
        return AlertState("Firing", severity, state.since), "Escalated" if escalated else None
    clearing_since = state.clearing_since if state.clearing_since is not None else now
    if now - clearing_since < spec.keep_firing_for_seconds:
        return AlertState("Firing", state.severity, state.since, clearing_since), None
    return AlertState("Inactive", None, now), "Resolved"


def _worst(thresholds: Sequence[Threshold], value: BacklogValue, percent: int) -> Severity | None:
    reached = [threshold.severity for threshold in thresholds if _reached(threshold, value, percent)]
    return max(reached, key=_rank, default=None)


def _reached(threshold: Threshold, value: BacklogValue, percent: int) -> bool:
    """Either bound is enough. With no messages waiting nothing is reached, however low the level."""
    if value.messages == 0:
        return False
    return any(
        bound is not None and measured * 100 >= bound * percent
        for bound, measured in ((threshold.messages, value.messages), (threshold.age_seconds, value.age_seconds))
    )


def _rank(severity: Severity | None) -> int:
    return -1 if severity is None else SEVERITIES.index(severity)
