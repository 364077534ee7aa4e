"""BacklogAlert: alerts when requests or replies of a VoiceGateway pile up at the broker, and names their sessions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from litevoice_operator.api.base import Api, Int32, Int64, rules
from litevoice_operator.api.conditions import Conditions

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From mildest to worst."""

MAX_TOP = 20
AlertPhase = Literal["Inactive", "Pending", "Firing"]
Target = Literal["Replies", "Requests"]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class GatewayRef(Api):
    """A VoiceGateway in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=50)]
    """Name of the VoiceGateway."""


class Threshold(Api):
    """Reached when either of the given values is reached."""

    model_config = rules(
        ("has(self.messages) || has(self.ageSeconds)", "at least one of messages and ageSeconds is needed")
    )

    severity: Severity
    """Severity of this threshold."""
    messages: Annotated[Int64 | None, Field(ge=1, le=1_000_000_000)] = None
    """Messages waiting, summed over all sessions (Replies) or partitions (Requests)."""
    age_seconds: Annotated[Int32 | None, Field(ge=1, le=604_800)] = None
    """Age of the oldest waiting message."""


class BacklogAlertSpec(Api):
    """What to watch, and what counts as a backlog."""

    gateway_ref: GatewayRef
    """The VoiceGateway to watch, in the same namespace."""
    target: Target
    """Replies: what gateways have not yet taken for their clients (a client reads too slowly); what waits for a client
    that has left does not count. Requests: what workers have not yet taken (too few workers, or a slow model)."""
    thresholds: Annotated[
        list[Threshold],
        Field(
            min_length=1,
            max_length=3,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["severity"]},
        ),
    ]
    """One per severity; the worst one reached counts."""
    for_seconds: Annotated[Int32, Field(ge=0, le=86_400)] = 30
    """How long a threshold must be exceeded without interruption before the alert fires."""
    keep_firing_for_seconds: Annotated[Int32, Field(ge=0, le=86_400)] = 0
    """How long the value must stay below the clear level before the alert is resolved."""
    clear_below_percent: Annotated[Int32, Field(ge=1, le=100)] = 80
    """The clear level, in percent of the threshold; below 100, so that alerts do not flap."""
    top: Annotated[Int32, Field(ge=1, le=MAX_TOP)] = 5
    """How many sessions the status lists."""


class BacklogValue(Api):
    """The last measurement."""

    messages: Int64
    """Messages waiting."""
    age_seconds: Int32
    """Age of the oldest of them; 0 if none waits."""


class Culprit(Api):
    """A session or a partition with a backlog, and who holds it."""

    session: str = ""
    """Session id; empty when only the partition is known."""
    partition: Int32 | None = None
    """Request partition (target Requests)."""
    backlog: Int64
    """Messages waiting."""
    age_seconds: Int32
    """Age of the oldest of them."""
    pod: str = ""
    """Gateway pod that holds the session."""
    node: str = ""
    """Node of that pod."""
    client: str = ""
    """Address of the client, host:port."""


class BacklogAlertStatus(Api):
    """Observed state."""

    observed_generation: Int64 | None = None
    """metadata.generation that this status refers to."""
    conditions: Conditions = Field(default_factory=list)
    """Ready: the backlog can be measured, however large it is. Firing: the alert is firing. CRDOutdated: the installed
    CRD is older than the operator."""
    state: AlertPhase = "Inactive"
    """Inactive; Pending: exceeded, but not for long enough; Firing."""
    severity: Severity | None = None
    """Severity of the worst exceeded threshold."""
    since: Time | None = None
    """When the state last changed."""
    clearing_since: Time | None = None
    """Firing, but below the clear level since then; resolved after keepFiringForSeconds."""
    value: BacklogValue | None = None
    """The last measurement."""
    top: Annotated[list[Culprit], Field(max_length=MAX_TOP)] = Field(default_factory=list)
    """Where the backlog is, largest first; empty while the alert is inactive."""
