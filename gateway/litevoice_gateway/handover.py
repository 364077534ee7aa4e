"""What one owner of a session leaves to the next: packets that the broker has and that no worker is done with.

A worker that dies, or gives its partition away, in the middle of an utterance takes what it has heard with it. While
the session's owner stays, that one sends it again; when the owner changes as well, the next one has it from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from litevoice_contracts.conversation import Mark
from litevoice_contracts.events import Handover, Progress
from litevoice_contracts.packets import EpochEnd, Packet, Silence
from litevoice_gateway.runs import Run, size_of


class Handed:
    """What earlier owners have left, in order, as far as it is still needed.

    Attributes:
        since, at: positions of the oldest and the newest message that brought some of it; -1 for none.
        progress: the newest that the log, or the owner, knows.
        size: of the packets, in bytes as the bounds count them.
    """

    __slots__ = ("_settled", "at", "entries", "progress", "since", "size")

    def __init__(self) -> None:
        self.since = self.at = -1
        self.entries: tuple[Handover, ...] = ()
        self.progress: Progress | None = None
        self.size = 0
        self._settled = Mark(-1, -1)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def take(self, entry: Handover, position: int) -> None:
        """From the log; what is known, because it was sent again or is settled, changes nothing. Of owners in quick
        succession the first may write after the second."""
        if entry.progress is not None:
            self.done(entry.progress)
        known = max((last_of(one) for one in self.entries if one.epoch == entry.epoch), default=self._settled)
        rest = _after(entry, max(known, self._settled))
        if rest is not None:
            self.since, self.at = self.since if self.entries else position, position
            self._set(tuple(sorted((*self.entries, rest), key=lambda one: (one.epoch, one.seq))))

    def done(self, progress: Progress) -> None:
        """By the log."""
        self.told(progress)
        self.settle(progress.upto)

    def told(self, progress: Progress, *, lacked: bool = False) -> None:
        """By a worker's news: they say nothing of what comes later, nor, if it has `lacked` some of this, of what it
        may have begun without."""
        if self.progress is None or self.progress.upto <= progress.upto:
            self.progress = progress
        if not lacked:
            self._forget(progress.upto)

    def settle(self, upto: Mark) -> None:
        """Nothing up to there is needed any more."""
        self._settled = max(self._settled, upto)
        self._forget(upto)

    def _forget(self, upto: Mark) -> None:
        if self.entries and (self.entries[0].epoch, self.entries[0].seq) <= (upto.epoch, upto.seq):
            self._set(tuple(rest for entry in self.entries if (rest := _after(entry, upto)) is not None))

    def drop(self) -> int:
        """Gives all of it up; returns how many packets that were."""
        dropped = sum(len(entry.packets) for entry in self.entries)
        self._set(())
        return dropped

    @property
    def audio_ms(self) -> int:
        return sum(run_of(entry).audio_ms for entry in self.entries)

    @property
    def says_something(self) -> bool:
        return says_something(packet for entry in self.entries for packet in entry.packets)

    def _set(self, entries: tuple[Handover, ...]) -> None:
        self.entries = entries
        self.size = sum(size_of(packet) for entry in entries for packet in entry.packets)


def handover(epoch: int, seq: int, run: Run, progress: Progress | None, former: Mark | None) -> Handover:
    """Of packets that are numbered from `seq` on."""
    return Handover(epoch, seq, run.packets, run.codec, run.client_seqs, progress, former)


def needed(entries: Sequence[Handover], own: Iterable[Run], first_end: Mark | None) -> list[Handover]:
    """Each epoch up to what the client has sent again, to the owner of a later one, if the first utterance that waits
    for its transcript has ended there (at `first_end`): whoever hears it again must find that end."""
    if first_end is None:
        return list(entries)
    kept: list[Handover] = []
    again: set[int | None] = {number for run in own for number in run.client_seqs or ()}
    for entry in reversed(entries):
        numbers = entry.client_seqs or [None] * len(entry.packets)
        count = next((at for at, number in enumerate(numbers) if number is not None and number in again), None)
        if entry.epoch >= first_end.epoch or count is None:
            kept.insert(0, entry)
        else:
            kept = [one for one in kept if one.epoch != entry.epoch]
            if says_something(entry.packets[:count]):
                kept.insert(0, _until(entry, count))
        again.update(numbers)
    return kept


def _until(entry: Handover, count: int) -> Handover:
    """Its first `count` packets; its epoch ends there."""
    numbers = entry.client_seqs and [*entry.client_seqs[:count], None]
    return replace(entry, packets=[*entry.packets[:count], EpochEnd()], client_seqs=numbers)


def run_of(entry: Handover) -> Run:
    run = Run(entry.codec, 0.0)
    run.packets, run.client_seqs = entry.packets, entry.client_seqs
    return run


def last_of(entry: Handover) -> Mark:
    """Its last packet."""
    return Mark(entry.epoch, entry.seq + len(entry.packets) - 1)


def says_something(packets: Iterable[Packet]) -> bool:
    """They are more than silence, or the end of an epoch."""
    return any(not isinstance(packet, Silence | EpochEnd) for packet in packets)


def _after(entry: Handover, mark: Mark) -> Handover | None:
    """What of it comes after `mark`."""
    if mark < Mark(entry.epoch, entry.seq):
        return entry
    if last_of(entry) <= mark:
        return None
    count = mark.seq + 1 - entry.seq
    numbers = entry.client_seqs and entry.client_seqs[count:]
    return replace(entry, seq=entry.seq + count, packets=entry.packets[count:], client_seqs=numbers)
