"""What is missing of what a client has sent: to a session's owner, as the log and the client's own numbers tell, and to
a worker that has begun without it. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from litevoice_contracts.conversation import Mark
from litevoice_contracts.events import Handover
from litevoice_gateway.handover import last_of, says_something
from litevoice_gateway.runs import Run
from litevoice_gateway.session_state import SessionState


def lacks_an_utterance(state: SessionState, epoch: int) -> bool:
    """One was last heard, or has ended, at an owner before the one of `epoch`, is not understood, and that one does not
    have it (yet)."""
    heard = [one.end for one in state.snapshot.cursor.untranscribed]
    if state.speaking:
        heard.append(Mark(state.spoken_in, 0))
    return any(mark.epoch < epoch and not _reach(state.handed.entries, mark) for mark in heard)


def lacks_an_end(state: SessionState, epoch: int, mark: Mark, run: Run) -> bool:
    """Of an utterance that is not understood, the end comes after the `run` that begins at `mark`, before `epoch`."""
    ends = state.snapshot.cursor.untranscribed
    return mark.epoch < epoch and bool(ends) and ends[-1].end >= Mark(mark.epoch, mark.seq + len(run.packets))


def lacks_numbers(state: SessionState, own: Iterable[Run], *, expects: bool) -> bool:
    """The broker has more than the client sends again, which is in `own`, and the log accounts for; nobody knows before
    the client goes on, and until then nobody `expects` anything, as a rule."""
    first, settled = first_number(own), state.snapshot.cursor.client_seq
    if first is None:
        return settled is not None and not expects
    return first > _known_before(state.handed.entries, settled) + 1


def is_lacked(entry: Handover, settled: int | None, again: int | None) -> bool:
    """By a worker that has not got it: it is more than silence, more than a worker is done with (`settled`: the newest
    of the client's own numbers of that), and more than the client sends again (from the number `again` on)."""
    numbers = entry.client_seqs or [None] * len(entry.packets)
    return any(
        says_something([packet])
        and (number is None or ((settled is None or number > settled) and (again is None or number < again)))
        for packet, number in zip(entry.packets, numbers, strict=True)
    )


def first_number(runs: Iterable[Run]) -> int | None:
    """The client's own of the first packet that has one."""
    return next((number for run in runs for number in run.client_seqs or () if number is not None), None)


def _known_before(entries: Sequence[Handover], settled: int | None) -> int:
    """The client's own number up to which nothing is missing, where a worker is done with all up to `settled`, and with
    what an owner has not left of its epoch's beginning."""
    known = settled or 0
    for entry in entries:
        for number in entry.client_seqs or ():
            if number is not None and (entry.seq or number <= known + 1):
                known = max(known, number)
    return known


def _reach(entries: Iterable[Handover], mark: Mark) -> bool:
    """One of them goes on to the packet `mark` of its epoch."""
    return any(entry.epoch == mark.epoch and last_of(entry) >= mark for entry in entries)
