"""The bounds of one session, and the token bucket that keeps its event rate."""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_contracts.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may take, in seconds, bytes and counts; see GatewaySettings for the meaning of each."""

    max_events_per_second: int = 200
    max_audio_speed: float = 2.0
    max_audio_burst_seconds: float = 30.0
    max_pending_packets: int = 3000
    max_pending_bytes: int = 4 << 20
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
            max_audio_speed=float(settings.max_audio_speed),
            max_audio_burst_seconds=float(settings.max_audio_burst_seconds),
            max_pending_packets=settings.max_pending_packets,
            max_pending_bytes=settings.max_pending_bytes,
            max_frame_bytes=settings.max_frame_bytes,
            retained_seconds=settings.retained_seconds,
            idle_timeout_seconds=float(settings.idle_timeout_seconds),
            probe_seconds=float(settings.probe_seconds),
            restore_timeout_seconds=float(settings.restore_timeout_seconds),
            close_timeout_seconds=settings.close_timeout_seconds,
        )


class TokenBucket:
    """`rate` per second, up to `burst` at once. Tokens may go negative: the debt is paid off over time."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def spend(self, now: float, amount: float = 1.0) -> float:
        """`amount` more at `now` (seconds, monotonic). How many seconds to wait until as much, or the burst, may come
        again; 0 for none."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - amount
        self._at = now
        missing = min(amount, self._burst) - self._tokens
        return missing / self._rate if missing > 0 else 0.0
