"""The operator's API for people and their tools: paths and JSON bodies.

Every request carries a Kubernetes token of the audience AUDIENCE, as `Authorization: Bearer` or, where a proxy keeps
that header for itself as the API server does, as TOKEN_HEADER. Its user needs `get` of `voicegateways/sessions`
(litevoice.dev) in the namespaces that the request is about; for what changes something (POST, DELETE), `update`.

What changes something is an act. Its query: `namespace`, `gateway`, `dry_run` (`true`: nothing is changed), `force`
(`true`: although somebody may lose a session). Answer: an ActAnswer, or an error that says why not.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from litevoice_contracts.control import RefusedClient, SessionInfo, WorkerSession

AUDIENCE = "litevoice"
TOKEN_HEADER = "Litevoice-Token"  # noqa: S105 - the name of a header
SESSIONS_PATH = "/v1/sessions"
"""GET; query `namespace`, `gateway`, `client`, `principal`, `since` (seconds: younger ones only), `sort` (of SORTS),
`offset`, `limit` (1 to 1000 together). `/v1/sessions/<id>`: a SessionReport. POST `/v1/sessions/<id>/move`: its
connection is closed as in a drain, and its client comes back; `/v1/sessions/<id>/heal`: its gateway takes its LiteTopic
over again."""
PARTITIONS_PATH = "/v1/partitions"
"""GET; query `namespace`, `gateway`, `offset`, `limit`."""
DRAINS_PATH = "/v1/drains"
"""GET; query like partitions. `/v1/drains/<pod>`: POST has that gateway drain, DELETE takes the drain back."""
ORPHANS_PATH = "/v1/orphans"
"""GET; query like partitions. What is listed was so twice, some seconds apart."""
DOCTOR_PATH = "/v1/doctor"
CONSOLE_PATH = "/v1/console"
"""GET; query `namespace`, `gateway`. Server-sent events: `state`, a ConsoleState, every two seconds or so; `end` with a
`message` when the operator ends it, because the token is no longer good for it or another operator acts."""

MAX_LISTED = 1000
SORTS = ("stalled", "backlog", "age")

Owner = Literal["Held", "Orphaned", "Unknown"]
Level = Literal["ok", "warning", "error"]
Cause = Literal[
    "broker-silent",
    "caller-silent",
    "clock-off",
    "dead-worker",
    "draining",
    "failing-model",
    "frozen-gateway",
    "full",
    "healthy",
    "lagging-partition",
    "link-cut",
    "lost-subscription",
    "lost-wakeup",
    "orphan",
    "owner-unknown",
    "restoring",
    "slow-model",
    "slow-reader",
    "speaking",
    "stuck-model",
    "unknown-session",
    "worker-behind",
    "worker-done",
    "worker-lost-turn",
    "worker-unconfirmed",
    "wrong-owner",
]
"""Why a caller hears nothing, or that there is no reason."""


class SessionRow(msgspec.Struct, frozen=True):
    """`gateway`: name of the VoiceGateway."""

    namespace: str
    gateway: str
    pod: str
    node: str
    session: SessionInfo


class RefusedRow(msgspec.Struct, frozen=True):
    namespace: str
    gateway: str
    pod: str
    node: str
    refused: RefusedClient


class SilentRow(msgspec.Struct, frozen=True):
    """A session as this operator saw it last, at a pod that does not answer."""

    namespace: str
    gateway: str
    session_id: str
    pod: str
    node: str
    client: str


class SessionPage(msgspec.Struct, frozen=True):
    """Attributes:
    total: sessions that match, of the pods that answered.
    next: `offset` of the next page; -1 when there is none, or it is beyond MAX_LISTED: narrow the query then.
    silent: pods that should have answered, as `namespace/pod`.
    refused: clients that match and got no session, of the last ten minutes, the latest first; only where a client or a
        principal was asked for.
    at_silent: sessions of the client that silent pods had, the latest seen first; only where nothing but a client was
        asked for.
    """

    total: int
    sessions: list[SessionRow]
    next: int = -1
    silent: list[str] = []
    refused: list[RefusedRow] = []
    at_silent: list[SilentRow] = []


class Verdict(msgspec.Struct, frozen=True):
    """`says`: one sentence; `todo`: what to look at, or to do, in this order."""

    cause: Cause
    says: str
    todo: list[str]


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one session. No content, ever.

    Attributes:
        owner: whether a gateway pod holds it.
        subscriber: pod that the broker lists as the owner of its LiteTopic; "" none, or not known.
        subscriber_gone: there is no such pod (any more).
        last_pod, last_node, last_client: who had it, where, and for whom, when this operator last saw it listed; ""
            while it is held, or when it has not.
        written: messages in its LiteTopic; -1: there is none, or it is not known.
        session: as its gateway sees it.
        partition_backlog: messages that wait in its partition, -1: not known; partition_age_seconds: of the oldest.
        holders: worker pods that the broker lists for the partition.
        worker_session: as the worker has it; worker_answers: None when there was nobody to ask.
        broker_error: why the broker did not tell; "" when it did.
        silent: gateway pods that should have answered.
        events: latest Kubernetes Events of the pods, newest first.
        clocks: gateways that answered, and the worker → seconds that their clock is ahead of the operator's; below 0:
            behind.
    """

    session_id: str
    namespace: str
    gateway: str
    owner: Owner
    partition: int = -1
    pod: str = ""
    node: str = ""
    pod_ready: bool = False
    pod_ending: bool = False
    subscriber: str = ""
    written: int = -1
    session: SessionInfo | None = None
    partition_backlog: int = -1
    partition_age_seconds: float = 0.0
    holders: list[str] = []
    worker: str = ""
    worker_node: str = ""
    worker_answers: bool | None = None
    worker_session: WorkerSession | None = None
    full: list[str] = []
    broker_error: str = ""
    silent: list[str] = []
    events: list[str] = []
    verdict: Verdict = Verdict("healthy", "", [])
    last_pod: str = ""
    last_node: str = ""
    last_client: str = ""
    clocks: dict[str, float] = {}
    subscriber_gone: bool = False


class PartitionRow(msgspec.Struct, frozen=True):
    """`workers`: who holds it, by the broker's list: none or two are a fault, for more than some seconds.
    `backlog` -1: not known."""

    namespace: str
    gateway: str
    partition: int
    workers: list[str]
    node: str = ""
    backlog: int = -1
    age_seconds: float = 0.0


class PartitionPage(msgspec.Struct, frozen=True):
    """`unseen`: VoiceGateways whose broker does not answer, and why."""

    total: int
    partitions: list[PartitionRow]
    next: int = -1
    unseen: list[str] = []


Holding = Literal["held", "left", "unknown"]
"""A gateway that answers serves the session; all have answered and none does; or none that answers does, and the one
that may do so does not answer."""
Fault = Literal[
    "orphan", "owner-unknown", "stale-subscription", "wrong-owner", "double-owner", "lost-subscription"
]  # fmt: skip
"""orphan: replies wait, and nobody owns them.
owner-unknown: replies wait, or a gateway is listed at the broker, and who may serve the session does not answer.
stale-subscription: the broker lists a client of a pod, or of a process, that is gone.
wrong-owner: it lists another gateway than the one that serves the session.
double-owner: two gateways serve it, or are listed.
lost-subscription: a gateway serves it, the broker lists nobody, and replies wait."""


class OrphanRow(msgspec.Struct, frozen=True):
    """A LiteTopic that is not as it should be.

    Attributes:
        pod: who serves the session; if nobody does, who had it last: is listed at the broker, or was seen to serve it
            by this operator; "" not known.
        node, client: where, and for whom; "" not known.
        subscribers: pods that the broker lists; what is no gateway at all, by its client id.
        backlog: replies that wait; age_seconds: of the oldest.
    """

    namespace: str
    gateway: str
    session_id: str
    fault: Fault
    holding: Holding
    pod: str
    node: str
    subscribers: list[str]
    backlog: int
    age_seconds: float
    client: str = ""


class OrphanPage(msgspec.Struct, frozen=True):
    """The oldest first. `silent`: gateways that should have answered, as `namespace/pod`. `unseen`: what else is not
    known, and why."""

    total: int
    orphans: list[OrphanRow]
    next: int = -1
    silent: list[str] = []
    unseen: list[str] = []


class DrainRow(msgspec.Struct, frozen=True):
    """One that goes on, of a gateway that is there, or the last one of a VoiceGateway. `finished_at`: "" while the
    gateway is there."""

    namespace: str
    gateway: str
    pod: str
    state: Literal["draining", "drained"]
    sessions: int
    moved: int
    completed: int
    forced: int
    lost_packets: int
    seconds: float
    finished_at: str = ""


class DrainPage(msgspec.Struct, frozen=True):
    """`silent`: gateways that did not answer, those that end among them, as `namespace/pod`."""

    total: int
    drains: list[DrainRow]
    next: int = -1
    silent: list[str] = []


Act = Literal["drain", "take-back", "move", "heal"]


class ActAnswer(msgspec.Struct, frozen=True):
    """`done`: False after a dry run, and where nothing was to be done. `says`: one sentence; `todo`: what to look at
    next."""

    act: Act
    namespace: str
    gateway: str
    pod: str
    session_id: str
    done: bool
    says: str
    todo: list[str]


PodState = Literal["ready", "not-ready", "silent", "draining", "drained", "ending"]
"""`silent`: it should have answered the operator, and did not."""


class ConsolePod(msgspec.Struct, frozen=True):
    """A gateway or a worker.

    Attributes:
        sessions: that it has, -1: not known; max_sessions: that it may have, 0: not known.
        about: why it is not ready, or takes no new sessions; "" for neither.
        partitions: those that a worker reads.
    """

    namespace: str
    gateway: str
    pod: str
    component: str
    node: str
    state: PodState
    sessions: int = -1
    max_sessions: int = 0
    in_turn: int = 0
    slow_readers: int = 0
    pending_requests: int = 0
    busy: float = 0.0
    partitions: list[int] = []
    about: str = ""


class AlertedSession(msgspec.Struct, frozen=True):
    """A session, or a partition where no session is known, for which an alert fires or is about to."""

    session_id: str
    partition: int
    backlog: int
    age_seconds: int
    owner: str
    pod: str
    node: str
    client: str


class ConsoleAlert(msgspec.Struct, frozen=True):
    """A BacklogAlert as its status is. `about`: why it cannot be measured, "" while it is."""

    namespace: str
    name: str
    gateway: str
    target: str
    state: str
    severity: str
    since: str
    messages: int
    age_seconds: int
    sessions: int
    top: list[AlertedSession]
    about: str = ""


class ConsoleState(msgspec.Struct, frozen=True):
    """What the console shows: the same for everybody who may see it.

    Attributes:
        at: when, in Unix seconds.
        pods: at most MAX_LISTED; left_out: how many more there are.
        sessions: how many all gateways have, of those that answered.
        stalled, backlog: the worst sessions.
        unseen: what is not known, and why.
    """

    operator: str
    at: float
    gateways: list[str]
    pods: list[ConsolePod]
    left_out: int
    sessions: int
    stalled: list[SessionRow]
    backlog: list[SessionRow]
    drains: list[DrainRow]
    partitions: list[PartitionRow]
    alerts: list[ConsoleAlert]
    unseen: list[str]


class Diagnosis(msgspec.Struct, frozen=True):
    """`todo`: "" where nothing is to be done."""

    level: Level
    about: str
    says: str
    todo: str = ""


class Diagnoses(msgspec.Struct, frozen=True):
    operator: str
    findings: list[Diagnosis]
