"""One look at everything, as the console shows it: from what pods, brokers and alerts have told. Pure."""

from __future__ import annotations

from litevoice_contracts.control import GatewayStatus, WorkerStatus
from litevoice_contracts.operator_api import AlertedSession, ConsoleAlert, ConsolePod, PodState
from litevoice_operator.api.backlog_alert import BacklogAlertStatus
from litevoice_operator.api.conditions import BLIND, READY
from litevoice_operator.api.resource import Key
from litevoice_operator.observe.pods import Pod, should_answer

_TOLD = ((BLIND, "True"), (READY, "False"))


def pod_row(key: Key, pod: Pod, status: GatewayStatus | WorkerStatus | None) -> ConsolePod:
    """`status`: None when it has not answered."""
    row = (*key, pod.name, pod.component, pod.node, pod_state(pod, status))
    if status is None:
        return ConsolePod(*row, about=pod.trouble)
    if isinstance(status, WorkerStatus):
        about = pod.trouble or status.reason
        return ConsolePod(
            *row, status.sessions, status.max_sessions, busy=status.busy, partitions=status.partitions, about=about
        )
    counts = (status.sessions, status.max_sessions, status.in_turn, status.slow_readers, status.pending_requests)
    full = f"full: {status.full}" if status.full else ""
    return ConsolePod(*row, *counts, about=pod.trouble or status.reason or full)


def pod_state(pod: Pod, status: GatewayStatus | WorkerStatus | None) -> PodState:
    drain = status.drain.state if isinstance(status, GatewayStatus) else "none"
    if drain != "none":
        return drain
    if pod.terminating:
        return "ending"
    if status is None and should_answer(pod):
        return "silent"
    return "ready" if pod.ready and (status is None or status.ready) else "not-ready"


def alert_row(key: Key, gateway: str, target: str, status: BacklogAlertStatus) -> ConsoleAlert:
    value = status.value
    return ConsoleAlert(
        *key,
        gateway,
        target,
        status.state,
        status.severity or "",
        status.since or "",
        value.messages if value else 0,
        value.age_seconds if value else 0,
        value.sessions if value else 0,
        [
            AlertedSession(
                one.session,
                -1 if one.partition is None else one.partition,
                one.backlog,
                one.age_seconds,
                one.owner or "",
                one.pod,
                one.node,
                one.client,
            )
            for one in status.top
        ],
        next((message for name, bad in _TOLD if (message := _message(status, name, bad))), ""),
    )


def _message(status: BacklogAlertStatus, name: str, bad: str) -> str:
    """Of the condition, while it is as bad as that."""
    return next((one.message for one in status.conditions if (one.type, one.status) == (name, bad)), "")
