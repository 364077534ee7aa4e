"""BacklogAlert: tells when requests or replies of a VoiceGateway pile up at the broker, and whose they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from litevoice_operator.api.base import Api, Int32, Int64, rules
from litevoice_operator.api.conditions import Conditions

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From the mildest to the worst."""

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
    """How bad it is."""
    messages: Annotated[Int64 | None, Field(ge=1, le=1_000_000_000)] = None
    """Messages that wait, summed over all sessions (Replies) or partitions (Requests)."""
    age_seconds: Annotated[Int32 | None, Field(ge=1, le=604_800)] = None
    """Age of the oldest message that waits."""


class BacklogAlertSpec(Api):
    """What to watch, and from when on it is a backlog."""

    gateway_ref: GatewayRef
    """The VoiceGateway to watch, in the same namespace."""
    target: Target
    """Replies: what gateways have not taken for their sessions' clients (a client that reads too slowly); what
    waits for a client that has left does not count. Requests:
    what workers have not taken (too few workers, or a slow model)."""
    thresholds: Annotated[
        list[Threshold],
        Field(
            min_length=1,
            max_length=3,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["severity"]},
        ),
    ]
    """One per severity; the worst one that is reached counts."""
    for_seconds: Annotated[Int32, Field(ge=0, le=86_400)] = 30
    """How long a threshold must be exceeded without a break before the alert fires."""
    keep_firing_for_seconds: Annotated[Int32, Field(ge=0, le=86_400)] = 0
    """How long the value must stay below the clear level before the alert is resolved."""
    clear_below_percent: Annotated[Int32, Field(ge=1, le=100)] = 80
    """The clear level in percent of the threshold, so that an alert does not flap around it."""
    top: Annotated[Int32, Field(ge=1, le=MAX_TOP)] = 5
    """How many sessions the status lists."""


class BacklogValue(Api):
    """What was measured last."""

    messages: Int64
    """Messages that wait."""
    age_seconds: Int32
    """Age of the oldest of them; 0 when none waits."""


class Culprit(Api):
    """A session or a partition with a backlog, and who holds it."""

    session: str = ""
    """Session id; empty when only the partition is known."""
    partition: Int32 | None = None
    """Request partition (target Requests)."""
    backlog: Int64
    """Messages that wait."""
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
    """metadata.generation that this status is about."""
    conditions: Conditions = Field(default_factory=list)
    """Ready: the backlog can be measured; it does not depend on how large it is. Firing: the alert fires. CRDOutdated:
    the installed CRD is older than the operator."""
    state: AlertPhase = "Inactive"
    """Inactive; Pending: exceeded, but not for long enough; Firing."""
    severity: Severity | None = None
    """Severity of the worst threshold that is exceeded."""
    since: Time | None = None
    """Since when the state is what it is."""
    clearing_since: Time | None = None
    """Firing, but below the clear level since then; resolved after keepFiringForSeconds."""
    value: BacklogValue | None = None
    """What was measured last."""
    top: Annotated[list[Culprit], Field(max_length=MAX_TOP)] = Field(default_factory=list)
    """Where the backlog is, the largest first; empty while the alert is inactive."""
