"""Who of several operators acts: the one that holds the Lease. Times of others are never compared with one's own clock:
a Lease is over when it has not changed for its duration, as seen from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LEASE_SECONDS = 15
"""So long after the last sign of a leader another may take over."""
RENEW_SECONDS = 3.0
GIVE_UP_SECONDS = 10.0
"""A leader that could not renew for so long stops acting: before anybody else may begin."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease as last seen.

    Attributes:
        version: changes with every write; "" while there is none.
        since: when this version was first seen, on our own clock.
    """

    version: str = ""
    holder: str = ""
    since: float = 0.0

    def after(self, lease: Mapping[str, Any] | None, now: float) -> Seen:
        """With what the API server says now; None: there is no Lease."""
        if lease is None:
            return Seen("", "", now)
        version = str(lease["metadata"]["resourceVersion"])
        if version == self.version:
            return self
        return Seen(version, str(lease.get("spec", {}).get("holderIdentity") or ""), now)


def may_take(seen: Seen, identity: str, now: float) -> bool:
    """Whether to write the Lease: it is ours, nobody's, or over."""
    return seen.holder in ("", identity) or now - seen.since >= LEASE_SECONDS


def may_act(renewed_at: float | None, now: float) -> bool:
    """`renewed_at`: when the last write of ours that succeeded was begun; None: never, or another has the Lease."""
    return renewed_at is not None and now - renewed_at < GIVE_UP_SECONDS


def lease_spec(seen: Seen, identity: str, found: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Of the Lease that is ours from `now` (Unix seconds) on; `found`: its spec so far."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    ours = seen.holder == identity
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": found.get("acquireTime", stamp) if ours else stamp,
        "renewTime": stamp,
        "leaseTransitions": int(found.get("leaseTransitions", 0)) + (0 if ours or not seen.version else 1),
    }
