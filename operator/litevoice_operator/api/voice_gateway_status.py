"""Status of a VoiceGateway: what the operator sees, bounded in size."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from litevoice_operator.api.base import Api, Int32, Int64
from litevoice_operator.api.conditions import Conditions

MAX_LISTED_PODS = 50
MAX_LISTED_REVISIONS = 10
MAX_LISTED_DRAINS = 10


class WorkersStatus(Api):
    """The workers."""

    replicas: Int32 = 0
    """Workers that exist."""
    ready_replicas: Int32 = 0
    """Workers that are ready."""
    desired_replicas: Int32 = 0
    """Workers that there should be: `workers.replicas`, or what `workers.autoscaling` makes of their load."""


class GatewayPod(Api):
    """One gateway pod; the numbers are absent if it did not answer."""

    name: str
    """Name of the pod."""
    node: str = ""
    """Node it runs on."""
    ip: str = ""
    """Address of the pod."""
    ready: bool = False
    """Whether it accepts new sessions."""
    accepting: bool | None = None
    """Whether the Service sends new clients to it (label `litevoice.dev/accepting`), once it is ready."""
    sessions: Int32 | None = None
    """Sessions it holds."""
    pending_requests: Int32 | None = None
    """Packets published to the broker that no worker has taken yet."""
    slow_readers: Int32 | None = None
    """Sessions whose client reads too slowly; their replies wait at the broker."""
    draining: bool | None = None
    """Whether it is draining."""
    full: Annotated[str, Field(max_length=64)] = ""
    """Why it takes no new sessions: sessions (`session.maxPerPod`), memory (`session.maxHeldMebibytes`), gateway_cpu
    (its event loop is late), worker_sessions (the workers are at their limit), worker_lag (workers are behind),
    worker_cpu (they use nearly all of it)."""


class Revision(Api):
    """The gateways of one version of their pod template."""

    revision: str
    """Its pods' label `pod-template-hash`."""
    newest: bool = False
    """Whether it is what the spec asks for now; the others are being replaced."""
    desired: Int32 = 0
    """Gateways that its ReplicaSet is to have."""
    ready: Int32 = 0
    """Gateways that are ready and stay."""
    draining: Int32 = 0
    """Gateways that were told to go, or end, and are not gone yet."""
    sessions: Int32 = 0
    """Sessions of its gateways that answered."""
    capacity: Int32 = 0
    """Sessions that those of its gateways can hold that are ready and stay."""


class LastDrain(Api):
    """A gateway that finished draining."""

    pod: str
    """Name of the pod."""
    moved: Int32 = 0
    """Sessions whose client was asked to reconnect, and answered."""
    completed: Int32 = 0
    """Sessions that ended on their own during the drain."""
    forced: Int32 = 0
    """Sessions that were cut: their client did not answer, or does not come back and was closed at the time limit."""
    lost_packets: Int32 = 0
    """Packets accepted from clients but not confirmed by the broker."""
    duration_seconds: float = 0.0
    """How long it took."""
    finished_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When the gateway's container ended."""


class VoiceGatewayStatus(Api):
    """Observed state."""

    observed_generation: Int64 | None = None
    """metadata.generation that this status refers to."""
    conditions: Conditions = Field(default_factory=list)
    """Ready, Reconciling, Stalled, PluginsHealthy, Available, BrokerReady, DrainFits, ScalingLimited, Paused,
    CRDOutdated."""
    topic_prefix: Annotated[str, Field(max_length=256)] = ""
    """Begins the names of topics that the spec does not name: `lv-<namespace>_<name>`. A VoiceGateway of an early
    release keeps `lv-<namespace>-<name>`."""
    replicas: Int32 = 0
    """Gateways that exist."""
    ready_replicas: Int32 = 0
    """Gateways that are ready."""
    accepting_replicas: Int32 = 0
    """Ready gateways that the Service sends new clients to: not those that drain or are nearly full."""
    desired_replicas: Int32 = 0
    """Gateways that there should be: `spec.replicas`, or what `spec.autoscaling` makes of the sessions."""
    draining_replicas: Int32 = 0
    """Gateways that were told to go, or end, and are not gone yet."""
    revisions: Annotated[list[Revision], Field(max_length=MAX_LISTED_REVISIONS)] = Field(default_factory=list)
    """The versions of their pod template that gateways are of, at most 10: the newest first, then those with the most
    sessions."""
    partitions: Int32 = 0
    """Partitions that gateways make sessions for. Fewer than `spec.rocketmq.partitions` while workers do not all know
    that there are more."""
    selector: str = ""
    """Label selector of the gateways, for autoscalers."""
    full: Annotated[str, Field(max_length=256)] = ""
    """What the gateways are full of, when none of them takes new sessions; see `pods[].full`."""
    workers: WorkersStatus = WorkersStatus()
    """The workers."""
    sessions: Int32 = 0
    """Sessions of all gateways that answered."""
    capacity: Int32 = 0
    """Sessions that the gateways can hold that are ready and stay (`session.maxPerPod` of each), those that they hold
    among them."""
    pods: Annotated[list[GatewayPod], Field(max_length=MAX_LISTED_PODS)] = Field(default_factory=list)
    """The gateways by name, the first 50."""
    last_drain: LastDrain | None = None
    """The last gateway that finished draining."""
    last_drains: Annotated[list[LastDrain], Field(max_length=MAX_LISTED_DRAINS)] = Field(default_factory=list)
    """The last 10 of them, the newest first."""
