"""What somebody who listens to an answer hears, and when: as figures and as a small picture. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from litevoice_dev.voice_client import Heard

PICTURE_COLUMNS = 60
_BYTES_PER_SECOND = 48_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Audio that was played from `start` to `end` (time.monotonic()), and arrived at `arrived`."""

    arrived: float
    start: float
    end: float


def played(heard: Iterable[Heard]) -> list[Piece]:
    """The audio among `heard`, by a player that begins at once and plays on as soon as there is something to play."""
    pieces: list[Piece] = []
    for item in heard:
        if item.type != "response.output_audio.delta":
            continue
        seconds = len(getattr(item.event, "delta", "")) * 3 / 4 / _BYTES_PER_SECOND
        start = max(item.at, pieces[-1].end if pieces else 0.0)
        pieces.append(Piece(item.at, start, start + seconds))
    return pieces


def stall_seconds(pieces: Sequence[Piece]) -> float:
    """How long the player had nothing to play between the first piece and the last."""
    return sum(piece.start - before.end for before, piece in itertools.pairwise(pieces))


def picture(pieces: Sequence[Piece], disturbed_at: float, back_at: float, names: Mapping[str, str]) -> list[str]:
    """One row per gateway: when the listener heard what it delivered.

    Args:
        disturbed_at, back_at: when the first gateway was struck, and when the second delivered for the first time.
        names: row → label, for the rows ``before``, ``after`` and ``mark`` (what happened at `disturbed_at`).
    """
    if not pieces:
        return []
    begin, end = pieces[0].start, pieces[-1].end
    per_column = max(end - begin, 1.0) / PICTURE_COLUMNS
    width = max(len(names[row]) for row in ("before", "after"))

    def column(at: float) -> int:
        return min(PICTURE_COLUMNS - 1, max(0, int((at - begin) / per_column)))

    def row(mine: Sequence[Piece]) -> str:
        cells = [" "] * PICTURE_COLUMNS
        for piece in mine:
            first, last = column(piece.start), column(max(piece.start, piece.end - per_column / 2))
            cells[first : last + 1] = "█" * (last + 1 - first)
        return "".join(cells).rstrip()

    middle = 0.0
    axis = ""
    while middle <= end - begin:
        axis = axis.ljust(column(begin + middle)) + f"{middle:.0f} s"
        middle += 5.0
    return [
        f"{'':{width}}  {'':{column(disturbed_at)}}▼ {names['mark']}",
        f"{names['before']:{width}}  {row([p for p in pieces if p.arrived < back_at])}",
        f"{names['after']:{width}}  {row([p for p in pieces if p.arrived >= back_at])}",
        f"{'':{width}}  {axis}",
    ]
