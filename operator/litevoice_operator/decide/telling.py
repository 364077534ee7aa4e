"""Who has to be told what about a BacklogAlert, and in which words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus, Culprit, Told
from litevoice_operator.api.conditions import BLIND, READY
from litevoice_operator.api.times import from_text, within
from litevoice_operator.decide.alert_status import amount, transition_time
from litevoice_operator.decide.notifications import EventText

EVENTS = "events"
"""The recipient that everybody has: Events on the object."""
BLIND_SECONDS = 15.0
"""Blindness that lasts no longer is not told: a broker's restart, a slow answer."""


def due(status: BacklogAlertStatus, recipients: Sequence[str], under_way: Collection[str] = ()) -> list[str]:
    """Those of `recipients` that do not know the last transition and need to: who never heard of the alert, and to whom
    no news of it is `under_way`, does not need to know that it is over."""
    known = {told.recipient: told.transition for told in status.told}
    last = status.last_transition
    if not last:
        return []
    firing = status.state == "Firing"
    return [
        recipient
        for recipient in recipients
        if (before := known.get(recipient, "")) != last
        and (firing or recipient in under_way or (bool(before) and not before.startswith("Resolved")))
    ]


def after_telling(status: BacklogAlertStatus, recipients: Sequence[str]) -> BacklogAlertStatus:
    """They know the last transition now."""
    others = [told for told in status.told if told.recipient not in recipients]
    told = [Told(recipient=recipient, transition=status.last_transition) for recipient in recipients]
    return status.model_copy(update={"told": sorted([*others, *told], key=lambda entry: entry.recipient)})


def only_recipients(status: BacklogAlertStatus, routes: Collection[str]) -> BacklogAlertStatus:
    """Without what channels know that are told no more: there is no end to those that may have been."""
    told = [entry for entry in status.told if entry.recipient == EVENTS or entry.recipient in routes]
    return status.model_copy(update={"told": told})


@dataclass(frozen=True, slots=True)
class Sight:
    """News of being blind or not; `text` is to be told."""

    blind: bool
    text: EventText


def sight(status: BacklogAlertStatus, now: float) -> Sight | None:
    """What Events are to tell of being blind; None when they have, or too early."""
    condition = next((condition for condition in status.conditions if condition.type == BLIND), None)
    if condition is None:
        return None
    once, blind = sight_once(status), condition.status == "True"
    since = once[1]
    if blind == status.blind_told or (blind and within(BLIND_SECONDS, since, now)):
        return None
    if not blind:
        message = "the backlog can be seen again" if condition.reason == "Seeing" else condition.message
        return Sight(False, EventText("Normal", "Seeing", message, once))
    message = f"{condition.message}; the alert stays as it was: {status.state}"
    return Sight(True, EventText("Warning", "Blind", message, once))


def sight_once(status: BacklogAlertStatus) -> tuple[str, float]:
    """What makes news of being blind, or of seeing, the same as before: since when (Unix seconds)."""
    condition = next((condition for condition in status.conditions if condition.type == BLIND), None)
    at = condition.last_transition_time if condition else ""
    return f"{'blind' if condition and condition.status == 'True' else 'seeing'} {at}", from_text(at) or 0.0


def event_text(spec: BacklogAlertSpec, status: BacklogAlertStatus) -> EventText:
    """About the last transition."""
    once = status.last_transition, transition_time(status.last_transition)
    what = f"{spec.target.lower()} of VoiceGateway {spec.gateway_ref.name}"
    if status.state != "Firing":
        why = f"backlog of {what} has cleared: {amount(status.value)}" if status.value else _condition(status, READY)
        return EventText("Normal", "Resolved", why, once)
    value = amount(status.value) if status.value else "the backlog is not known yet"
    most = f"; most in {where(status.top[0])}" if status.top else ""
    return EventText("Warning", "Firing", f"{status.severity}: {value} in {what}{most}", once)


def _condition(status: BacklogAlertStatus, kind: str) -> str:
    return next((condition.message for condition in status.conditions if condition.type == kind), "")


def where(culprit: Culprit) -> str:
    parts = [f"session {culprit.session}"] if culprit.session else []
    if culprit.partition is not None:
        parts.append(f"partition {culprit.partition:02d}")
    parts += [
        f"{name} {text}"
        for name, text in (("pod", culprit.pod), ("node", culprit.node), ("client", culprit.client))
        if text
    ]
    parts += ["no gateway holds it"] if culprit.owner == "Orphaned" else []
    return f"{', '.join(parts)} ({culprit.backlog} messages, {culprit.age_seconds} s)"
