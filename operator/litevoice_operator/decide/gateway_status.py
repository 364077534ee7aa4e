"""Status of a VoiceGateway: what was observed → conditions, numbers, table of pods."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_contracts.control import GatewayStatus
from litevoice_operator.api.conditions import READY, RECONCILING, STALLED
from litevoice_operator.api.labels import selector_text
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway_status import (
    MAX_LISTED_PODS,
    GatewayPod,
    VoiceGatewayStatus,
    WorkersStatus,
)
from litevoice_operator.decide.conditions import Finding, Problem, conditions
from litevoice_operator.observe.pods import Pod, newest_drain
from litevoice_operator.observe.voice_gateway import Observed


def gateway_status(
    metadata: Metadata, observed: Observed, problem: Problem | None, previous: VoiceGatewayStatus, now: float
) -> VoiceGatewayStatus:
    """`problem`: with spec, broker or Kubernetes; None if everything was applied. `now` in Unix seconds."""
    gateways = sorted((pod for pod in observed.pods if pod.component == "gateway"), key=lambda pod: pod.name)
    return VoiceGatewayStatus(
        observed_generation=metadata.generation,
        conditions=conditions(previous.conditions, _findings(observed, problem), metadata.generation, now),
        replicas=observed.gateways.replicas,
        ready_replicas=observed.gateways.ready,
        selector=selector_text(metadata.name, "gateway"),
        workers=WorkersStatus(replicas=observed.workers.replicas, ready_replicas=observed.workers.ready),
        sessions=sum(answer.sessions for answer in observed.answers.values()),
        full=_full(list(observed.answers.values())),
        pods=[_table_row(pod, observed.answers.get(pod.name)) for pod in gateways[:MAX_LISTED_PODS]],
        last_drain=newest_drain([previous.last_drain, observed.last_drain]),
    )


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
            "full": answer.full,
        }
    )


def _full(answers: Sequence[GatewayStatus]) -> str:
    """Of gateways that a client may reach."""
    reasons = [answer.full for answer in answers if answer.ready]
    return ", ".join(sorted(set(reasons))) if reasons and all(reasons) else ""


def _findings(observed: Observed, problem: Problem | None) -> list[Finding]:
    problem = problem or _problem_of_pods(observed)
    rolling_out = not (observed.gateways.settled and observed.workers.settled)
    if problem is None:
        ready = Finding(READY, "True", "Ready", _summary(observed))
    else:
        ready = Finding(READY, "False", problem.reason, problem.message)
    if problem is not None and problem.lasting:
        return [
            ready,
            Finding(RECONCILING, "False", problem.reason, "waiting for a change"),
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
    """The pods' own reason: the first that gives one speaks for all."""
    for pod in pods:
        answer = observed.answers.get(pod.name)
        if why := pod.trouble or (answer.reason if answer and not answer.ready else ""):
            return f"; {pod.name}: {why}"
    return ""


def _summary(observed: Observed) -> str:
    return f"{observed.gateways.ready} gateways and {observed.workers.ready} workers are ready"
