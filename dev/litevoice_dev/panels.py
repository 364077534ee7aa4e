"""SVG plots of raw data over time, without a plotting library: one pair of axes, or two above one another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, GAP = 900, 260, 60
LEFT, RIGHT, TOP = 70, 170, 52
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a", "#0a7ea4")
Point = tuple[float, float]


class Panel:
    """One pair of axes, `top` pixels from the top; `low` and `high` bound the y axis."""

    def __init__(self, top: int, seconds: float, low: float, high: float, *, logarithmic: bool) -> None:
        self._top, self._seconds, self._low, self._high = top, seconds, low, high
        self._logarithmic = logarithmic
        self.parts: list[str] = []

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / self._seconds

    def y(self, value: float) -> float:
        if self._logarithmic:
            share = math.log(max(value, self._low) / self._low) / math.log(self._high / self._low)
        else:
            share = (value - self._low) / (self._high - self._low)
        return self._top + HEIGHT * (1 - min(1.0, max(0.0, share)))

    def text(self, x: float, y: float, text: str, anchor: str = "start", colour: str = "#24292f") -> None:
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>')

    def axes(self, title: str, ticks: Sequence[float]) -> None:
        self.text(LEFT, self._top - 12, title)
        for value in ticks:
            y = self.y(value)
            self.parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
            self.text(LEFT - 8, y + 4, f"{value:g}", "end")
        step = next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if self._seconds / step <= 12)
        for number in range(int(self._seconds / step) + 1):
            self.text(self.x(number * step), self._top + HEIGHT + 18, f"{number * step} s", "middle")

    def dots(self, points: Iterable[Point], colour: str) -> None:
        self.parts += [
            f'<circle cx="{self.x(at):.1f}" cy="{self.y(v):.1f}" r="2" fill="{colour}"/>' for at, v in points
        ]

    def span(self, begin: float, end: float, colour: str, said: str) -> None:
        """A time shaded from top to bottom; `said` is shown under the pointer."""
        width = max(1.0, self.x(end) - self.x(begin))
        self.parts.append(
            f'<rect x="{self.x(begin):.1f}" y="{self._top}" width="{width:.1f}" height="{HEIGHT}" fill="{colour}" '
            f'opacity="0.12"><title>{escape(said)}</title></rect>'
        )

    def line(self, points: Iterable[Point], colour: str) -> None:
        path = "L".join(f"{self.x(at):.1f} {self.y(value):.1f}" for at, value in points)
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')

    def bar(self, value: float, label: str) -> None:
        y = self.y(value)
        self.parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d1242f" stroke-dasharray="6 4"/>')
        self.text(WIDTH - RIGHT + 6, y + 4, label, colour="#d1242f")

    def legend(self, row: int, label: str, colour: str) -> None:
        self.text(WIDTH - RIGHT + 6, self._top + 14 + 16 * row, label, colour=colour)


def document(title: str, parts: Sequence[str], panels: int = 2) -> str:
    """A whole SVG file of so many panels, whose `parts` these are."""
    height = TOP + panels * HEIGHT + (panels - 1) * GAP + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title><rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )
