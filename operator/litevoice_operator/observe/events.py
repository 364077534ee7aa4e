"""What Kubernetes Events tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def messages(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Messages of Events as the API server returns them, oldest first."""
    ordered = sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return [str(event.get("message", "")) for event in ordered]
