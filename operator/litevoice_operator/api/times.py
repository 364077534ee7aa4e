"""Unix seconds ↔ the timestamps of Kubernetes objects (RFC 3339, whole seconds, UTC)."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(unix_seconds: float) -> str:
    return datetime.fromtimestamp(int(unix_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def within(seconds: float, at: float, now: float) -> bool:
    """Whether `at` was less than `seconds` ago. What lies ahead was not: the clock has been set back since, or another
    one was read, and nobody waits until it has caught up."""
    return 0 <= now - at < seconds


def from_text(text: str | None) -> float | None:
    """None for an absent or malformed timestamp. The API server takes small letters, too."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except ValueError:
        return None
