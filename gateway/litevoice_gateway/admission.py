"""Who may open which session: the decision about an upgrade request, before any WebSocket exists. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import msgspec

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import owns_session
from litevoice_contracts.positions import START, EventId
from litevoice_gateway.auth import presented_key

REALTIME_PATH = "/v1/realtime"
RETRY_AFTER_SECONDS = 2
MAX_MODEL_LENGTH = 128
_SUBPROTOCOL = "realtime"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Attributes:
    session_id: "" for a new session.
    resume: see `session.Opening`.
    subprotocol: what to answer in Sec-WebSocket-Protocol, "" for nothing.
    overload: to be closed with 1013 right after the upgrade, which SDKs answer by trying again elsewhere.
    """

    principal: str
    session_id: str
    resume: EventId | None
    model: str
    subprotocol: str
    overload: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """An HTTP answer instead of the upgrade; `outcome` is the label of GATEWAY_CONNECTIONS."""

    status: int
    outcome: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GatewayState:
    """`unready` is "" when the broker is there."""

    draining: bool
    unready: str
    full: bool


def admit(
    target: str,
    headers: Mapping[str, str],
    state: GatewayState,
    principal_of: Callable[[str], str | None],
    signing_key: bytes,
) -> Admitted | Rejected:
    """`target` is the request's path and query; `headers` has lower-case names."""
    parts = urlsplit(target)
    if parts.path.rstrip("/") != REALTIME_PATH:
        return _reject(404, "invalid", "not_found", f"expected the path {REALTIME_PATH}")
    key = presented_key(headers)
    principal = principal_of(key) if key is not None else None
    if principal is None:
        what = "the API key is wrong" if key is not None else "an API key is missing: expected Authorization: Bearer"
        return _reject(401, "unauthorized", "invalid_api_key", what, extra={"WWW-Authenticate": "Bearer"})
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    session_id, last_event_id = query.get("session_id", ""), query.get("last_event_id", "")
    if session_id and not owns_session(signing_key, principal, session_id):
        return _reject(403, "forbidden", "session_not_yours", "the session is not this API key's", "session_id")
    if last_event_id and not session_id:
        return _reject(400, "invalid", "missing_session_id", "last_event_id needs session_id", "session_id")
    try:
        resume = EventId.parse(last_event_id) if last_event_id else START if session_id else None
    except InvalidField as error:
        return _reject(400, "invalid", "invalid_value", str(error), error.field)
    model = query.get("model", "litevoice")
    if len(model) > MAX_MODEL_LENGTH:
        return _reject(400, "invalid", "invalid_value", f"model: at most {MAX_MODEL_LENGTH} characters", "model")
    if state.draining or state.unready:
        outcome = "draining" if state.draining else "unavailable"
        reason = "this gateway is being drained" if state.draining else state.unready
        return _reject(503, outcome, outcome, reason, extra={"Retry-After": str(RETRY_AFTER_SECONDS)})
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    return Admitted(
        principal=principal,
        session_id=session_id,
        resume=resume,
        model=model,
        subprotocol=_SUBPROTOCOL if _SUBPROTOCOL in offered else "",
        overload=state.full,
    )


def _reject(
    status: int,
    outcome: str,
    code: str,
    message: str,
    param: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> Rejected:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = msgspec.json.encode({"error": {"type": kind, "code": code, "message": message, "param": param}})
    return Rejected(status, outcome, body, {"Content-Type": "application/json", **(extra or {})})
