"""SVG plots of the raw data, without a plotting library: two panels over one time axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
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

    def line(self, points: Iterable[Point], colour: str) -> None:
        path = "L".join(f"{self.x(at):.1f} {self.y(value):.1f}" for at, value in points)
        self.parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')

    def bar(self, value: float, label: str) -> None:
        y = self.y(value)
        self.parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d1242f" stroke-dasharray="6 4"/>')
        self.text(WIDTH - RIGHT + 6, y + 4, label, colour="#d1242f")

    def legend(self, row: int, label: str, colour: str) -> None:
        self.text(WIDTH - RIGHT + 6, self._top + 14 + 16 * row, label, colour=colour)


def path(data: Mapping[str, Any]) -> str:
    """Raw data of bench.path: every answer's latency, and the CPU of each part."""
    load, cpu = data["load"], data["cpu"]
    seconds = float(data["options"]["seconds"])
    answers = {kind: [(row[0], row[3] if row[index] is None else row[index]) for row in load[kind]]
               for kind, index in (("typed", 2), ("spoken", 1))}  # fmt: skip
    slowest = max((value for points in answers.values() for _, value in points), default=100.0)
    decades = math.ceil(math.log10(max(slowest, 1000)))
    latency = Panel(TOP, seconds, 10, 10**decades, logarithmic=True)
    latency.axes(
        "milliseconds until response.done (typed), until the first audio (spoken)",
        [10**power for power in range(1, decades + 1)],
    )
    for row, (kind, colour) in enumerate((("typed", COLOURS[0]), ("spoken", COLOURS[2]))):
        latency.dots(answers[kind], colour)
        latency.legend(row, kind, colour)
    bar = next((figure["bar"] for figure in data["figures"] if figure["name"].endswith("response.done, p99")), None)
    if bar:
        latency.bar(bar, f"bar of typed p99, {bar:g}")

    cores = _cores(cpu, seconds)
    title = f"{data['options']['sessions']} open microphones, {data['machine']['cores']} cores, {data['measured'][:10]}"
    return _document(title, latency.parts + cores.parts)


def storm(data: Mapping[str, Any]) -> str:
    """Raw data of bench.storm: how many sessions have tried, and are live; the CPU of each part."""
    returned, cpu = data["load"]["returned"], data["cpu"]
    seconds = max([cpu[-1][0], *(session[3] for session in returned)])
    sessions = Panel(TOP, seconds, 0, data["options"]["sessions"], logarithmic=False)
    sessions.axes("sessions", [data["options"]["sessions"] * share / 4 for share in range(5)])
    for row, (label, column) in enumerate((("tried last", 1), ("live", 3))):
        at = sorted(session[column] for session in returned)
        step = max(1, len(at) // 200)
        sessions.line([(0, 0), *((at[count], count + 1) for count in range(0, len(at), step))], COLOURS[row])
        sessions.legend(row, label, COLOURS[row])
    title = (
        f"{data['options']['sessions']} sessions come back, {data['machine']['cores']} cores, {data['measured'][:10]}"
    )
    return _document(title, sessions.parts + _cores(cpu, seconds).parts)


def _cores(cpu: Sequence[Any], seconds: float) -> Panel:
    rates = {part: list(_rates(cpu, part)) for part in sorted(cpu[0][1])}
    most = max((value for points in rates.values() for _, value in points), default=1.0)
    cores = Panel(TOP + HEIGHT + GAP, seconds, 0, max(1.0, math.ceil(most * 2) / 2), logarithmic=False)
    cores.axes("CPU, cores", [0, 0.25, 0.5, 0.75, 1.0])
    for row, (part, points) in enumerate(rates.items()):
        cores.line(points, COLOURS[row % len(COLOURS)])
        cores.legend(row, part, COLOURS[row % len(COLOURS)])
    return cores


def _rates(cpu: Sequence[Any], part: str) -> Iterable[Point]:
    for (before, earlier), (at, later) in itertools.pairwise(cpu):
        if at > before:
            yield at, (later[part] - earlier[part]) / (at - before)


def _document(title: str, parts: Sequence[str]) -> str:
    height = TOP + 2 * HEIGHT + GAP + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title><rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )
