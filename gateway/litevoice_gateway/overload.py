"""When a gateway takes no new sessions: before those inside suffer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Full = Literal["", "sessions", "memory", "gateway_cpu", "worker_sessions", "worker_lag"]
"""What a gateway is full of; "" when it takes new sessions."""
REASONS: tuple[Full, ...] = tuple(reason for reason in get_args(Full) if reason)

MAX_LOOP_LAG_SECONDS = 0.3
"""How late the event loop may be, on average over some seconds: what it has to do no longer fits."""
MAX_WORKER_LAG_SECONDS = 3.0
"""How far the workers may be behind."""
_SMOOTHING = 0.05


@dataclass(slots=True)
class Load:
    """What a gateway has to carry.

    Attributes:
        held_bytes: packets of all sessions, waiting for the broker or kept for a replay.
        loop_lag_seconds: how late the event loop is, smoothed.
        worker_lag_seconds: the largest of all partitions.
        workers_full: no worker takes another session.
    """

    sessions: int = 0
    held_bytes: int = 0
    loop_lag_seconds: float = 0.0
    worker_lag_seconds: float = 0.0
    workers_full: bool = False

    def loop_was_late(self, seconds: float) -> None:
        """One more measurement, some twenty a second."""
        self.loop_lag_seconds += _SMOOTHING * (seconds - self.loop_lag_seconds)

    def full(self, max_sessions: int, max_held_bytes: int) -> Full:
        """The most certain reason."""
        if self.sessions >= max_sessions:
            return "sessions"
        if self.held_bytes >= max_held_bytes:
            return "memory"
        if self.loop_lag_seconds >= MAX_LOOP_LAG_SECONDS:
            return "gateway_cpu"
        if self.workers_full:
            return "worker_sessions"
        return "worker_lag" if self.worker_lag_seconds >= MAX_WORKER_LAG_SECONDS else ""
