"""BacklogAlert: alerts when requests or replies of a VoiceGateway pile up at the broker, or turns make no progress, and
names their sessions."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from litevoice_operator.api.base import Api, Int32, Int64, keyed_by, rules
from litevoice_operator.api.conditions import Conditions

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From mildest to worst."""

CHANNEL_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
PLACEHOLDERS = (
    *("namespace", "alert", "gateway", "target", "severity", "messages", "ageSeconds", "sessions"),
    *("session", "pod", "node", "client"),
)
PLACEHOLDER = r"\{\{ *(" + "|".join(PLACEHOLDERS) + r") *\}\}"
"""In a template of an annotation."""
MAX_TOP = 20
MAX_ROUTES = 8
MAX_TOLD = MAX_ROUTES + 1
MAX_PER_MINUTE = 6
MAX_HEALED = 30
AlertPhase = Literal["Inactive", "Pending", "Firing"]
Target = Literal["Replies", "Requests", "Turns"]
Owner = Literal["Held", "Orphaned", "Unknown"]
HealedBy = Literal["Heal", "Move"]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
BoundedTime = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]


class GatewayRef(Api):
    """A VoiceGateway in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=50)]
    """Name of the VoiceGateway."""


class PerSession(Api):
    """Reached by a session when either of the given values is reached."""

    model_config = rules(
        ("has(self.messages) || has(self.ageSeconds)", "at least one of messages and ageSeconds is needed")
    )

    messages: Annotated[Int64 | None, Field(ge=1, le=1_000_000_000)] = None
    """Messages waiting for one session."""
    age_seconds: Annotated[Int32 | None, Field(ge=1, le=604_800)] = None
    """Age of the oldest message waiting for one session; of an open turn, since it last made progress (Turns)."""


class Threshold(Api):
    """Reached when any of the given values is reached."""

    model_config = rules(
        (
            "has(self.messages) || has(self.ageSeconds) || has(self.perSession)",
            "at least one of perSession, messages and ageSeconds is needed",
        ),
        (
            "!has(self.sessions) || has(self.perSession)",
            "sessions counts those that are over perSession, which is missing",
        ),
    )

    severity: Severity
    """Severity of this threshold."""
    per_session: PerSession | None = None
    """For each session alone: reached when as many as `sessions` are over it."""
    sessions: Annotated[Int32 | None, Field(ge=1, le=1_000_000)] = None
    """How many sessions must be over `perSession`; 1 when absent. Requests, Turns: at most 1,000 of each gateway are
    counted."""
    messages: Annotated[Int64 | None, Field(ge=1, le=1_000_000_000)] = None
    """Messages waiting, summed over all sessions (Replies) or partitions (Requests)."""
    age_seconds: Annotated[Int32 | None, Field(ge=1, le=604_800)] = None
    """Age of the oldest waiting message; of the turn that has made no progress for longest (Turns)."""


class Silence(Api):
    """For a time, its channels are told nothing."""

    model_config = rules(
        (
            "self.endsAt > self.startsAt && self.endsAt - self.startsAt <= duration('720h')",
            "endsAt: after startsAt, and at most 30 days later",
        )
    )

    starts_at: BoundedTime
    """From when on."""
    ends_at: BoundedTime
    """Until when; at most 30 days after `startsAt`."""
    author: Annotated[str, Field(min_length=1, max_length=100)]
    """Who wants it."""
    reason: Annotated[str, Field(max_length=500)] = ""
    """Why."""


class Healing(Api):
    """Has gateways cure what they can: replies that wait although a gateway serves the session, because a subscription
    or a wake-up was lost or the broker lists another owner. Nothing is lost or doubled. Each act is an Event of the
    VoiceGateway and an entry of `status.healed`; none while a gateway is draining or ending, or the VoiceGateway is
    paused."""

    per_minute: Annotated[Int32, Field(ge=1, le=MAX_PER_MINUTE)]
    """At most so many acts."""
    move: bool = False
    """When taking a session over again was in vain, also close its connection as in a drain: its client comes back, to
    any gateway. Only those that have shown that they can."""


def _known_placeholders(annotations: dict[str, str]) -> dict[str, str]:
    """Raises ValueError that names the annotation."""
    for name, template in annotations.items():
        rest = re.sub(PLACEHOLDER, "", template)
        if "{{" in rest or "}}" in rest:
            raise ValueError(f"{name}: only {{{{name}}}} with one of {', '.join(PLACEHOLDERS)}, got {template!r}")
    return annotations


class BacklogAlertSpec(Api):
    """What to watch, and what counts as a backlog."""

    model_config = rules(
        (
            "self.target != 'Turns' || self.thresholds.all(threshold, !has(threshold.messages) && "
            "(!has(threshold.perSession) || !has(threshold.perSession.messages)))",
            "thresholds: with target Turns a turn has an age, not messages: use ageSeconds, here or in perSession",
        ),
        (
            "self.target != 'Requests' || !has(self.healing)",
            "healing: with target Requests, workers are behind, and gateways cannot cure it: use Replies or Turns",
        ),
    )

    gateway_ref: GatewayRef
    """The VoiceGateway to watch, in the same namespace."""
    target: Target
    """Replies: what gateways have not yet taken for their clients (a client reads too slowly, or its gateway was killed
    and it has not come back); nothing waits for a client that has left. Requests: what workers have not yet taken (too
    few workers, or a slow model). Turns: open turns that make no progress, as gateways report them (a model or a worker
    is stuck)."""
    thresholds: Annotated[
        list[Threshold],
        Field(
            min_length=1,
            max_length=3,
            json_schema_extra=keyed_by("severity"),
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
    routes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=50, pattern=CHANNEL_NAME)]],
        Field(max_length=MAX_ROUTES, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Channels that are told: names of the chart's `alerts.channels`. Events are posted in any case."""
    group_by: Literal["Alert", "Pod"] = "Alert"
    """Pod: channels get one alert for each gateway pod among the sessions that the status lists, with the label `pod`;
    Alert: one for all."""
    max_alerts: Annotated[Int32, Field(ge=1, le=MAX_TOP)] = 10
    """With groupBy Pod: more pods than that are told as one alert."""
    silences: Annotated[list[Silence], Field(max_length=10)] = Field(default_factory=list)
    """When channels are told nothing. What still fires when a silence ends is told then."""
    suppress_during_drain: bool = False
    """Tell channels nothing while a gateway pod of the VoiceGateway is draining or ending; never holds back severity
    critical."""
    runbook_url: Annotated[str, Field(max_length=500, pattern=r"^(https?://.+)?$")] = ""
    """Where it is written what to do; goes along as the annotation `runbook_url`."""
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=500)]], Field(max_length=10), AfterValidator(_known_placeholders)
    ] = Field(default_factory=dict)
    """Annotations for channels. These names in double braces stand for their values: namespace, alert, gateway, target,
    severity, messages, ageSeconds, sessions, and of the worst session: session, pod, node, client."""
    dry_run: bool = False
    """Only measure and write the status: no Events, no channels, no metric that fires, no healing."""
    healing: Healing | None = None
    """While the alert fires, have gateways cure what is stuck among `status.top`; absent: they do not."""


class BacklogValue(Api):
    """The last measurement."""

    messages: Int64
    """Messages waiting."""
    age_seconds: Int32
    """Age of the oldest of them, or of the turn that waits longest; 0 if none waits."""
    sessions: Int32 = 0
    """Sessions for which something waits, as far as they are known."""


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
    """Gateway pod that holds the session; of owner Unknown the one that the broker lists, and that does not answer."""
    node: str = ""
    """Node of that pod."""
    client: str = ""
    """Address of the client, host:port."""
    owner: Owner | None = None
    """Held: a gateway holds the session. Orphaned: none does, and the client may come back. Unknown: no gateway says
    that it does, and not all have answered."""


class Told(Api):
    """What one recipient knows."""

    recipient: Annotated[str, Field(max_length=63)]
    """Name of a channel; `events` for the Events on this object."""
    transition: Annotated[str, Field(max_length=100)]
    """The last transition that it was told, as in `lastTransition`."""


class Healed(Api):
    """What was done about a session that was stuck."""

    session: Annotated[str, Field(max_length=64)]
    """Session id."""
    by: HealedBy
    """Heal: its gateway took its LiteTopic over again. Move: its connection was closed as in a drain."""
    cause: Annotated[str, Field(max_length=50)]
    """Why it was stuck, as `litevoice why` says."""
    pod: Annotated[str, Field(max_length=253)]
    """Its gateway pod."""
    at: Time
    """When."""
    result: Annotated[str, Field(max_length=300)]
    """What came of it."""


class BacklogAlertStatus(Api):
    """Observed state."""

    observed_generation: Int64 | None = None
    """metadata.generation that this status refers to."""
    conditions: Conditions = Field(default_factory=list)
    """Ready: the backlog can be measured, however large it is. Firing: the alert is firing. Blind: broker or gateways
    do not answer, so the alert stays as it was. Routed: the channels of its routes are told.
    CRDOutdated: the installed CRD is older than the operator."""
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
    """Where the backlog is, worst first; empty while the alert is inactive."""
    healed: Annotated[list[Healed], Field(max_length=MAX_HEALED)] = Field(default_factory=list)
    """The latest acts of `healing`, the newest last."""
    last_transition: Annotated[str, Field(max_length=100)] = ""
    """What happened last: Firing or Escalated with its severity, or Resolved, and when."""
    told: Annotated[
        list[Told],
        Field(
            max_length=MAX_TOLD,
            json_schema_extra=keyed_by("recipient"),
        ),
    ] = Field(default_factory=list)
    """Who knows what, so that nobody is told twice, also after a restart of the operator."""
    blind_told: bool = False
    """It was told that the alert is blind, and not yet that it sees again."""
