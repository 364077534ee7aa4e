"""The admin API between operator and gateway, on the gateway's second port: paths and JSON bodies.

`/healthz`, `/readyz` and `/metrics` are open to the cluster; every path under `/v1` wants the header
`Authorization: Bearer <admin token>`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

DrainPolicy = Literal["Migrate", "Complete", "Auto"]

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
STATUS_PATH = "/v1/status"
SESSIONS_PATH = "/v1/sessions"
"""GET; query `limit` (1 to 1000, default 100), `sort` (`requests` or `replies` or `age`). `/v1/sessions/<id>`: one."""
DRAIN_PATH = "/v1/drain"
"""POST a DrainRequest: begins a drain (or returns the one under way); GET: the DrainReport."""

MAX_LISTED_SESSIONS = 1000

SESSION_SORTS = ("requests", "replies", "age")


class SessionInfo(msgspec.Struct, frozen=True):
    """One session as its owner sees it. No content, ever.

    Attributes:
        client: client address, ``host:port``.
        pending_requests: messages published that no worker has said it is done with: those at the broker, and those of
            the open utterance.
        oldest_request_seconds: age of the oldest of them.
        reading: False while the client reads too slowly and its replies wait at the broker.
        next_position: position of the next reply the owner expects.
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


class SessionList(msgspec.Struct, frozen=True):
    total: int
    sessions: list[SessionInfo]


class DrainRequest(msgspec.Struct, frozen=True):
    """`policy` as in VoiceGateway.spec.drain; None takes the gateway's own setting."""

    policy: DrainPolicy | None = None


class DrainReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the sessions of a drained pod; also the pod's termination message.

    Attributes:
        moved: closed with 1012 after the peer's Close was read; completed: ended by themselves while we waited;
        forced: cut because they did not answer in time.
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
        full: why the gateway takes no new sessions, one of GATEWAY_FULL's reasons; "" while it takes them.
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
