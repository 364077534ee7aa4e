"""SVG plots of the raw data: two panels over one time axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from litevoice_dev.panels import COLOURS, GAP, HEIGHT, TOP, Panel, Point, document


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
    return document(title, latency.parts + cores.parts)


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
    return document(title, sessions.parts + _cores(cpu, seconds).parts)


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
