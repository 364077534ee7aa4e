"""What a pod tells: where it is, whether it works, if not why, and how its drain ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from litevoice_contracts.control import DrainReport
from litevoice_operator.api.labels import COMPONENT_LABEL, INSTANCE_LABEL
from litevoice_operator.api.times import from_text, to_text
from litevoice_operator.api.voice_gateway_status import LastDrain

_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a VoiceGateway.

    Attributes:
        instance: name of the VoiceGateway; component: ``gateway`` or ``worker``.
        created_at: Unix seconds.
        starting: scheduled, but its container does not exist yet.
        trouble: why it is not ready, as far as the pod itself says; else empty.
    """

    namespace: str
    name: str
    uid: str
    instance: str
    component: str
    node: str
    ip: str
    ready: bool
    terminating: bool
    created_at: float
    starting: bool
    trouble: str
    drained: LastDrain | None


def read_pod(body: Mapping[str, Any]) -> Pod:
    """A pod as the API server (or a watch) returns it."""
    metadata, status = body.get("metadata", {}), body.get("status", {})
    labels = metadata.get("labels") or {}
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or []}
    containers = status.get("containerStatuses") or []
    scheduled = conditions.get("PodScheduled", {}).get("status") == "True"
    ready = conditions.get("Ready", {}).get("status") == "True"
    name = str(metadata.get("name", ""))
    return Pod(
        namespace=str(metadata.get("namespace", "")),
        name=name,
        uid=str(metadata.get("uid", "")),
        instance=str(labels.get(INSTANCE_LABEL, "")),
        component=str(labels.get(COMPONENT_LABEL, "")),
        node=str(body.get("spec", {}).get("nodeName", "")),
        ip=str(status.get("podIP", "")),
        ready=ready,
        terminating="deletionTimestamp" in metadata,
        created_at=from_text(metadata.get("creationTimestamp")) or 0.0,
        starting=scheduled and not ready and all(_waiting(c).get("reason", "") in _STARTING for c in containers)
        and not any("running" in c.get("state", {}) or "terminated" in c.get("state", {}) for c in containers),
        trouble="" if ready else _trouble(conditions, containers),
        drained=_drained(name, containers),
    )  # fmt: skip


def newest_drain(drains: Iterable[LastDrain | None]) -> LastDrain | None:
    return max((drain for drain in drains if drain), key=lambda drain: drain.finished_at, default=None)


def _trouble(conditions: Mapping[Any, Any], containers: list[Mapping[str, Any]]) -> str:
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"cannot be scheduled: {scheduled.get('message', '')}"
    for container in containers:
        waiting = _waiting(container)
        if waiting.get("reason", "") not in _STARTING:
            return ": ".join(part for part in (waiting["reason"], waiting.get("message", "")) if part)
    return ""


def _waiting(container: Mapping[str, Any]) -> Mapping[str, Any]:
    waiting: Mapping[str, Any] = container.get("state", {}).get("waiting") or {}
    return waiting


def _drained(pod: str, containers: list[Mapping[str, Any]]) -> LastDrain | None:
    """The newest drain report among its containers' termination messages."""
    return newest_drain(
        _last_drain(pod, report, from_text(terminated.get("finishedAt")) or 0.0)
        for terminated in _terminations(containers)
        if (report := _report(terminated.get("message"))) is not None
    )


def _terminations(containers: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for container in containers:
        for state in ("state", "lastState"):
            if terminated := (container.get(state) or {}).get("terminated"):
                yield terminated


def _report(message: object) -> DrainReport | None:
    """None for anything else that a dying program may have left there."""
    try:
        report = msgspec.json.decode(str(message or ""), type=DrainReport)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
    return report if report.state == "drained" else None


def _last_drain(pod: str, report: DrainReport, finished_at: float) -> LastDrain:
    return LastDrain(
        pod=pod,
        moved=report.moved,
        completed=report.completed,
        forced=report.forced,
        lost_packets=report.lost_packets,
        duration_seconds=round(report.duration_seconds, 3),
        finished_at=to_text(finished_at),
    )
