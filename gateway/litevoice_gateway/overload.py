"""When a gateway takes no new sessions: before those inside suffer. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Full = Literal["", "sessions", "memory", "gateway_cpu", "worker_sessions", "worker_lag", "worker_cpu"]
"""What a gateway is full of; "" when it takes new sessions."""
REASONS: tuple[Full, ...] = tuple(reason for reason in get_args(Full) if reason)

MAX_LOOP_LAG_SECONDS = 0.3
"""How late the event loop may be, on average over some seconds: what it has to do no longer fits."""
MAX_WORKER_LAG_SECONDS = 3.0
"""How far the workers may be behind."""
MAX_BUSY = 0.85
"""The share of their CPU that the workers may use before new sessions are refused. Not of the gateway's own: when
thousands come back it takes all of it to let them in, and nobody inside waits for that."""
IDLE = 0.3
"""Below this share new sessions are not counted."""
FEW = 10
"""With fewer sessions nobody knows what one costs: those are not counted, either."""
STEPS = 6
"""Seconds in which what is left may be given away: what new sessions cost shows only after two or three."""
_SMOOTHING = 0.05


def allowance(sessions: int, busy: float) -> float:
    """How many new sessions may come within a second, when `sessions` take `busy` of the CPU (0 to 1).

    >>> allowance(100, 0.425)  # as many again would just fit
    16.666666666666668
    """
    if busy >= MAX_BUSY:
        return 0.0
    return math.inf if busy < IDLE or sessions < FEW else max(1.0, sessions * (MAX_BUSY / busy - 1) / STEPS)


@dataclass(slots=True)
class Load:
    """What a gateway has to carry.

    Attributes:
        held_bytes: packets of all sessions, waiting for the broker or kept for a replay.
        loop_lag_seconds: how late the event loop is, smoothed.
        worker_lag_seconds: the largest of all partitions.
        workers_full: no worker takes another session.
        busy: the share of its CPU that this gateway uses; for people.
        workers_busy: the same of the busiest worker.
    """

    sessions: int = 0
    held_bytes: int = 0
    loop_lag_seconds: float = 0.0
    worker_lag_seconds: float = 0.0
    workers_full: bool = False
    busy: float = 0.0
    workers_busy: float = 0.0
    _may_come: float = math.inf

    def look(self) -> None:
        """About once a second, when everything else has been brought up to date."""
        self._may_come = allowance(self.sessions, self.workers_busy)

    def came(self) -> None:
        """One more session."""
        self._may_come -= 1

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
        if self.worker_lag_seconds >= MAX_WORKER_LAG_SECONDS:
            return "worker_lag"
        return "worker_cpu" if self._may_come < 1 else ""
