"""Status of a VoiceGateway: what was observed of its pods and its broker → conditions, numbers, table of pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litevoice_contracts.control import GatewayStatus
from litevoice_operator.api.conditions import READY, RECONCILING, STALLED
from litevoice_operator.api.meta import Metadata
from litevoice_operator.api.voice_gateway_status import (
    MAX_LISTED_PODS,
    GatewayPod,
    LastDrain,
    VoiceGatewayStatus,
    WorkersStatus,
)
from litevoice_operator.decide.conditions import Finding, conditions
from litevoice_operator.decide.pods import Pod


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a Deployment is.

    Attributes:
        settled: its controller has seen the current template and no pod of an older one is left.
        failure: why it cannot go on, in the words of its controller.
    """

    wanted: int = 0
    replicas: int = 0
    ready: int = 0
    settled: bool = False
    failure: str = ""

    @property
    def complete(self) -> bool:
        return self.ready >= self.wanted


@dataclass(frozen=True, slots=True)
class Problem:
    """What stands in the way. `lasting`: somebody must change something; otherwise the operator tries again."""

    reason: str
    message: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything one look at a VoiceGateway brought to light.

    Attributes:
        problem: of the spec, the broker or Kubernetes; None when everything could be applied.
        answers: what the gateways say themselves, by pod name.
        mount_problems: why pods cannot start, by pod name.
        last_drain: newest report that a gateway left when it ended.
    """

    gateways: Rollout = Rollout()
    workers: Rollout = Rollout()
    pods: Sequence[Pod] = ()
    answers: Mapping[str, GatewayStatus] = field(default_factory=dict)
    mount_problems: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None
    selector: str = ""
    last_drain: LastDrain | None = None


def read_rollout(deployment: Mapping[str, Any]) -> Rollout:
    """From a Deployment as the API server returns it; one that its controller has not looked at yet is not settled."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    wanted = int(spec.get("replicas", 1))
    replicas = int(status.get("replicas", 0))
    seen = int(status.get("observedGeneration", 0)) >= int(deployment.get("metadata", {}).get("generation", 0))
    failures = [
        f"{condition.get('reason')}: {condition.get('message')}"
        for condition in status.get("conditions") or []
        if (condition.get("type"), condition.get("status")) in (("ReplicaFailure", "True"), ("Progressing", "False"))
    ]
    return Rollout(
        wanted=wanted,
        replicas=replicas,
        ready=int(status.get("readyReplicas", 0)),
        settled=seen and int(status.get("updatedReplicas", 0)) == wanted == replicas,
        failure="; ".join(failures),
    )


def gateway_status(
    metadata: Metadata, observed: Observed, previous: VoiceGatewayStatus, now: float
) -> VoiceGatewayStatus:
    """`now` in Unix seconds."""
    gateways = sorted((pod for pod in observed.pods if pod.component == "gateway"), key=lambda pod: pod.name)
    return VoiceGatewayStatus(
        observed_generation=metadata.generation,
        conditions=conditions(previous.conditions, _findings(observed), metadata.generation, now),
        replicas=observed.gateways.replicas,
        ready_replicas=observed.gateways.ready,
        selector=observed.selector,
        workers=WorkersStatus(replicas=observed.workers.replicas, ready_replicas=observed.workers.ready),
        sessions=sum(answer.sessions for answer in observed.answers.values()),
        pods=[_table_row(pod, observed.answers.get(pod.name)) for pod in gateways[:MAX_LISTED_PODS]],
        last_drain=newest_drain([previous.last_drain, observed.last_drain]),
    )


def newest_drain(drains: Iterable[LastDrain | None]) -> LastDrain | None:
    return max((drain for drain in drains if drain), key=lambda drain: drain.finished_at, default=None)


def _table_row(pod: Pod, answer: GatewayStatus | None) -> GatewayPod:
    row = GatewayPod(name=pod.name, node=pod.node, ip=pod.ip, ready=pod.ready and not pod.terminating)
    if answer is None:
        return row
    return row.model_copy(
        update={
            "sessions": answer.sessions,
            "pending_requests": answer.pending_requests,
            "slow_readers": answer.slow_readers,
            "draining": answer.drain.state == "draining",
        }
    )


def _findings(observed: Observed) -> list[Finding]:
    problem = observed.problem or _problem_of_pods(observed)
    rolling_out = not (observed.gateways.settled and observed.workers.settled)
    if problem is None:
        ready = Finding(READY, "True", "Ready", _summary(observed))
    else:
        ready = Finding(READY, "False", problem.reason, problem.message)
    if problem is not None and problem.lasting:
        return [
            ready,
            Finding(RECONCILING, "False", problem.reason, "waits for a change"),
            Finding(STALLED, "True", problem.reason, problem.message),
        ]
    if problem is not None:
        reconciling = Finding(RECONCILING, "True", problem.reason, problem.message)
    elif rolling_out:
        reconciling = Finding(RECONCILING, "True", "RollingOut", "pods of an older version are being replaced")
    else:
        reconciling = Finding(RECONCILING, "False", "Settled")
    return [ready, reconciling, Finding(STALLED, "False", "Progressing" if problem else "Settled")]


def _problem_of_pods(observed: Observed) -> Problem | None:
    for component, rollout in (("gateway", observed.gateways), ("worker", observed.workers)):
        if rollout.complete:
            continue
        reason = "GatewaysNotReady" if component == "gateway" else "WorkersNotReady"
        message = f"{rollout.ready} of {rollout.wanted} {component}s are ready"
        pods = [pod for pod in observed.pods if pod.component == component and not pod.ready and not pod.terminating]
        for pod in sorted(pods, key=lambda pod: pod.name):
            if mount := observed.mount_problems.get(pod.name):
                return Problem("SecretNotMounted", f"{message}; {mount}", lasting=True)
        if rollout.failure:
            return Problem(reason, f"{message}; {rollout.failure}{_details(pods, observed)}", lasting=True)
        return Problem(reason, message + _details(pods, observed), lasting=False)
    return None


def _details(pods: Sequence[Pod], observed: Observed) -> str:
    """What the pods themselves give as a reason: the first one that gives any speaks for all."""
    for pod in pods:
        answer = observed.answers.get(pod.name)
        if why := pod.trouble or (answer.reason if answer and not answer.ready else ""):
            return f"; {pod.name}: {why}"
    return ""


def _summary(observed: Observed) -> str:
    return f"{observed.gateways.ready} gateways and {observed.workers.ready} workers are ready"
