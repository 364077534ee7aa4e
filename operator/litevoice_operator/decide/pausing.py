"""`spec.paused`: the operator looks and changes nothing, and says so."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_operator.api.conditions import PAUSED, SCALING_LIMITED, Condition
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.notifications import EventText

_CHANGES_NOTHING = "spec.paused is true: the operator changes neither objects nor topics, and scales nothing"


def paused_finding(paused: bool) -> Finding:
    if paused:
        return Finding(PAUSED, "True", "Paused", _CHANGES_NOTHING)
    return Finding(PAUSED, "False", "Acting", "the operator makes what the spec says")


def scaling_paused() -> Finding:
    return Finding(SCALING_LIMITED, "True", "Paused", "spec.paused is true: there are as many as before")


def scaling_taken_over() -> Finding:
    message = "the gateways of an earlier release are being taken over: there are as many as before"
    return Finding(SCALING_LIMITED, "True", "TakingOver", message)


def paused_event(previous: Sequence[Condition], paused: bool, generation: int) -> EventText | None:
    """`previous`: conditions as last written. Until they are written anew the same Event is returned again, to be
    posted once."""
    before = any(condition.type == PAUSED and condition.status == "True" for condition in previous)
    if paused == before:
        return None
    once = f"paused {paused} at generation {generation}", 0.0
    if paused:
        return EventText("Normal", "Paused", _CHANGES_NOTHING, once)
    return EventText("Normal", "Resumed", "the operator makes what the spec says again", once)
