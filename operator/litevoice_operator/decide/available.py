"""Whether callers are served, though not all may be as it should, and whether the broker has what they need."""

from __future__ import annotations

import math

from litevoice_operator.api.conditions import AVAILABLE, BROKER_READY
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.conditions import Finding, Problem
from litevoice_operator.observe.voice_gateway import Observed


def needed(wanted: int, max_unavailable_percent: int | None) -> int:
    """Pods that must be ready: without as many as a drain of nodes may take at a time, but one at least."""
    away = 1 if max_unavailable_percent is None else math.ceil(wanted * max_unavailable_percent / 100)
    return min(wanted, max(1, wanted - away))


def available_finding(observed: Observed, spec: VoiceGatewaySpec | None) -> Finding:
    """`spec`: None while it is invalid, and what was there before goes on."""
    too_few = []
    for noun, rollout, pod in (
        ("gateways", observed.gateways, spec.pod if spec else None),
        ("workers", observed.workers, spec.workers.pod if spec else None),
    ):
        least = needed(rollout.wanted, pod.max_unavailable_percent if pod else None)
        stays = rollout.ready + (observed.draining_by_choice if noun == "gateways" else 0)
        if stays < least:
            too_few.append(f"{rollout.ready} of {rollout.wanted} {noun} are ready, {least} are needed")
    if too_few:
        return Finding(AVAILABLE, "False", "TooFewReady", "; ".join(too_few))
    message = f"{observed.gateways.ready} gateways and {observed.workers.ready} workers are ready"
    return Finding(AVAILABLE, "True", "EnoughReady", message)


def broker_finding(problem: Problem | None) -> Finding:
    """`problem`: why topics and groups are not as wanted."""
    if problem is not None:
        return Finding(BROKER_READY, "False", problem.reason, problem.message)
    return Finding(BROKER_READY, "True", "NamesAtBroker", "topics and groups are at the broker")
