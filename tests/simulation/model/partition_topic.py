"""A FIFO topic with one queue, read by one orderly group with POP: the order lock, attempts, invisible time, resets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

BATCH_MESSAGES = 32


@dataclass(frozen=True, slots=True)
class Stored:
    offset: int
    body: bytes
    properties: Mapping[str, str]
    born_at: float


@dataclass(slots=True)
class _Lock:
    """One batch that is handed out: nothing else is until it is acknowledged, or its time is over."""

    number: int
    attempt: str
    left: dict[int, float] = field(default_factory=dict)
    """Offsets that are not acknowledged, and until when each is invisible."""
    first: int = 0
    end: int = 0


class PartitionTopic:
    """`on_wake`: an open poll may have something."""

    def __init__(
        self,
        now: Callable[[], float],
        after: Callable[[float, Callable[[], None]], None],
        on_wake: Callable[[], None],
    ) -> None:
        self.messages: list[Stored] = []
        self.committed = 0
        self._now = now
        self._after = after
        self._on_wake = on_wake
        self._lock: _Lock | None = None
        self._number = 0

    def send(self, body: bytes, properties: Mapping[str, str], born_at: float) -> int:
        self.messages.append(Stored(len(self.messages), body, properties, born_at))
        return len(self.messages) - 1

    def wake(self) -> None:
        """After a request's messages are all there."""
        self._on_wake()

    def poll(self, attempt: str, invisible: float) -> tuple[int, list[Stored]]:
        """The batch's number and its messages. The attempt that has the lock gets its batch again."""
        lock = self._lock
        if lock is not None and all(until <= self._now() for until in lock.left.values()):
            lock = self._lock = None
        if lock is not None and lock.attempt != attempt:
            return 0, []
        if lock is None:
            first, end = self.committed, min(len(self.messages), self.committed + BATCH_MESSAGES)
        else:
            first, end = self.committed, lock.end
        if first >= end:
            return 0, []
        self._number += 1
        until = self._now() + invisible
        self._lock = _Lock(self._number, attempt, dict.fromkeys(range(first, end), until), first, end)
        self._after(invisible, self._on_wake)
        return self._number, self.messages[first:end]

    def acknowledge(self, offset: int, batch: int) -> bool:
        lock = self._lock
        if lock is None or lock.number != batch or lock.left.pop(offset, None) is None:
            return False
        self.committed = min(lock.left, default=lock.end)
        if not lock.left:
            self._lock = None
            self._on_wake()
        return True

    def change_invisible(self, offset: int, batch: int, seconds: float) -> bool:
        lock = self._lock
        if lock is None or lock.number != batch or offset not in lock.left:
            return False
        lock.left[offset] = self._now() + seconds
        self._after(seconds, self._on_wake)
        return True

    def reset(self, offset: int) -> None:
        """Admin code 222: frees the order lock."""
        self.committed = offset
        self._lock = None
        self._on_wake()

    def restart(self, random: Random) -> None:
        """The lock survives; the last acknowledgements may not."""
        if self._lock is None:
            self.committed = max(0, self.committed - random.randrange(4))
