"""Status of a BacklogAlert."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from litevoice_operator.api.backlog_alert import BacklogAlertStatus, BacklogValue, Culprit
from litevoice_operator.api.conditions import BLIND, FIRING, READY, ROUTED
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.times import from_text, to_text
from litevoice_operator.decide.alert import AlertState, Transition
from litevoice_operator.decide.conditions import Finding, Problem, conditions

_SEES = Finding(BLIND, "False", "Seeing", "broker and gateways answer")


def alert_state(status: BacklogAlertStatus) -> AlertState:
    """The state as of the last status: a restarted operator continues where it stopped."""
    return AlertState(status.state, status.severity, from_text(status.since), from_text(status.clearing_since))


def transition_text(transition: Transition, state: AlertState, now: float) -> str:
    """As the status keeps it, e.g. ``Firing critical 2026-11-29T02:00:00Z``; see `transition_time`."""
    return " ".join(part for part in (transition, state.severity, to_text(now)) if part)


def transition_time(text: str) -> float:
    """Unix seconds."""
    return from_text(text.rpartition(" ")[2]) or 0.0


def measured_status(
    metadata: Metadata,
    previous: BacklogAlertStatus,
    state: AlertState,
    value: BacklogValue,
    top: Sequence[Culprit],
    now: float,
    *,
    transition: Transition | None = None,
    unseen: str = "",
) -> BacklogAlertStatus:
    """Status after a measurement, of all there is or of all but what is `unseen`; `now` in Unix seconds."""
    firing = Finding(
        FIRING,
        "True" if state.phase == "Firing" else "False",
        "ThresholdExceeded" if state.phase == "Firing" else "Pending" if state.phase == "Pending" else "BelowThreshold",
        amount(value),
    )
    ready = Finding(READY, "True", "Measuring", "the backlog is being measured")
    blind = _SEES
    if unseen:
        ready = Finding(READY, "False", "GatewaysUnreachable", unseen)
        blind = replace(ready, type=BLIND, status="True")
    return BacklogAlertStatus(
        observed_generation=metadata.generation,
        conditions=conditions(previous.conditions, [ready, firing, blind], metadata.generation, now),
        state=state.phase,
        severity=state.severity,
        since=to_text(state.since) if state.since is not None else None,
        clearing_since=to_text(state.clearing_since) if state.clearing_since is not None else None,
        value=value,
        top=list(top),
        healed=previous.healed,
        last_transition=transition_text(transition, state, now) if transition else previous.last_transition,
        told=previous.told,
        blind_told=previous.blind_told,
    )


def unmeasured_status(
    metadata: Metadata, previous: BacklogAlertStatus, problem: Problem, now: float, *, blind: bool = True
) -> BacklogAlertStatus:
    """Nothing could be measured: say so, and leave the alert as it was. An unseen backlog is not over, nor was it below
    the clear level for any time. `blind`: because it cannot be seen, not because nobody knows what to look at."""
    was = next((condition for condition in previous.conditions if condition.type == FIRING), None)
    firing = Finding(FIRING, was.status, was.reason, was.message) if was else Finding(FIRING, "Unknown", problem.reason)
    sight = Finding(BLIND, "True" if blind else "False", problem.reason, problem.message)
    ready = Finding(READY, "False", problem.reason, problem.message)
    return previous.model_copy(
        update={
            "observed_generation": metadata.generation,
            "conditions": conditions(previous.conditions, [ready, firing, sight], metadata.generation, now),
            "clearing_since": None,
        }
    )


def orphaned_status(
    metadata: Metadata, previous: BacklogAlertStatus, problem: Problem, now: float
) -> BacklogAlertStatus:
    """Nothing is left that could have a backlog: the alert is resolved."""
    findings = [Finding(kind, "False", problem.reason, problem.message) for kind in (READY, FIRING, BLIND)]
    over = previous.state == "Firing"
    return BacklogAlertStatus(
        observed_generation=metadata.generation,
        conditions=conditions(previous.conditions, findings, metadata.generation, now),
        since=previous.since if previous.state == "Inactive" and previous.since else to_text(now),
        healed=previous.healed,
        last_transition=transition_text("Resolved", AlertState(), now) if over else previous.last_transition,
        told=previous.told,
        blind_told=previous.blind_told,
    )


def routed_status(
    metadata: Metadata,
    previous: BacklogAlertStatus,
    status: BacklogAlertStatus,
    routes: Sequence[str],
    channels: Collection[str],
    muted: str,
    now: float,
    *,
    failing: Mapping[str, str] | None = None,
) -> BacklogAlertStatus:
    """With the condition that says whether the channels of `routes` are told; `muted`: why none is; `failing`: how
    those fail that take nothing."""
    if not routes:
        return status.model_copy(update={"conditions": [one for one in status.conditions if one.type != ROUTED]})
    unknown = [f"spec.routes[{index}]: {name}" for index, name in enumerate(routes) if name not in channels]
    if unknown:
        there = ", ".join(sorted(channels)) or "none"
        finding = Finding(
            ROUTED,
            "False",
            "ChannelUnknown",
            f"{', '.join(unknown)}: no channel of the chart's alerts.channels ({there})",
        )
    elif muted:
        finding = Finding(ROUTED, "False", "Muted", muted)
    elif failing:
        told = "; ".join(f"{name}: {how}" for name, how in sorted(failing.items()))
        finding = Finding(ROUTED, "False", "ChannelFails", f"{told} (the operator's log has more)")
    else:
        finding = Finding(ROUTED, "True", "ChannelsKnown", "")
    added = conditions(previous.conditions, [finding], metadata.generation, now)
    others = [one for one in status.conditions if one.type != ROUTED]
    return status.model_copy(update={"conditions": [*others, *added]})


def amount(value: BacklogValue) -> str:
    if value.messages == 0 and not value.age_seconds:
        return "no messages are waiting"
    plural = "messages are" if value.messages != 1 else "message is"
    sessions = f" for {value.sessions} session{'s' if value.sessions != 1 else ''}" if value.sessions else ""
    return f"{value.messages} {plural} waiting{sessions}, the oldest for {value.age_seconds} s"
