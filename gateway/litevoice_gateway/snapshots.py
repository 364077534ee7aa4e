"""The snapshot that a worker begins with: that of the log, told how far the packets before it are done with."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from litevoice_contracts.conversation import Mark, Snapshot
from litevoice_contracts.events import Progress


def snapshot_before(
    first: Mark, snapshot: Snapshot, progress: Progress | None, refused: Iterable[tuple[Mark | None, int]]
) -> Snapshot:
    """Holds everything before packet `first`; at an epoch's start the snapshot's boundary stays.

    `refused`: epochs whose packets were numbered otherwise in one that was refused, and how packet 0 was there.
    """
    if progress is not None and (snapshot.boundary is None or snapshot.boundary < progress.upto):
        cursor = replace(snapshot.cursor, audio_ms=progress.audio_ms, noise_floor=progress.noise_floor)
        snapshot = replace(snapshot, cursor=cursor)
    for former, epoch in refused:
        if former is not None:  # what has taken effect must not do so under its new number
            cursor = snapshot.cursor
            events, packet = _renumbered(cursor.events, former, epoch), _renumbered(cursor.packet, former, epoch)
            open_ends = [
                replace(entry, end=_renumbered(entry.end, former, epoch) or entry.end) for entry in cursor.untranscribed
            ]
            cursor = replace(cursor, events=events, packet=packet, untranscribed=open_ends)
            snapshot = replace(snapshot, cursor=cursor)
    return replace(snapshot, boundary=Mark(first.epoch, first.seq - 1)) if first.seq else snapshot


def _renumbered(mark: Mark | None, former: Mark, epoch: int) -> Mark | None:
    if mark is None or mark.epoch != former.epoch or mark < former:
        return mark
    return Mark(epoch, mark.seq - former.seq)
