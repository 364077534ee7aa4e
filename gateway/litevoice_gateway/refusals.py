"""Clients that were let in at the door and got no session, for who is asked why by one of them. Pure, and bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from litevoice_contracts.addresses import is_from
from litevoice_contracts.control import RefusalCause, RefusedClient

MAX_KEPT = 500
KEPT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    client: str
    principal: str
    session_id: str
    cause: RefusalCause
    says: str
    at: float


class Refusals:
    """The latest of them."""

    def __init__(self) -> None:
        self._kept: deque[_Refusal] = deque(maxlen=MAX_KEPT)

    def add(self, client: str, principal: str, session_id: str, cause: RefusalCause, says: str, now: float) -> None:
        self._kept.append(_Refusal(client, principal, session_id, cause, says, now))

    def of(self, client: str, principal: str, within_seconds: float, now: float) -> list[RefusedClient]:
        """Those from this address, with or without its port, or of this principal, the latest first. "": any."""
        oldest = now - min(within_seconds, KEPT_SECONDS)
        return [
            RefusedClient(one.client, one.principal, one.session_id, one.cause, one.says, round(now - one.at, 3))
            for one in reversed(self._kept)
            if one.at >= oldest and principal in ("", one.principal) and (not client or is_from(one.client, client))
        ]
