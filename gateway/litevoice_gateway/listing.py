"""`litevoice-gateway sessions`: what this pod holds, as a table, for `kubectl exec`."""

from __future__ import annotations

import http.client
from collections.abc import Sequence

import msgspec

from litevoice_contracts.control import SESSIONS_PATH, SessionInfo, SessionList
from litevoice_contracts.settings import GatewaySettings

TIMEOUT_SECONDS = 5.0
COLUMNS = ("SESSION", "CLIENT", "PRINCIPAL", "AGE", "TURN", "RESPONDING", "READING", "REQUESTS", "NEXT")


class ListingError(RuntimeError):
    """The admin port did not answer as it should; the message says what it said."""


def fetch(settings: GatewaySettings, admin_token: str, session_id: str, sort: str, limit: int) -> list[SessionInfo]:
    """The sessions of the gateway on this host, or the one of that id ([] when it is not here). Raises ListingError."""
    path = f"{SESSIONS_PATH}/{session_id}" if session_id else f"{SESSIONS_PATH}?sort={sort}&limit={limit}"
    connection = http.client.HTTPConnection("127.0.0.1", settings.admin_port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {admin_token}"})
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        raise ListingError(f"no gateway answers on port {settings.admin_port}: {error}") from error
    finally:
        connection.close()
    if session_id and answer.status == http.client.NOT_FOUND:
        return []
    if answer.status != http.client.OK:
        raise ListingError(f"the gateway answered {answer.status}: {body.decode(errors='replace')[:200]}")
    if session_id:
        return [msgspec.json.decode(body, type=SessionInfo)]
    return msgspec.json.decode(body, type=SessionList).sessions


def table(sessions: Sequence[SessionInfo]) -> str:
    """One line per session under the column names."""
    rows = [COLUMNS, *(_row(session) for session in sessions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(session: SessionInfo) -> tuple[str, ...]:
    return (
        session.session_id,
        session.client,
        session.principal,
        f"{session.age_seconds:.0f}s",
        str(session.turn),
        "yes" if session.responding else "no",
        "yes" if session.reading else "no",
        f"{session.pending_requests} ({session.oldest_request_seconds:.0f}s)",
        str(session.next_position),
    )
