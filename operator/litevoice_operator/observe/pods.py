"""What a pod tells: where it is, whether it works, if not why, and how its drain ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from litevoice_contracts.control import DrainReport, RefusedSettings
from litevoice_operator.api.labels import ACCEPTING_LABEL, ADMIN_TLS, COMPONENT_LABEL, INSTANCE_LABEL, REVISION_LABEL
from litevoice_operator.api.times import from_text, to_text
from litevoice_operator.api.voice_gateway_status import MAX_LISTED_DRAINS, LastDrain

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation: of ready pods a ReplicaSet removes the one that costs least; without it a pod costs 0."""
SEALED = "tls:"
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a VoiceGateway.

    Attributes:
        instance: name of the VoiceGateway; component: ``gateway`` or ``worker``.
        created_at: Unix seconds.
        starting: scheduled, but its container does not exist yet.
        trouble: why it is not ready, as far as the pod itself says; else empty.
        refused: the setting that it ended at its start for, as a field of the VoiceGateway where it is one; else empty.
        goes_first: its ReplicaSet removes it before others.
        revision: of the pod template, as its controllers name it.
        over: it has ended and stays as an object; it is no one's replica any more.
        accepting: whether its Service sends new clients to it; None without the label.
        unready_since: Unix seconds; 0 while it is ready, or was never looked at by its node.
        sealed: it has an admin port with TLS; one of an early release has not.
        grace_seconds: that it may take to end, by the template that it was made from; 0 when it does not say.
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
    goes_first: bool = False
    refused: str = ""
    revision: str = ""
    over: bool = False
    accepting: bool | None = None
    unready_since: float = 0.0
    sealed: bool = False
    grace_seconds: int = 0

    @property
    def address(self) -> str:
        """Where its admin API is asked: its IP, after SEALED where that takes TLS; "" while it has none."""
        return f"{SEALED}{self.ip}" if self.sealed and self.ip else self.ip


def read_pod(body: Mapping[str, Any]) -> Pod:
    """A pod as the API server (or a watch) returns it."""
    metadata, status = body.get("metadata", {}), body.get("status", {})
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
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
        refused="" if ready else _refused(containers),
        goes_first=str(annotations.get(DELETION_COST, "0")).startswith("-"),
        revision=str(labels.get(REVISION_LABEL, "")),
        over=status.get("phase") in ("Failed", "Succeeded"),
        accepting={"true": True, "false": False}.get(str(labels.get(ACCEPTING_LABEL))),
        sealed=any(
            port.get("name") == ADMIN_TLS
            for container in body.get("spec", {}).get("containers") or []
            for port in container.get("ports") or []
        ),
        grace_seconds=int(body.get("spec", {}).get("terminationGracePeriodSeconds") or 0),
        unready_since=0.0 if ready else from_text(conditions.get("Ready", {}).get("lastTransitionTime")) or 0.0,
    )  # fmt: skip


def addresses(pods: Iterable[Pod]) -> dict[str, str]:
    """Name → address of those that may answer."""
    return {pod.name: pod.address for pod in pods if pod.ip and not pod.starting}


def should_answer(pod: Pod) -> bool:
    return bool(pod.ip) and not (pod.starting or pod.terminating or pod.trouble)


def newest_drains(drains: Iterable[LastDrain | None]) -> tuple[LastDrain, ...]:
    """The newest first, each once, and not more than a status lists."""
    by_end = {(drain.finished_at, drain.pod): drain for drain in drains if drain}
    return tuple(by_end[end] for end in sorted(by_end, reverse=True)[:MAX_LISTED_DRAINS])


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
    drains = newest_drains(
        _last_drain(pod, report, from_text(terminated.get("finishedAt")) or 0.0)
        for terminated in _terminations(containers)
        if (report := _report(terminated.get("message"))) is not None
    )
    return next(iter(drains), None)


def _refused(containers: list[Mapping[str, Any]]) -> str:
    for terminated in _terminations(containers):
        try:
            refused = msgspec.json.decode(str(terminated.get("message") or ""), type=RefusedSettings)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            continue
        prefix = "spec." if refused.field.startswith("pipelines[") else ""
        return f"{prefix}{refused.field}: expected {refused.expected}"
    return ""


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
