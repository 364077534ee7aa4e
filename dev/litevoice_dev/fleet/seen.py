"""What the API server and the gateways say → what is written down, and whether a step has come about. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from litevoice_contracts.control import GatewayStatus
from litevoice_dev.fleet.records import PodSeen
from litevoice_operator.observe.pods import Pod


def seen(pod: Pod, answer: GatewayStatus | None, cordoned: Collection[str]) -> PodSeen:
    """`answer`: None when it gave none; `cordoned`: names of nodes."""
    drains = answer is not None and answer.drain.state != "none"
    return PodSeen(
        pod.name,
        pod.node,
        pod.revision,
        ready=pod.ready,
        going=pod.goes_first or pod.terminating or drains,
        cordoned=pod.node in cordoned,
        sessions=answer.sessions if answer else None,
        in_turn=answer.in_turn if answer else 0,
    )


def settled(gateway: Mapping[str, Any], pods: int, replicas: int) -> bool:
    """So many gateways of one version, all ready, none on its way out, and the operator says so of this spec.
    `gateway`: the VoiceGateway; `pods`: gateway pods that exist."""
    status = gateway.get("status", {})
    said = {one["type"]: one["status"] for one in status.get("conditions", [])}
    revisions = [
        (one.get("newest"), one.get("desired"), one.get("ready"), one.get("draining"))
        for one in status.get("revisions", [])
    ]
    return (
        status.get("observedGeneration") == gateway["metadata"]["generation"]
        and (said.get("Ready"), said.get("Reconciling")) == ("True", "False")
        and revisions == [(True, replicas, replicas, 0)]
        and pods == replicas
    )
