"""Status of a VoiceGateway: what was observed → conditions, numbers, table of pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from litevoice_contracts.control import GatewayStatus
from litevoice_operator.api.conditions import READY, RECONCILING, STALLED
from litevoice_operator.api.labels import selector_text
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway_status import (
    MAX_LISTED_PODS,
    MAX_LISTED_REVISIONS,
    GatewayPod,
    Revision,
    VoiceGatewayStatus,
    WorkersStatus,
)
from litevoice_operator.decide.conditions import Finding, Problem, conditions
from litevoice_operator.decide.plugin_health import plugin_finding
from litevoice_operator.observe.pods import Pod, newest_drains
from litevoice_operator.observe.voice_gateway import Observed

STUCK_SECONDS = 600


def gateway_status(
    metadata: Metadata,
    observed: Observed,
    problem: Problem | None,
    previous: VoiceGatewayStatus,
    now: float,
    more: Sequence[Finding] = (),
    *,
    paused: bool = False,
    rolling: Finding | None = None,
    partitions: int | None = None,
) -> VoiceGatewayStatus:
    """`problem`: with spec, broker or Kubernetes; None if everything was applied. `previous`: with the topics' prefix.
    `more`: findings about the spec. `rolling`: what is being replaced. `partitions`: that gateways shall make sessions
    for; None: as before. `now` in Unix seconds."""
    findings = [
        *_findings(observed, problem, paused, rolling, now),
        plugin_finding(observed.pods, observed.worker_answers),
    ]
    gateways = sorted((pod for pod in observed.pods if pod.component == "gateway"), key=lambda pod: pod.name)
    revisions = _revisions(gateways, observed)
    drains = newest_drains([*observed.last_drains, previous.last_drain, *previous.last_drains])
    return VoiceGatewayStatus(
        observed_generation=metadata.generation,
        conditions=conditions(previous.conditions, [*findings, *more], metadata.generation, now),
        topic_prefix=previous.topic_prefix,
        replicas=observed.gateways.replicas,
        ready_replicas=observed.gateways.ready,
        accepting_replicas=sum(pod.ready and not pod.terminating and pod.accepting is not False for pod in gateways),
        desired_replicas=observed.gateways.wanted,
        draining_replicas=sum(one.draining for one in revisions),
        revisions=revisions[:MAX_LISTED_REVISIONS],
        partitions=previous.partitions if partitions is None else partitions,
        selector=selector_text(metadata.name, "gateway"),
        workers=WorkersStatus(
            replicas=observed.workers.replicas,
            ready_replicas=observed.workers.ready,
            desired_replicas=observed.workers.wanted,
        ),
        sessions=sum(answer.sessions for answer in observed.answers.values()),
        capacity=sum(one.capacity for one in revisions),
        full=_full(list(observed.answers.values())),
        pods=[_table_row(pod, observed.answers.get(pod.name)) for pod in gateways[:MAX_LISTED_PODS]],
        last_drain=drains[0] if drains else None,
        last_drains=list(drains),
    )


def _revisions(gateways: Sequence[Pod], observed: Observed) -> list[Revision]:
    """The newest first, then those with the most sessions. Without those that have nothing and are to have nothing."""
    sets: dict[str, int] = {}
    for one in observed.sets:
        sets[one.revision] = sets.get(one.revision, 0) + one.wanted
    found = []
    for revision in {*sets, *(pod.revision for pod in gateways)}:
        own = [pod for pod in gateways if pod.revision == revision]
        if not own and not sets.get(revision):
            continue
        answers = {pod.name: observed.answers[pod.name] for pod in own if pod.name in observed.answers}
        going = {pod.name for pod in own if pod.terminating}
        going |= {name for name, answer in answers.items() if answer.drain.state != "none"}
        stay = [pod.name for pod in own if pod.ready and pod.name not in going]
        found.append(
            Revision(
                revision=revision,
                newest=bool(revision) and revision == observed.newest,
                desired=sets.get(revision, 0),
                ready=len(stay),
                draining=len(going),
                sessions=sum(answer.sessions for answer in answers.values()),
                capacity=sum(answers[name].max_sessions for name in stay if name in answers),
            )
        )
    return sorted(found, key=lambda one: (not one.newest, -one.sessions, -one.desired, one.revision))


def _table_row(pod: Pod, answer: GatewayStatus | None) -> GatewayPod:
    ready = pod.ready and not pod.terminating
    row = GatewayPod(name=pod.name, node=pod.node, ip=pod.ip, ready=ready, accepting=pod.accepting)
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


def _findings(
    observed: Observed, problem: Problem | None, paused: bool, rolling: Finding | None, now: float
) -> list[Finding]:
    problem = problem or _problem_of_pods(observed, now)
    rolling_out = not (observed.gateways.settled and observed.workers.settled)
    if problem is None:
        alone = observed.gateways.wanted == 1
        ready = Finding(READY, "True", "SingleGateway" if alone else "Ready", _summary(observed))
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
    elif rolling is not None:
        unready = [pod for pod in observed.pods if pod.component == "gateway" and not (pod.ready or pod.terminating)]
        reconciling = replace(rolling, message=rolling.message + _details(unready, observed))
    elif rolling_out:
        reconciling = Finding(RECONCILING, "True", "RollingOut", "pods of an older version are being replaced")
    elif paused:
        reconciling = Finding(RECONCILING, "False", "Paused", "spec.paused is true: a changed spec has no effect yet")
    else:
        reconciling = Finding(RECONCILING, "False", "Settled")
    return [ready, reconciling, Finding(STALLED, "False", "Progressing" if problem else "Settled")]


def _problem_of_pods(observed: Observed, now: float) -> Problem | None:
    for component, rollout in (("gateway", observed.gateways), ("worker", observed.workers)):
        if rollout.ready + (observed.draining_by_choice if component == "gateway" else 0) >= rollout.wanted:
            continue
        reason = "GatewaysNotReady" if component == "gateway" else "WorkersNotReady"
        message = f"{rollout.ready} of {rollout.wanted} {component}s are ready"
        pods = [pod for pod in observed.pods if pod.component == component and not pod.ready and not pod.terminating]
        for pod in sorted(pods, key=lambda pod: pod.name):
            if mount := observed.mount_problems.get(pod.name):
                return Problem("SecretNotMounted", f"{message}; {mount}", lasting=True)
        for pod in pods:
            if pod.refused:
                return Problem("SettingsRefused", f"{message}; {pod.name}: {pod.refused}", lasting=True)
        stuck = [pod for pod in pods if component == "gateway" and _is_stuck(pod, now)]
        if stuck:
            return Problem(reason, message + _details(stuck, observed), lasting=True)
        if rollout.failure:
            return Problem(reason, f"{message}; {rollout.failure}{_details(pods, observed)}", lasting=True)
        return Problem(reason, message + _details(pods, observed), lasting=False)
    return None


def _is_stuck(pod: Pod, now: float) -> bool:
    """What a Deployment would call its progress deadline: it says itself why it does not run, for too long."""
    return bool(pod.trouble) and now - (pod.unready_since or pod.created_at) >= STUCK_SECONDS


def _details(pods: Sequence[Pod], observed: Observed) -> str:
    """The pods' own reason: the first that gives one speaks for all."""
    for pod in pods:
        answer = observed.answers.get(pod.name)
        if why := pod.trouble or (answer.reason if answer and not answer.ready else ""):
            return f"; {pod.name}: {why}"
    return ""


def _summary(observed: Observed) -> str:
    gateways, workers = observed.gateways.ready, observed.workers.ready
    if observed.gateways.wanted == 1:
        if observed.cordoned is not None:
            return (
                f"1 gateway and {workers} workers are ready; when its node is drained (kubectl drain), the eviction "
                "waits until the operator has started another one: with spec.replicas 2 or more nothing waits"
            )
        return (
            f"1 gateway and {workers} workers are ready; when its node is drained (kubectl drain), its sessions have "
            "nowhere to go until another one has started: set spec.replicas to 2 or more"
        )
    return f"{gateways} gateways and {workers} workers are ready"
