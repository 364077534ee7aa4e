"""What a proxy's answers mean: which are errors, and which of these may be gone when the same call is tried again."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from litevoice_broker import stubs
from litevoice_broker.errors import BrokerError, BrokerUnavailable

_UNAVAILABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
RETRYABLE_CODES = frozenset(
    getattr(stubs.definition, name)
    for name in (
        "TOPIC_NOT_FOUND",  # also the answer while the topic's broker restarts
        "UNAUTHORIZED",  # also while changed credentials are on their way here, or to the broker
        "REQUEST_TIMEOUT",
        "TOO_MANY_REQUESTS",
        "INTERNAL_ERROR",
        "INTERNAL_SERVER_ERROR",
        "HA_NOT_AVAILABLE",
        "PROXY_TIMEOUT",
        "MASTER_PERSISTENCE_TIMEOUT",
        "SLAVE_PERSISTENCE_TIMEOUT",
    )
)


def check_status(status: Any, what: str) -> None:
    """Raises BrokerError unless the status is OK or MULTIPLE_RESULTS."""
    if status.code in (stubs.OK, stubs.MULTIPLE_RESULTS):
        return
    message = f"{what}: {stubs.code_name(status.code)}: {status.message}".split("\n")[0]
    # A proxy that cannot find a topic's broker, because it restarts say, takes the topic's type for unspecified.
    type_unknown = status.code == stubs.TYPE_CONFLICT and "UNSPECIFIED" in status.message
    raise BrokerError(message, code=status.code, retryable=type_unknown or status.code in RETRYABLE_CODES)


def call_failed(error: grpc.aio.AioRpcError, what: str) -> BrokerError:
    """The call itself failed: without an answer (BrokerUnavailable), or with one of gRPC's own codes."""
    details = (error.details() or "").split("\n")[0]
    if error.code() in _UNAVAILABLE:
        return BrokerUnavailable(f"{what}: {error.code().name.lower().replace('_', ' ')}: {details}")
    return BrokerError(f"{what}: {error.code().name}: {details}")
