"""metav1.Condition, and the names of the conditions that litevoice reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from litevoice_operator.api.base import Api, Int64, keyed_by

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
AVAILABLE = "Available"
BROKER_READY = "BrokerReady"
FIRING = "Firing"
BLIND = "Blind"
ROUTED = "Routed"
CRD_OUTDATED = "CRDOutdated"
DRAIN_FITS = "DrainFits"
SCALING_LIMITED = "ScalingLimited"
PAUSED = "Paused"
PLUGINS_HEALTHY = "PluginsHealthy"

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Api):
    """One observation of the object's state."""

    type: Annotated[str, Field(max_length=316)]
    """Ready: everything is there and works. Reconciling: the operator is working towards that. Stalled: it cannot get
    there until somebody changes something. Available: callers are served, though something may be missing.
    BrokerReady: topics and groups are at the broker. Firing: the alert is firing. Blind: what it watches cannot be
    seen at the moment, so it stays as it was. Routed: the channels of its routes are told. DrainFits: a full gateway
    can be drained in time. ScalingLimited: there are more or fewer gateways or workers than the load asks for. Paused:
    `spec.paused` keeps the operator from changing anything. PluginsHealthy: no plug-in of `spec.pipelines[]` had to be
    started again lately. CRDOutdated: the installed CRD is older than the operator; the message names the fields that
    it drops."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Annotated[Int64 | None, Field(ge=0)] = None
    """metadata.generation that this condition refers to."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, as one word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, as a sentence; names the field, if it is about one."""


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra=keyed_by("type"), max_length=16),
]
