"""A FIFO topic with one queue, read by one orderly group with POP: the order lock, attempts, invisible time, resets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.simulation.model.written import LOCKS_SECONDS, OFFSETS_SECONDS, Writing, Written

BATCH_MESSAGES = 32


@dataclass(frozen=True, slots=True)
class Stored:
    offset: int
    body: bytes
    properties: Mapping[str, str]
    born_at: float
    message_id: str


@dataclass(frozen=True, slots=True)
class _Lock:
    """One batch that is handed out: nothing else is until it is acknowledged, or its time is over."""

    number: int
    attempt: str
    end: int
    left: Mapping[int, float]
    """Offsets that are not acknowledged, and until when each is invisible."""

    def holds(self, now: float) -> bool:
        return any(until > now for until in self.left.values())


class PartitionTopic:
    """`on_wake`: an open poll may have something."""

    def __init__(
        self,
        writing: Writing,
        after: Callable[[float, Callable[[], None]], None],
        on_wake: Callable[[], None],
    ) -> None:
        self.messages: list[Stored] = []
        self._offset = Written(writing, OFFSETS_SECONDS, 0)
        self._lock: Written[_Lock | None] = Written(writing, LOCKS_SECONDS, None)
        self._was_reset = False
        """Until the next poll no acknowledgement commits anything."""
        self._now = writing.now
        self._after = after
        self._on_wake = on_wake
        self._number = 0

    @property
    def committed(self) -> int:
        return self._offset.value

    def send(self, body: bytes, properties: Mapping[str, str], born_at: float, message_id: str) -> int:
        self.messages.append(Stored(len(self.messages), body, properties, born_at, message_id))
        return len(self.messages) - 1

    def wake(self) -> None:
        """After a request's messages are all there."""
        self._on_wake()

    def poll(self, attempt: str, invisible: float) -> tuple[int, list[Stored]]:
        """The batch's number and its messages. The attempt that has the lock gets it again, and what came since."""
        lock, now = self._lock.value, self._now()
        if lock is not None and lock.attempt != attempt and lock.holds(now) and not self._was_reset:
            return 0, []
        self._was_reset = False
        first, end = self.committed, min(len(self.messages), self.committed + BATCH_MESSAGES)
        if first >= end:
            return 0, []
        self._number += 1
        self._lock.value = _Lock(self._number, attempt, end, dict.fromkeys(range(first, end), now + invisible))
        self._after(invisible, self._on_wake)
        return self._number, self.messages[first:end]

    def acknowledge(self, offset: int, batch: int) -> None:
        """As of LiteTopics: receipts of an earlier batch do nothing; without any batch, they commit."""
        if offset < self.committed:
            return
        lock = self._lock.value
        if lock is None:
            committed = offset + 1
        elif lock.number == batch:
            left = {one: until for one, until in lock.left.items() if one != offset}
            lock = self._lock.value = replace(lock, left=left)
            committed = min(left, default=lock.end)
        else:
            return
        if not self._was_reset:
            self._offset.value = committed
        if lock is None or not lock.holds(self._now()):
            self._on_wake()

    def change_invisible(self, offset: int, batch: int, seconds: float) -> None:
        lock = self._lock.value
        if lock is not None and lock.number == batch and offset in lock.left:
            self._lock.value = replace(lock, left={**lock.left, offset: self._now() + seconds})
            self._after(seconds, self._on_wake)

    def reset(self, offset: int) -> None:
        """Admin code 222: frees the order lock. Open polls do not see it before they end."""
        self._offset.value, self._was_reset = offset, True

    def restart(self) -> None:
        """Nothing sent is lost; acknowledgements and the lock of the last seconds are."""
        self._was_reset = False
        self._offset.killed()
        self._lock.killed()
