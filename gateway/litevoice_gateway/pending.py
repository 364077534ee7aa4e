"""What of a session's packets the broker has not confirmed yet: how much that is, since when, and when it is too much.
Sans I/O."""

from __future__ import annotations

from litevoice_gateway.limits import Limits


class Pending:
    """Attributes:
    collected: packets that have no number yet.
    unconfirmed: packets handed out for the first time and not confirmed by the broker yet.
    size: of both, in bytes as the bounds count them.
    full_since: since when `max_pending_packets` or `max_pending_bytes` wait for the broker (until half of both are
        left), else None.
    """

    __slots__ = ("_confirmed_at", "_limits", "_unanswered_at", "collected", "full_since", "size", "unconfirmed")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.collected = 0
        self.unconfirmed = 0
        self.size = 0
        self.full_since: float | None = None
        self._confirmed_at = 0.0
        self._unanswered_at = 0.0  # when the first was sent after all before had been confirmed

    def collect(self, size: int) -> None:
        """One packet."""
        self.collected += 1
        self.size += size

    def grew(self, now: float) -> None:
        """Some were collected: it may be too much from now on. That cannot make it end."""
        if self.full_since is None:
            self._measure(now)

    def sent(self, now: float) -> None:
        """All that were collected."""
        if self.collected and not self.unconfirmed:
            self._unanswered_at = now
        self.unconfirmed += self.collected
        self.collected = 0

    def confirmed(self, packets: int, now: float, size: int) -> None:
        """The broker has them, `size` bytes in all, or they are lost."""
        self._confirmed_at = now
        self.unconfirmed -= packets
        self.size -= size
        self._measure(now)

    def unconfirmed_seconds(self, now: float) -> float:
        """How long the broker has confirmed nothing of what was sent; 0 when it has everything."""
        return now - max(self._confirmed_at, self._unanswered_at) if self.unconfirmed else 0.0

    def answered_within(self, seconds: float, now: float) -> bool:
        """Whether the broker has everything, or has confirmed something in so many seconds."""
        return not self.unconfirmed or now - self._confirmed_at < seconds

    def _measure(self, now: float) -> None:
        packets, max_packets = self.collected + self.unconfirmed, self._limits.max_pending_packets
        size, max_size = self.size, self._limits.max_pending_bytes
        if self.full_since is None and (packets >= max_packets or size >= max_size):
            self.full_since = now
        elif self.full_since is not None and packets <= max_packets // 2 and size <= max_size // 2:
            self.full_since = None
