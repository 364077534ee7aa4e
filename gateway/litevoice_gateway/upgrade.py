"""Who may open which session: the decision about an upgrade request, before any WebSocket exists. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from litevoice_contracts.names import owns_session
from litevoice_gateway.overload import Full
from litevoice_gateway.protocols import (
    MODEL_NOT_FOUND,
    NO_MAPS,
    ClientProtocol,
    Problem,
    ProtocolFactory,
    Refusal,
    UpgradeRequest,
)
from litevoice_gateway.protocols.registry import choose

RETRY_AFTER_SECONDS = 2
HEALTH_TARGETS = ("/", "/healthz")


@dataclass(frozen=True, slots=True)
class Admitted:
    """`overload`: what the gateway is full of; to be closed with 1013 right after the upgrade, which SDKs answer by
    trying again elsewhere."""

    protocol: ClientProtocol
    principal: str
    overload: Full = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An HTTP answer instead of the upgrade; `outcome` is the label of GATEWAY_CONNECTIONS."""

    status: int
    outcome: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GatewayState:
    """`unready` is "" when the session's broker is there. A session that comes back is load that the fleet has already:
    only a gateway that has no room at all refuses it."""

    draining: bool
    unready: str
    full: Full = ""


def health(target: str, state: GatewayState) -> bool | None:
    """What a load balancer that probes the clients' port is told: whether it may send clients, nothing else, since
    anybody may ask. None: it is no probe."""
    return None if target.partition("?")[0] not in HEALTH_TARGETS else not (state.draining or state.unready)


def admit(
    request: UpgradeRequest,
    state_for: Callable[[str], GatewayState],
    protocols: Sequence[ProtocolFactory],
    principal_of: Callable[[str], str | None],
    signing_key: bytes,
    models: Sequence[str] = (),
    semantic_models: Sequence[str] = (),
    voices: Mapping[str, Collection[str]] = NO_MAPS,
) -> Admitted | Rejected:
    """Authenticates before anything else is looked at; what `protocols` knows of the request, the protocol reads.

    `state_for` gets the id of the session that comes back, "" for a new one. `models`, `semantic_models`, `voices`:
    see UpgradeRequest."""
    factory = choose(protocols, request)
    if factory is None:
        paths = " or ".join(sorted({known.path for known in protocols}))
        return _reject(protocols[0], 404, "invalid", Problem("not_found", f"expected the path {paths}"))
    key = factory.api_key(request)
    principal = principal_of(key) if key is not None else None
    if principal is None:
        missing = f"an API key is missing: expected {factory.api_key_form}"
        problem = Problem("invalid_api_key", "the API key is wrong" if key is not None else missing)
        return _reject(factory, 401, "unauthorized", problem, {"WWW-Authenticate": "Bearer"})
    try:
        known = replace(
            request,
            principal=principal,
            models=tuple(models),
            semantic_models=tuple(semantic_models),
            voices=voices,
        )
        protocol = factory.connect(known)
    except Refusal as refusal:
        status = 404 if refusal.problem.code == MODEL_NOT_FOUND else 400
        return _reject(factory, status, "invalid", refusal.problem)
    if protocol.session_id and not owns_session(signing_key, principal, protocol.session_id):
        problem = Problem("session_not_yours", "the session belongs to another API key", "session_id")
        return _reject(factory, 403, "forbidden", problem)
    state = state_for(protocol.session_id)
    if state.draining or state.unready:
        outcome = "draining" if state.draining else "unavailable"
        reason = "this gateway is draining" if state.draining else state.unready
        return _reject(factory, 503, outcome, Problem(outcome, reason), {"Retry-After": str(RETRY_AFTER_SECONDS)})
    returns = bool(protocol.session_id) and state.full not in ("sessions", "memory")
    return Admitted(protocol, principal, "" if returns else state.full)


def _reject(
    factory: ProtocolFactory, status: int, outcome: str, problem: Problem, extra: Mapping[str, str] | None = None
) -> Rejected:
    body = factory.http_error(status, problem)
    return Rejected(status, outcome, body, {"Content-Type": "application/json", **(extra or {})})
