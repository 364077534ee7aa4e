"""Status and Event texts of a BacklogAlert."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_operator.api.backlog_alert import (
    BacklogAlertSpec,
    BacklogAlertStatus,
    BacklogValue,
    Culprit,
)
from litevoice_operator.api.conditions import FIRING, READY
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.times import from_text, to_text
from litevoice_operator.decide.alert import AlertState, Transition
from litevoice_operator.decide.conditions import Finding, conditions
from litevoice_operator.decide.notifications import EventText


def alert_state(status: BacklogAlertStatus) -> AlertState:
    """The state as of the last status: a restarted operator continues where it stopped."""
    return AlertState(status.state, status.severity, from_text(status.since), from_text(status.clearing_since))


def measured_status(
    metadata: Metadata,
    previous: BacklogAlertStatus,
    state: AlertState,
    value: BacklogValue,
    top: Sequence[Culprit],
    now: float,
) -> BacklogAlertStatus:
    """Status after a measurement; `now` in Unix seconds."""
    firing = Finding(
        FIRING,
        "True" if state.phase == "Firing" else "False",
        "ThresholdExceeded" if state.phase == "Firing" else "Pending" if state.phase == "Pending" else "BelowThreshold",
        _amount(value),
    )
    ready = Finding(READY, "True", "Measuring", "the backlog is being measured")
    return BacklogAlertStatus(
        observed_generation=metadata.generation,
        conditions=conditions(previous.conditions, [ready, firing], metadata.generation, now),
        state=state.phase,
        severity=state.severity,
        since=to_text(state.since) if state.since is not None else None,
        clearing_since=to_text(state.clearing_since) if state.clearing_since is not None else None,
        value=value,
        top=list(top),
    )


def unmeasured_status(
    metadata: Metadata, previous: BacklogAlertStatus, reason: str, message: str, now: float
) -> BacklogAlertStatus:
    """Nothing could be measured: say so, and leave the alert as it was. An unseen backlog is not over."""
    was = next((condition for condition in previous.conditions if condition.type == FIRING), None)
    firing = Finding(FIRING, was.status, was.reason, was.message) if was else Finding(FIRING, "Unknown", reason)
    return previous.model_copy(
        update={
            "observed_generation": metadata.generation,
            "conditions": conditions(
                previous.conditions, [Finding(READY, "False", reason, message), firing], metadata.generation, now
            ),
        }
    )


def orphaned_status(
    metadata: Metadata, previous: BacklogAlertStatus, reason: str, message: str, now: float
) -> BacklogAlertStatus:
    """Nothing is left that could have a backlog: the alert is resolved."""
    findings = [Finding(READY, "False", reason, message), Finding(FIRING, "False", reason, message)]
    return BacklogAlertStatus(
        observed_generation=metadata.generation,
        conditions=conditions(previous.conditions, findings, metadata.generation, now),
        since=previous.since if previous.state == "Inactive" and previous.since else to_text(now),
    )


def event_text(
    transition: Transition, spec: BacklogAlertSpec, state: AlertState, value: BacklogValue, top: Sequence[Culprit]
) -> EventText:
    what = f"{spec.target.lower()} of VoiceGateway {spec.gateway_ref.name}"
    if transition == "Resolved":
        return EventText("Normal", "Resolved", f"backlog of {what} has cleared: {_amount(value)}")
    where = f"; most in {_where(top[0])}" if top else ""
    return EventText("Warning", "Firing", f"{state.severity}: {_amount(value)} in {what}{where}")


def _amount(value: BacklogValue) -> str:
    if value.messages == 0:
        return "no messages are waiting"
    plural = "messages are" if value.messages != 1 else "message is"
    return f"{value.messages} {plural} waiting, the oldest for {value.age_seconds} s"


def _where(culprit: Culprit) -> str:
    parts = [f"session {culprit.session}"] if culprit.session else []
    if culprit.partition is not None:
        parts.append(f"partition {culprit.partition:02d}")
    parts += [
        f"{name} {text}"
        for name, text in (("pod", culprit.pod), ("node", culprit.node), ("client", culprit.client))
        if text
    ]
    return f"{', '.join(parts)} ({culprit.backlog} messages, {culprit.age_seconds} s)"
