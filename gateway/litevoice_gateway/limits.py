"""The bounds of one session, and the token bucket that keeps its event rate."""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_contracts.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may take, in seconds, bytes and counts; see GatewaySettings for the meaning of each."""

    max_events_per_second: int = 200
    max_pending_packets: int = 3000
    max_frame_bytes: int = 1 << 20
    retained_seconds: int = 60
    idle_timeout_seconds: float = 900.0
    probe_seconds: float = 5.0
    restore_timeout_seconds: float = 30.0
    close_timeout_seconds: float = 2.0

    @classmethod
    def from_settings(cls, settings: GatewaySettings) -> Limits:
        return cls(
            max_events_per_second=settings.max_events_per_second,
            max_pending_packets=settings.max_pending_packets,
            max_frame_bytes=settings.max_frame_bytes,
            retained_seconds=settings.retained_seconds,
            idle_timeout_seconds=float(settings.idle_timeout_seconds),
            probe_seconds=float(settings.probe_seconds),
            restore_timeout_seconds=float(settings.restore_timeout_seconds),
            close_timeout_seconds=settings.close_timeout_seconds,
        )


class TokenBucket:
    """`rate` events per second, bursts of twice as many. Tokens may go negative: the debt is paid off over time."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._burst = 2.0 * rate
        self._tokens = self._burst
        self._at = now

    def spend(self, now: float) -> float:
        """One more event at `now` (seconds, monotonic). How many seconds to wait with the next one, 0 for none."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, (1 - self._tokens) / self._rate) if self._tokens < 1 else 0.0
