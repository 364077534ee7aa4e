"""What somebody wants done to a gateway or a session: whether it would help, and what it would do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litevoice_contracts.control import GatewayStatus, SessionInfo
from litevoice_contracts.operator_api import Act
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.observe.pods import Pod


@dataclass(frozen=True, slots=True)
class No:
    """Refused: `why`, and what to do instead."""

    why: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """It is so already."""

    says: str


def may_drain(
    pod: Pod, gateways: Sequence[Pod], answers: Mapping[str, GatewayStatus], *, force: bool
) -> No | Nothing | None:
    """None: go on. `gateways`: all of the VoiceGateway; `answers`: of those that do."""
    if pod.terminating:
        return Nothing(f"{pod.name} is ending, and drains anyhow")
    if pod.name not in answers:
        return No(f"{pod.name} does not answer, so it cannot drain: kubectl delete pod {pod.name} -n {pod.namespace}")
    if answers[pod.name].drain.state != "none":
        return Nothing(f"{pod.name} {_stands(answers[pod.name])}")
    others = [other.name for other in gateways if other.name != pod.name and not other.terminating and other.ready]
    if not force and not any(_takes_sessions(answers.get(name)) for name in others):
        return No(f"no other gateway takes sessions: raise spec.replicas of {pod.instance} first, or add --force")
    return None


def may_take_back(pod: Pod, answers: Mapping[str, GatewayStatus]) -> No | Nothing | None:
    if pod.terminating:
        return No(f"{pod.name} was told to end, and drains in any case")
    if pod.name not in answers:
        return No(f"{pod.name} does not answer")
    if pod.goes_first:
        return No(
            f"the operator drains {pod.name}, as fewer gateways are enough or another one replaces it, and would begin "
            f"again: raise spec.replicas of {pod.instance} (spec.autoscaling.minReplicas), change back what has "
            "changed, or uncordon its node, and it takes the drain back itself"
        )
    if answers[pod.name].drain.state == "none":
        return Nothing(f"{pod.name} does not drain")
    return None


def told_who(
    session_id: str, act: Act, holders: Mapping[str, SessionInfo], silent: Sequence[str], subscriber: str
) -> str | No:
    """The gateway whose connection is the newest. `silent`: who should have answered; `subscriber`: who is the owner at
    the broker, "" if nobody is or it is not known."""
    if not holders:
        if silent:
            return No(f"nobody who answers serves {session_id}, and {', '.join(silent[:3])} did not answer")
        return No(f"no gateway serves {session_id}: only its client can bring it back; litevoice why {session_id}")
    if act == "heal" and subscriber in silent:
        return No(f"the broker gives {session_id} to {subscriber}, which does not answer and may be its newest owner")
    return min(holders, key=lambda pod: holders[pod].age_seconds)


def act_event(act: Act, pod: str, session_id: str, user: str) -> EventText:
    match act:
        case "drain":
            return EventText("Normal", "DrainRequested", f"{pod} drains: asked for by {user}")
        case "take-back":
            return EventText("Normal", "DrainCancelled", f"{pod} takes sessions again: asked for by {user}")
        case "move":
            return EventText("Normal", "SessionMoved", f"{session_id} leaves {pod}: asked for by {user}")
        case "heal":
            return EventText("Normal", "SessionHealed", f"{pod} takes {session_id} over again: asked for by {user}")


def _takes_sessions(status: GatewayStatus | None) -> bool:
    return status is not None and status.ready and not status.full and status.drain.state == "none"


def _stands(status: GatewayStatus) -> str:
    drain = status.drain
    counted = f"{drain.moved} moved, {drain.completed} ended, {drain.forced} cut"
    if drain.state == "drained":
        return f"is drained already: {counted}"
    return f"has been draining for {drain.duration_seconds:.0f} s: {status.sessions} sessions left, {counted}"
