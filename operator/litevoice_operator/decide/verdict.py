"""Why a caller hears nothing: what is known of a session → one cause in words, and what to do. Pure."""

from __future__ import annotations

from litevoice_contracts.control import SessionInfo, WorkerSession
from litevoice_contracts.operator_api import Cause, SessionReport, Verdict
from litevoice_operator.observe.clocks import apart, off, ours_ahead

STALLED_SECONDS = 2.0
"""Every turn waits for a moment; before this it is no news."""
STUCK_SECONDS = 15.0
"""A model that has given nothing for this long is stuck, as far as its caller is concerned."""
LAGGING_SECONDS = 3.0
SILENT_SECONDS = 10.0
UNCONFIRMED_SECONDS = 3.0

STAGES = {
    "vad": "voice activity detection",
    "turn": "the turn detector",
    "asr": "speech to text",
    "respond": "the answer",
    "tts": "text to speech",
}


def verdict(report: SessionReport) -> Verdict:
    """The first that holds, from the session's owner down to its worker."""
    session = report.session
    if session is None:
        return _not_held(report)
    return _of_owner(report, session) or _of_turn(report, session)


def _not_held(report: SessionReport) -> Verdict:
    """No gateway that answers has it."""
    subscriber, silent = "" if report.subscriber_gone else report.subscriber, report.silent
    if report.broker_error:
        says = f"No gateway says that it holds the session, and the broker does not answer: {report.broker_error}"
        return _told("broker-silent", says, "litevoice doctor", *_pods_of_silent(report))
    if subscriber in silent:
        of = f" of {report.last_client}" if report.last_client else ""
        owns = f"Gateway pod {subscriber} owns the session{of} at the broker"
        says = f"{owns}, and does not answer: it is frozen or cut off."
        return _told(
            "frozen-gateway",
            says,
            f"kubectl get pod {subscriber} -n {report.namespace} -o wide; look at its node",
            f"kubectl delete pod {subscriber} -n {report.namespace}: clients that come back are served elsewhere",
        )
    if subscriber:
        says = f"The broker lists {subscriber} as the owner, and {subscriber} does not know the session."
        return _told(
            "wrong-owner",
            says,
            "The client's next connection takes the session over; until then nobody reads its replies",
            f"If it stays so: kubectl logs {subscriber} -n {report.namespace} | grep {report.session_id}",
        )
    if silent:
        says = f"Nobody who answers holds the session, and {_listed(silent)} did not answer."
        return _told("owner-unknown", says, *_pods_of_silent(report))
    shut = [one for one in report.full if one.endswith((": sessions", ": memory"))]  # also for who comes back
    if report.written > 0 and shut and len(shut) == len(report.clocks):
        says = f"No gateway holds the session, and none takes its client back: {_listed(shut)}."
        return _told("full", says, "kubectl get vgw -A -o wide", "More gateways or workers: docs/sizing.md")
    if report.written > 0:
        of = f", of {report.last_client}" if report.last_client else ""
        had = f" {report.last_pod} had it last{of}." if report.last_pod else ""
        gone = f" The broker still lists {report.subscriber}, a pod that is gone." if report.subscriber_gone else ""
        wrote = f"its LiteTopic has {report.written} messages"
        says = f"No gateway holds the session, and {wrote}: its client has left, or has not come back yet."
        return _told(
            "orphan",
            says + had + gone,
            "Nothing, if the caller hung up; it ends with rocketmq.expirationMinutes",
            "If callers should have come back: does their client reconnect with session_id and last_event_id?",
        )
    if report.full:
        says = f"The session does not exist, and new ones are refused: {_listed(report.full)}."
        late = any(one.endswith(": worker_lag") for one in report.full)
        clocks = ["litevoice doctor: a worker whose clock is ahead takes itself for late"] if late else []
        return _told("full", says, *clocks, "kubectl get vgw -A -o wide", "More gateways or workers: docs/sizing.md")
    says = "No gateway and no LiteTopic knows the session: it never was, has expired, or is another VoiceGateway's."
    return _told("unknown-session", says, "litevoice find --client ADDRESS")


def _of_owner(report: SessionReport, session: SessionInfo) -> Verdict | None:
    """What is wrong between the client, its gateway and the broker."""
    pod, subscriber = report.pod, report.subscriber
    if session.stage == "restoring":
        says = f"Gateway pod {pod} is taking the session over, for {session.age_seconds:.0f} s."
        return _told("restoring", says, "Longer than some seconds: litevoice doctor; the broker is slow or away")
    if not session.reading:
        says = f"The client {session.client} reads too slowly: its replies wait at the broker."
        return _told("slow-reader", says, "The client and its network; litevoice has nothing to repair here")
    if subscriber not in ("", pod):
        says = f"{pod} serves the client, and the broker lists {subscriber} as the owner: replies go there."
        return _told(
            "wrong-owner",
            says,
            f"If it stays so for 10 s: kubectl logs {pod} -n {report.namespace} | grep {report.session_id}",
            "The client's next connection takes the session over",
        )
    if session.unconfirmed_seconds >= UNCONFIRMED_SECONDS:
        says = (
            f"The broker has not confirmed {session.unconfirmed} packets of {pod}, "
            f"and nothing at all for {session.unconfirmed_seconds:.0f} s: the link to it is cut, or it is down."
        )
        return _told("link-cut", says, "litevoice doctor", f"litevoice sessions --sort stalled: only {pod}, or all?")
    if not report.broker_error and not subscriber and report.written > session.next_position:
        says = f"{pod} serves the client, and the broker lists no owner: {_waiting(report, session)} replies wait."
        return _told("lost-subscription", says, f"It heals within 5 s; else: kubectl delete pod {pod}")
    if not report.broker_error and session.stalled_seconds < STALLED_SECONDS < session.last_reply_seconds:
        return _lost_wakeup(report, session)
    return None


def _of_turn(report: SessionReport, session: SessionInfo) -> Verdict:
    """What its worker makes of it."""
    if session.stalled_seconds < STALLED_SECONDS:
        return _no_turn(report, session)
    worker = report.worker_session
    stalled = f"The turn has made no progress for {session.stalled_seconds:.0f} s"
    if not report.broker_error and not report.holders:
        says = f"{stalled}: no worker reads partition {report.partition}."
        return _told(
            "dead-worker", says, f"kubectl get pods -n {report.namespace} -l app.kubernetes.io/component=worker"
        )
    if report.worker_answers is False:
        says = f"{stalled}: worker pod {report.worker} reads partition {report.partition} and does not answer."
        return _told(
            "dead-worker",
            says,
            f"kubectl get pod {report.worker} -n {report.namespace} -o wide; look at its node",
            f"kubectl delete pod {report.worker} -n {report.namespace}: another worker takes the partition at once",
        )
    if worker is not None and worker.stage in ("asr", "respond", "tts") and worker.stage_seconds >= STALLED_SECONDS:
        stuck = worker.stage_seconds >= STUCK_SECONDS
        says = (
            f"{stalled}: worker {report.worker} waits for {STAGES[worker.stage]} ({worker.stage}) "
            f"for {worker.stage_seconds:.0f} s{_endpoint(worker)}."
        )
        return _told(
            "stuck-model" if stuck else "slow-model",
            says,
            *_of_model(worker.stage, worker.endpoint),
            "litevoice top --by stalled: this session only, this worker's, or all?",
        )
    age = report.partition_age_seconds if report.partition_backlog > 0 else 0.0
    if not _off(report):  # what workers say of themselves is by two clocks, what the broker says by its own
        age = max(age, session.behind_seconds)
    if age >= LAGGING_SECONDS:
        says = (
            f"{stalled}: partition {report.partition} is {age:.0f} s behind "
            f"({max(report.partition_backlog, 0)} messages); worker {report.worker} is alive."
        )
        return _told(
            "lagging-partition", says, "litevoice partitions", "More workers, or more CPU for them: docs/sizing.md"
        )
    if lost := None if report.broker_error else _lost_wakeup(report, session):
        return lost
    if report.worker_answers and worker is None:
        says = f"{stalled}: worker {report.worker} does not have the session in memory: it restarted, or forgot it."
        return _told(
            "worker-lost-turn",
            says,
            f"The gateway asks, and sends the turn again (so far: {session.replays} times)",
            f"kubectl logs {report.worker} -n {report.namespace} | grep {report.session_id}",
        )
    if worker is not None and (worker.stage == "vad" or worker.queued_packets):
        says = f"{stalled}: worker {report.worker} has {worker.queued_packets} packets still to hear."
        return _told("worker-behind", says, "The worker's CPU: litevoice_worker_busy", "More workers: docs/sizing.md")
    if worker is not None and worker.stage == "publishing":
        waits = f"the broker has not confirmed a message of worker {report.worker} for {worker.stage_seconds:.0f} s"
        says = f"{stalled}: {waits}."
        return _told(
            "worker-unconfirmed", says, "litevoice doctor", f"kubectl logs {report.worker} -n {report.namespace}"
        )
    if session.stage == "listening":
        says = "The worker hears speech that has not ended: the caller speaks, or something is loud near it."
        return _told("speaking", says, "session.turn_detection of the client, if callers are never answered")
    says = f"{stalled}, and worker {report.worker or 'unknown'} says that it has nothing to do."
    return _told(
        "worker-done",
        says,
        f"kubectl logs {report.worker} -n {report.namespace} | grep {report.session_id}",
        "litevoice_gateway_dropped_total: events that did not count",
    )


def _no_turn(report: SessionReport, session: SessionInfo) -> Verdict:
    if report.pod_ending or session.stage == "closing":
        says = f"Gateway pod {report.pod} is ending, and the session moves to another one."
        return _told("draining", says, "litevoice drains")
    failure = report.worker_session.failure if report.worker_session else None
    if failure is not None:
        to_blame = f" {failure.endpoint}:" if failure.endpoint else ""
        says = (
            f"Nothing waits, but {STAGES.get(failure.stage, failure.stage)} ({failure.stage}) has failed "
            f"{failure.seconds:.0f} s ago at worker {report.worker}:{to_blame} {failure.says}."
        )
        return _told("failing-model", says, *_of_model(failure.stage, failure.endpoint))
    if session.silent_seconds >= SILENT_SECONDS:
        says = f"The client {session.client} has sent nothing for {session.silent_seconds:.0f} s, and nothing waits."
        return _told(
            "caller-silent",
            says,
            "Its microphone, or its network: TCP keep-alive ends a dead connection within a minute",
        )
    if clocks := _off(report):
        return _clock_off(report, clocks)
    return _told("healthy", "Nothing waits: the client sends, and no turn is open for longer than usual.")


def _off(report: SessionReport) -> dict[str, float]:
    """Pods of the session whose clock is off, and how far."""
    return off({pod: by for pod, by in report.clocks.items() if pod in (report.pod, report.worker)})


def _clock_off(report: SessionReport, clocks: dict[str, float]) -> Verdict:
    if (ours := ours_ahead(report.clocks)) is not None:
        says = f"The clock of the operator is {apart(ours)} those of all pods that answer."
        return _told("clock-off", says, "The clock of the operator's node (chrony, ntpd)")
    listed = ", ".join(f"{pod} is {apart(by)} that of the operator" for pod, by in clocks.items())
    harm = "Nothing waits, but a worker that takes itself for late makes gateways refuse new sessions (worker_lag)."
    looks = [
        f"The clock of its node (chrony, ntpd): kubectl get pod {pod} -n {report.namespace} -o wide" for pod in clocks
    ]
    return _told("clock-off", f"The clock of {listed}. {harm}", *looks)


def _endpoint(worker: WorkerSession) -> str:
    """Whom a stage waits for, and whom it has waited for in vain."""
    at = f" at {worker.endpoint}" if worker.endpoint else ""
    tries = f", request {worker.tries}" if worker.tries > 1 else ""
    failed = f"; before, {worker.failed_endpoint}: {worker.failed_says}" if worker.failed_endpoint else ""
    return f"{at}{tries}{failed}"


def _of_model(stage: str, endpoint: str) -> list[str]:
    """What to look at."""
    if not endpoint:
        return [f"The plug-in of spec.pipelines[] for this stage; litevoice_worker_stage_seconds{{stage='{stage}'}}"]
    return [
        f"The model endpoint {endpoint}",
        "litevoice_worker_model_call_seconds, litevoice_worker_model_errors_total: this endpoint only, or all?",
    ]


def _lost_wakeup(report: SessionReport, session: SessionInfo) -> Verdict | None:
    if (waiting := _waiting(report, session)) <= 0:
        return None
    says = f"{waiting} replies wait at the broker, and {report.pod} was not told: a lost wake-up (RocketMQ #11191)."
    return _told("lost-wakeup", says, "The gateway looks for them itself within seconds; its next reply wakes it, too")


def _waiting(report: SessionReport, session: SessionInfo) -> int:
    return report.written - session.next_position


def _pods_of_silent(report: SessionReport) -> list[str]:
    return [f"kubectl get pod {pod} -n {report.namespace} -o wide" for pod in report.silent[:3]]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _told(cause: Cause, says: str, *todo: str) -> Verdict:
    return Verdict(cause, says, list(todo))
