"""What a client keeps of its microphone until the broker has it, to send it again after the loss of a gateway. Pure."""

from __future__ import annotations

import collections
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    def __len__(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Unconfirmed(Generic[T]):
    """Appends in order, numbered from 1 on.

    Args:
        max_bytes: how much is kept at most; beyond it the oldest go, and are lost if the connection is lost before the
            broker has confirmed them. What a connection is yet to be sent stays in any case, until the next one
            begins: its first append is the one after what `come_back` said.

    Attributes:
        added: how many there were in all.
        given_up: how many were named as confirmed to a new connection though nobody has confirmed them.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: collections.deque[T] = collections.deque()
        self._bytes = 0
        self._confirmed = 0
        self._next = 0
        self._ever_sent = 0
        self.added = 0
        self.given_up = 0

    @property
    def confirmed(self) -> int:
        """How many the broker has for certain."""
        return self._confirmed

    @property
    def before(self) -> int:
        """How many came before the oldest that is kept."""
        return self.added - len(self._kept)

    @property
    def sent_before(self) -> int:
        """How many of those that this connection is yet to be sent were sent on an earlier one."""
        return max(0, self._ever_sent - self.before - self._next)

    def add(self, append: T) -> None:
        self._kept.append(append)
        self.added += 1
        self._bytes += len(append)
        while self._next > 0 and self._is_over():
            self._forget()

    def confirm(self, count: int) -> None:
        """The broker has the first `count`."""
        self._confirmed = max(self._confirmed, count)
        while self._kept and self.before < count:
            self._forget()

    def come_back(self) -> int:
        """A new connection begins: everything that is kept is to be sent on it. What to tell it as
        `confirmed_appends`."""
        while self._is_over():
            self._forget()
        self.given_up += max(0, self.before - self._confirmed)
        self._confirmed = max(self._confirmed, self.before)
        self._next = 0
        return self.before

    def take(self) -> T | None:
        """The next to send on this connection; None when all are sent."""
        if self._next >= len(self._kept):
            return None
        self._next += 1
        self._ever_sent = max(self._ever_sent, self.before + self._next)
        return self._kept[self._next - 1]

    def _is_over(self) -> bool:
        return self._bytes > self._max_bytes and len(self._kept) > 1

    def _forget(self) -> None:
        self._bytes -= len(self._kept.popleft())
        self._next = max(0, self._next - 1)
