"""How much audio of all sessions waits in the worker, so that it takes no more from the broker than it can hear."""

from __future__ import annotations

import asyncio

from litevoice_worker.audio import UNITS_PER_MILLISECOND

MAX_SECONDS = 400.0
"""Audio behind what the network is hearing: about a second of work for one core, if all of it is speech."""
MAX_BYTES = 256 << 20


class Unheard:
    """The sum over all sessions. At a bound `room` waits: who is about to acknowledge a message to the broker waits
    too, so the partition stands still, its lag grows, and everything else (replies, heartbeats) goes on.

    A session alone is bounded by its backlog (order.py). Audio that waits for a transcript counts in bytes only: a slow
    recognizer must not keep other sessions from being heard.
    """

    def __init__(self, max_seconds: float = MAX_SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_units = int(max_seconds * 1000) * UNITS_PER_MILLISECOND
        self._max_bytes = max_bytes
        self._units = 0
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    @property
    def seconds(self) -> float:
        """Audio that waits for the network."""
        return self._units / 1000 / UNITS_PER_MILLISECOND

    @property
    def bytes(self) -> int:
        """Audio that waits for the network or for a transcript."""
        return self._bytes

    def change(self, more_bytes: int, more_units: int) -> None:
        """A session has so much more (or less) waiting."""
        self._bytes += more_bytes
        self._units += more_units
        if self._bytes > self._max_bytes or self._units > self._max_units:
            self._room.clear()
        else:
            self._room.set()

    async def room(self) -> None:
        """Returns when less waits than the bounds; at once, without a turn of the event loop, when it does already."""
        while not self._room.is_set():
            await self._room.wait()
