"""A session's way out: messages one after the other, each when the one before is confirmed, and numbered jobs for the
stages. Sans I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from litevoice_contracts import events
from litevoice_contracts.conversation import Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageId
from litevoice_worker.commands import CancelJob, Command, Count, Publish

MAX_EVENTS = 16
"""In one message."""
_ALONE = (events.TurnReplay, events.EpochRejected, events.SessionUpdated)
"""Questions may be taken back alone; SessionUpdated shows the configuration of its own message's snapshot."""


class Outlet:
    """Collects the commands of one input. `ids`: see MessageIds.

    Attributes:
        last: the newest message that was published, sent or not, since the session began (anew); None for none.
    """

    __slots__ = (
        "_commands",
        "_ids",
        "_in_flight",
        "_jobs",
        "_waiting",
        "last",
    )

    def __init__(self, ids: Iterator[MessageId]) -> None:
        self._ids = ids
        self.last: MessageId | None = None
        self._commands: list[Command] = []
        self._waiting: list[DownEnvelope] = []  # few; an empty deque takes 600 bytes
        self._in_flight = False
        self._jobs = 0

    @property
    def empty(self) -> bool:
        """Everything that was published is confirmed."""
        return not (self._waiting or self._in_flight)

    def publish(
        self, epoch: int, turn: int, news: list[events.DownEvent], attempt: int, snapshot: Snapshot | None = None
    ) -> None:
        self.last = next(self._ids)
        self._waiting.append(DownEnvelope(epoch, turn, news, attempt, snapshot, self.last))

    def confirmed(self) -> None:
        """The broker has confirmed the message in flight."""
        self._in_flight = False

    def keep_only(self, wanted: Callable[[DownEnvelope], bool]) -> None:
        """The session begins anew: takes back what was not sent yet."""
        self.last = None
        self._waiting = [envelope for envelope in self._waiting if wanted(envelope)]

    def new_job(self) -> int:
        """A number for the next job; the first is 1."""
        self._jobs += 1
        return self._jobs

    def command(self, command: Command) -> None:
        self._commands.append(command)

    def cancel(self, job: int) -> None:
        """0 is no job."""
        if job:
            self._commands.append(CancelJob(job))

    def count(self, metric: str, amount: float = 1, label: str = "") -> None:
        self._commands.append(Count(metric, label, amount))

    def send_next(self) -> None:
        """Sends the next message, unless one is in flight."""
        if self._waiting and not self._in_flight:
            self._in_flight = True
            self._commands.append(Publish(self._next()))

    def _next(self) -> DownEnvelope:
        """What waits, in one message as far as it may be: a message costs the broker more than what is in it."""
        envelope = self._waiting.pop(0)
        while self._waiting and _may_join(envelope, self._waiting[0]):
            following = self._waiting.pop(0)
            envelope = replace(
                following,
                events=[*envelope.events, *following.events],
                snapshot=following.snapshot or envelope.snapshot,
            )
        return envelope

    def take(self) -> list[Command]:
        """The commands since the last look."""
        commands, self._commands = self._commands, []
        return commands


def _may_join(envelope: DownEnvelope, following: DownEnvelope) -> bool:
    both = [*envelope.events, *following.events]
    same_attempt = (envelope.epoch, envelope.attempt) == (following.epoch, following.attempt)
    return same_attempt and len(both) <= MAX_EVENTS and not any(isinstance(event, _ALONE) for event in both)
