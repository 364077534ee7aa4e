"""A BacklogAlert as the channels of its routes are told: whether at all, as which alerts, in which body."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from litevoice_operator.api.backlog_alert import (
    PLACEHOLDER,
    SEVERITIES,
    BacklogAlertSpec,
    BacklogAlertStatus,
    Culprit,
    Severity,
)
from litevoice_operator.api.conditions import BLIND
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.times import from_text, to_text
from litevoice_operator.decide.alert import rank
from litevoice_operator.decide.alert_board import Alert
from litevoice_operator.decide.alert_status import amount, transition_time
from litevoice_operator.decide.telling import where

ALERT_NAME, BLIND_NAME = "LitevoiceBacklog", "LitevoiceBacklogBlind"
GROUP_LABELS = ("alertname", "namespace", "alert")


@dataclass(frozen=True, slots=True)
class Mute:
    """Why channels are told no news. `passes`: it is over by itself soon, so what they know already stays as it is."""

    why: str
    passes: bool = False


def muted(spec: BacklogAlertSpec, status: BacklogAlertStatus, *, draining: bool, now: float) -> Mute | None:
    """None: its channels are told. Events and the status always say what is."""
    if spec.dry_run:
        return Mute("dryRun")
    for silence in spec.silences:
        if (from_text(silence.starts_at) or 0.0) <= now < (from_text(silence.ends_at) or 0.0):
            return Mute(f"silenced by {silence.author} until {silence.ends_at}")
    if spec.suppress_during_drain and draining and status.severity != "critical":
        return Mute("a gateway is being drained", passes=True)
    return None


def told_to(status: BacklogAlertStatus, channel: str, found: Sequence[Alert], mute: Mute | None) -> list[Alert]:
    """Which of `found` an Alertmanager is told. While a drain holds back what is new, those that it was told before go
    on, no worse than it knows: an end that is none would be news. A drain is no reason for being blind: what cannot be
    seen may be critical."""
    if mute is None:
        return list(found)
    if not mute.passes:
        return []
    known = _known_severity(status, channel)
    milder = {"severity": known} if known and rank(known) < rank(status.severity) else {}
    blind = [alert for alert in found if alert.labels["alertname"] == BLIND_NAME]
    firing = (
        [replace(alert, labels={**alert.labels, **milder}) for alert in found if alert not in blind] if known else []
    )
    return [*firing, *blind]


def _known_severity(status: BacklogAlertStatus, channel: str) -> Severity | None:
    """That the alert had when the channel was last told of it; None: not since it began to fire."""
    last = next((told.transition for told in status.told if told.recipient == channel), "")
    if transition_time(last) < (from_text(status.since) or 0.0):
        return None
    return next((severity for severity in SEVERITIES if severity in last.split()), None)


def alerts(metadata: Metadata, spec: BacklogAlertSpec, status: BacklogAlertStatus) -> list[Alert]:
    """Those that fire, and one that says that nothing can be seen."""
    labels = {
        "namespace": metadata.namespace,
        "alert": metadata.name,
        "gateway": spec.gateway_ref.name,
        "target": spec.target,
    }
    found = []
    if status.state == "Firing" and status.severity is not None:
        labels_of_severity = {"alertname": ALERT_NAME, **labels, "severity": status.severity}
        since = from_text(status.since) or 0.0
        for pod, culprits in _groups(spec, status.top):
            group_labels = {**labels_of_severity, **({"pod": pod} if pod else {})}
            found.append(Alert(group_labels, _annotations(spec, status, culprits, group_labels), since))
    if status.blind_told:
        blind = next((one for one in status.conditions if one.type == BLIND), None)
        since = (from_text(blind.last_transition_time) if blind else None) or 0.0
        seen = "can be seen again" if blind and blind.reason == "Seeing" else "is not watched any more"
        why = f"cannot be seen: {blind.message}" if blind and blind.status == "True" else seen
        text = {"summary": f"{metadata.namespace}/{metadata.name} {why}"}
        runbook = {"runbook_url": spec.runbook_url} if spec.runbook_url else {}
        found.append(Alert({"alertname": BLIND_NAME, **labels, "severity": "warning"}, text | runbook, since))
    return found


def webhook_body(
    channel: str, metadata: Metadata, spec: BacklogAlertSpec, status: BacklogAlertStatus
) -> dict[str, Any]:
    """What Alertmanager would post about the last transition (its webhook format, version 4)."""
    firing = status.state == "Firing"
    at = transition_time(status.last_transition)
    shown = [alert for alert in alerts(metadata, spec, status) if alert.labels["alertname"] == ALERT_NAME] or [
        Alert(
            {
                "alertname": ALERT_NAME,
                "namespace": metadata.namespace,
                "alert": metadata.name,
                "gateway": spec.gateway_ref.name,
                "target": spec.target,
            },
            {"summary": f"{metadata.namespace}/{metadata.name} is over"},
            at,
        )
    ]
    return _body(channel, shown, None if firing else at)


def blind_body(
    channel: str, metadata: Metadata, spec: BacklogAlertSpec, status: BacklogAlertStatus, now: float
) -> dict[str, Any]:
    """The same about being blind, as `blind_told` says; `now`: when it is over."""
    blind = status.model_copy(update={"state": "Inactive", "blind_told": True})
    return _body(channel, alerts(metadata, spec, blind), None if status.blind_told else now)


def _body(channel: str, shown: Sequence[Alert], over_at: float | None) -> dict[str, Any]:
    """`over_at`: Unix seconds; None while they fire."""
    state = "firing" if over_at is None else "resolved"
    labels, annotations = _common(alert.labels for alert in shown), _common(alert.annotations for alert in shown)
    group = {name: labels[name] for name in GROUP_LABELS}
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f'{name}="{value}"' for name, value in group.items()) + "}",
        "truncatedAlerts": 0,
        "status": state,
        "receiver": channel,
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [
            {
                "status": state,
                "labels": dict(alert.labels),
                "annotations": dict(alert.annotations),
                "startsAt": to_text(alert.starts_at),
                "endsAt": "0001-01-01T00:00:00Z" if over_at is None else to_text(over_at),
                "generatorURL": "",
                "fingerprint": hashlib.blake2b(repr(alert.identity).encode(), digest_size=8).hexdigest(),
            }
            for alert in shown
        ],
    }


def _groups(spec: BacklogAlertSpec, top: Sequence[Culprit]) -> list[tuple[str, Sequence[Culprit]]]:
    """By pod, if so wanted and if they are not too many; "" is all of them, or those whose pod is not known."""
    pods = sorted({culprit.pod for culprit in top})
    if spec.group_by != "Pod" or not pods or len(pods) > spec.max_alerts:
        return [("", top)]
    return [(pod, [culprit for culprit in top if culprit.pod == pod]) for pod in pods]


def _annotations(
    spec: BacklogAlertSpec, status: BacklogAlertStatus, culprits: Sequence[Culprit], labels: dict[str, str]
) -> dict[str, str]:
    value = amount(status.value) if status.value is not None else ""
    worst = culprits[0] if culprits else Culprit(backlog=0, age_seconds=0)
    known = {
        "namespace": labels["namespace"],
        "alert": labels["alert"],
        "gateway": labels["gateway"],
        "target": labels["target"],
        "severity": labels["severity"],
        "messages": str(status.value.messages if status.value else 0),
        "ageSeconds": str(status.value.age_seconds if status.value else 0),
        "sessions": str(status.value.sessions if status.value else 0),
        "session": worst.session,
        "pod": worst.pod,
        "node": worst.node,
        "client": worst.client,
    }
    found = {"summary": f"{spec.target} of {labels['namespace']}/{spec.gateway_ref.name}: {value}"}
    if culprits:
        found["description"] = "\n".join(map(where, culprits))
    if spec.runbook_url:
        found["runbook_url"] = spec.runbook_url
    for name, template in spec.annotations.items():
        found[name] = re.sub(PLACEHOLDER, lambda match: known[match[1]], template)
    return found


def _common(parts: Iterable[Any]) -> dict[str, str]:
    first, *others = map(dict, parts)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
