"""When a client is told which of its packets the broker has: not at each confirmation, and the last one in any case."""

from __future__ import annotations


class Acknowledgements:
    """Of one connection, sans I/O; made with the first confirmation, for few clients number their packets.

    Args:
        every_seconds: the least time between two; 0 tells each.
    """

    __slots__ = ("_every_seconds", "_next_at", "_waiting")

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._next_at = 0.0
        self._waiting: int | None = None

    def confirmed(self, client_seq: int) -> None:
        """The broker has this packet and all before it."""
        self._waiting = client_seq

    def due(self, now: float) -> int | None:
        """The number to tell now; it counts as told."""
        if self._waiting is None or now < self._next_at:
            return None
        told, self._waiting, self._next_at = self._waiting, None, now + self._every_seconds
        return told
