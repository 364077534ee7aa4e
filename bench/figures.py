"""What a measurement is held against: figures with bars and goals, and the table that shows them. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["goal", "ok", "missed", ""]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        value: None when nothing could be measured, which misses every bar.
        bar: what it must not exceed; None: shown, not judged.
        goal: what would be good.
        note: shown behind the verdict.
    """

    name: str
    value: float | None
    unit: str = ""
    bar: float | None = None
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.bar is None and self.goal is None:
            return ""
        if self.value is None:
            return "missed" if self.bar is not None else ""
        if self.goal is not None and self.value <= self.goal:
            return "goal"
        if self.bar is None:
            return ""
        return "ok" if self.value <= self.bar else "missed"


def missed(figures: Iterable[Figure]) -> list[str]:
    """Names of the figures that miss their bar."""
    return [figure.name for figure in figures if figure.verdict == "missed"]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that `percent` of them do not exceed; None of nothing."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def number(value: float | None) -> str:
    """Three digits that mean something, grouped by thousands."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def spread(values: Sequence[float]) -> str:
    """Median, least and most: ``1.20 (1.10–1.31)``."""
    if not values:
        return "–"
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows as text, the first one underlined; `right`: columns that are right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(rows[0]), line(["-" * width for width in widths]), *(line(row) for row in rows[1:])])


def table(figures: Iterable[Figure]) -> str:
    """Figure, measured, bar, goal, verdict."""
    rows = [("figure", "measured", "bar", "goal", "", "")]
    for figure in figures:
        bar = "" if figure.bar is None else f"≤ {number(figure.bar)}"
        goal = "" if figure.goal is None else f"≤ {number(figure.goal)}"
        measured = f"{number(figure.value)} {figure.unit}".rstrip()
        rows.append((figure.name, measured, bar, goal, figure.verdict, figure.note))
    return aligned(rows, right=(1, 2, 3))
