"""The admin API of gateways and workers, on their second port: paths and JSON bodies.

`/healthz`, `/readyz` and `/metrics` are open to the cluster; every path under `/v1` wants the header
`Authorization: Bearer <admin token>`. Workers have STATUS_PATH and `SESSIONS_PATH/<id>`, and a token of their own. The
operator asks on a third port, the same over TLS.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

DrainPolicy = Literal["Migrate", "Complete", "Auto"]

ADMIN_CERTIFICATE_FILE, ADMIN_KEY_FILE = "admin-tls.crt", "admin-tls.key"
"""PEM, in the folder `adminTlsDir` of the settings."""

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
STATUS_PATH = "/v1/status"
"""GET: a GatewayStatus or WorkerStatus. Its query lets the answer wait for a change: `litevoice_contracts.watching`."""
SESSIONS_PATH = "/v1/sessions"
"""GET; query `limit` (1 to 1000, default 100), `sort` (one of SESSION_SORTS), `client` (an address, with or without its
port), `principal`, `since` (seconds: younger ones): only those. `/v1/sessions/<id>`: one."""
MOVE, HEAL = "move", "heal"
"""`/v1/sessions/<id>/move`, `/v1/sessions/<id>/heal`: POST an ActRequest; the SessionInfo, or 404 and 409 that say why
not. `move`: the session's connection is closed as in a drain, at the edge of its turn, and its client comes back.
`heal`: its LiteTopic is taken over again, at the next position, whoever the broker lists."""
HOLDINGS_PATH = "/v1/holdings"
"""GET: the gateway's Holdings."""
DRAIN_PATH = "/v1/drain"
"""POST a DrainRequest: begins a drain (or returns the one under way); GET: the DrainReport. DELETE takes the drain
back and returns its last report; 409 once the process was told to end."""

MAX_LISTED_SESSIONS = 1000

SESSION_SORTS = ("requests", "replies", "age", "stalled")

GatewayStage = Literal["restoring", "idle", "listening", "waiting", "responding", "closing"]
"""`waiting`: the user has spoken, or asked for an answer, and nothing of it has come."""
WorkerStage = Literal["idle", "listening", "vad", "turn", "asr", "respond", "tts", "speaking", "publishing"]
"""`listening`: an utterance is open; `speaking`: paced, as audio may not be far ahead of real time; `publishing`: the
broker has not confirmed what was sent; the others wait for that stage (`turn`: the turn detector)."""


class SessionInfo(msgspec.Struct, frozen=True):
    """One session as its owner sees it. No content, ever.

    Attributes:
        client: client address, ``host:port``.
        pending_requests: messages published that no worker has said it is done with: those at the broker, and those of
            the open utterance.
        oldest_request_seconds: age of the oldest of them.
        reading: False while the client reads too slowly and its replies wait at the broker.
        next_position: position of the next reply the owner expects.
        stalled_seconds: how long the open turn has made no progress; 0 without one.
        last_reply_seconds: since the last message of its LiteTopic came; -1: none has.
        silent_seconds: since the client last sent anything.
        unconfirmed: packets that the broker has not confirmed; unconfirmed_seconds: how long it has confirmed none.
        fruitless: attempts at the open turn that ended with their worker.
        replays: how often the open turn was sent again, by this gateway.
        resumed: it came from another gateway, or came back.
        worker: pod that reads its partition, as far as it has told; told of one session only, like the rest.
        worker_heard_seconds: since that was; -1: never.
        behind_seconds: how far the worker is behind with the partition.
    """

    session_id: str
    client: str
    principal: str
    age_seconds: float
    turn: int
    responding: bool
    pending_requests: int
    oldest_request_seconds: float
    reading: bool
    next_position: int
    stalled_seconds: float = 0.0
    partition: int = -1
    stage: GatewayStage = "idle"
    last_reply_seconds: float = -1.0
    silent_seconds: float = 0.0
    unconfirmed: int = 0
    fruitless: int = 0
    replays: int = 0
    resumed: bool = False
    worker: str = ""
    worker_heard_seconds: float = -1.0
    behind_seconds: float = 0.0
    unconfirmed_seconds: float = 0.0


class StageFailure(msgspec.Struct, frozen=True):
    """A stage could not do its work. `endpoint`: the model endpoint to blame, "" for none; `says`: what the client was
    told; `seconds`: since then."""

    stage: WorkerStage
    endpoint: str
    says: str
    seconds: float


class WorkerSession(msgspec.Struct, frozen=True):
    """One session as the worker of its partition has it in memory. No content, ever.

    Attributes:
        stage_seconds: since the stage last gave something, or since anything came for the session.
        heard_seconds: since its gateway last sent anything.
        queued_packets: packets that wait to be applied; queued_bytes: of audio, for the recognizer too.
        endpoint: model endpoint that the stage waits for, "" for none; tries: requests for the same thing so far.
        failed_endpoint: that has failed at the same thing before, "" for none; failed_says: how.
        failure: how a stage of it failed, until it succeeds again.
    """

    session_id: str
    partition: int
    turn: int
    stage: WorkerStage
    stage_seconds: float
    heard_seconds: float
    queued_packets: int
    queued_bytes: int
    endpoint: str = ""
    tries: int = 0
    failed_endpoint: str = ""
    failed_says: str = ""
    failure: StageFailure | None = None


class FailingPlugin(msgspec.Struct, frozen=True):
    """A plug-in whose process had to be started again.

    Attributes:
        stage: transcriber, responder, synthesizer or turn_detector; plugin: its name in `spec.pipelines[]`.
        how: it ended the last time: crashed, hung (its event loop stood still) or grew (beyond its memory).
        deaths: in the last ten minutes; seconds: since the last one.
    """

    stage: str
    plugin: str
    how: Literal["crashed", "hung", "grew"]
    deaths: int
    seconds: float


class WorkerStatus(msgspec.Struct, frozen=True):
    """`partitions`: those that the worker reads; `busy`: the share of its CPU that it uses, 0 to 1; `failing`: plug-ins
    that failed in the last ten minutes."""

    pod: str
    ready: bool
    reason: str
    sessions: int
    max_sessions: int
    partitions: list[int]
    busy: float = 0.0
    failing: list[FailingPlugin] = []


RefusalCause = Literal["full", "broker-quota", "broker-refused", "broker-silent"]


class RefusedClient(msgspec.Struct, frozen=True):
    """A client that was let in at the door and got no session, or lost it at once. `session_id`: "" for one that did
    not get that far; `says`: in words; `seconds`: since then."""

    client: str
    principal: str
    session_id: str
    cause: RefusalCause
    says: str
    seconds: float


class SessionList(msgspec.Struct, frozen=True):
    """`refused`: of the last ten minutes, the latest first; only for who asks for a `client` or a `principal`."""

    total: int
    sessions: list[SessionInfo]
    refused: list[RefusedClient] = []


class Holdings(msgspec.Struct, frozen=True):
    """Every LiteTopic that a gateway has, in one answer.

    Attributes:
        clients: what it calls itself at each broker, by the broker's number.
        sessions: those that it serves.
        leaving: those whose client is gone, and that it has not given up yet: what still comes is taken.
    """

    clients: list[str]
    sessions: list[str]
    leaving: list[str]


class RefusedSettings(msgspec.Struct, frozen=True):
    """Why a program ended at its start: the pod's termination message. `field` is a path in its settings file."""

    field: str
    expected: str
    state: Literal["refused"] = "refused"


class ActRequest(msgspec.Struct, frozen=True):
    """`dry_run`: says what would come of it, and does nothing. `force`: also moves a client that has not shown that it
    can come back."""

    dry_run: bool = False
    force: bool = False


class DrainRequest(msgspec.Struct, frozen=True):
    """`policy` as in VoiceGateway.spec.drain; None takes the gateway's own setting. `rate_per_second`: at most so many
    sessions are told in a second, and never more than that setting allows."""

    policy: DrainPolicy | None = None
    rate_per_second: Annotated[int, msgspec.Meta(ge=1)] | None = None


class DrainReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the sessions of a drained pod; also the pod's termination message.

    Attributes:
        moved: closed with 1012 after the peer's Close was read; completed: ended by themselves while we waited;
        forced: cut because they did not answer in time, or were still open at the end of a drain that let them
        complete, and their client does not come back.
        lost_packets: packets that were accepted from clients and not confirmed by the broker.
    """

    state: Literal["none", "draining", "drained"] = "none"
    sessions: int = 0
    moved: int = 0
    completed: int = 0
    forced: int = 0
    lost_packets: int = 0
    duration_seconds: float = 0.0
    started_at: float = 0.0


class GatewayStatus(msgspec.Struct, frozen=True):
    """`ready` is False with a `reason` while the broker is away or a drain runs.

    Attributes:
        in_turn: sessions that are in a turn.
        full: why the gateway takes no new sessions, one of GATEWAY_FULL's reasons; "" while it takes them.
        drain_rate_per_second: sessions that a drain tells in a second at most; 0 from a release that does not say.
    """

    pod: str
    ready: bool
    reason: str
    sessions: int
    max_sessions: int
    slow_readers: int
    pending_requests: int
    drain: DrainReport
    full: str = ""
    in_turn: int = 0
    drain_rate_per_second: int = 0
