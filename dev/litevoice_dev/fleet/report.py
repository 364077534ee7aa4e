"""The result of a fleet's run: a table for people, and a plot of the sessions of each pod over time as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from litevoice_dev.chaos.gaps import quantile
from litevoice_dev.fleet.judge import GAP_SECONDS, MOVES_PER_SESSION, Verdict
from litevoice_dev.fleet.records import Sample, Stay, Step
from litevoice_dev.panels import COLOURS, TOP, Panel, document
from litevoice_dev.scenarios.printing import columns

MOST_FINDINGS_SHOWN = 40
MOST_NAMED = 14
"""Pods in the plot's legend; there are more lines than that has room."""


def lines(verdict: Verdict, steps: Sequence[Step], stays: Sequence[Stay], calls: int) -> list[str]:
    judged, counts = verdict.judged, Counter(finding.what for finding in verdict.findings)
    lost, doubled, reordered = (str(counts[what]) for what in ("lost", "doubled", "reordered"))
    rows = [["step", "times", "took", "moves", "gap p50", "p99", "largest", "bar"]]
    for kind in dict.fromkeys(step.kind for step in steps):
        own, seconds = [step for step in steps if step.kind == kind], verdict.seconds(kind)
        took = "–".join(f"{edge(step.ended - step.began for step in own):.0f}" for edge in (min, max))
        figures = [f"{quantile(seconds, share):.2f} s" if seconds else "" for share in (0.5, 0.99, 1.0)]
        bar = f"{GAP_SECONDS:g} s" if own[0].planned else ""
        rows.append([kind, str(len(own)), f"{took} s", str(len(seconds)), *figures, bar])
    per_session = ", ".join(f"{times:.2f}" for times in verdict.per_session) or "none"
    hung_up = sum(stay.hung_up for stay in stays)
    shown = [
        *columns(rows),
        "",
        *columns(
            [
                ["exactly once", "seen", "lost", "doubled", "reordered"],
                ["packets and events", str(judged.packets + judged.events), lost, doubled, reordered],
            ]
        ),
        "",
        f"{calls} calls, {judged.answers} answers compared to the byte, {counts['missing']} missing; "
        f"{judged.in_flight} audio packets of callers without acknowledgements were lost in flight",
        f"victims      {verdict.victims} choices judged, {counts['wrong victim']} wrong",
        f"rollouts     moves per session: {per_session}, at most {MOVES_PER_SESSION:g}",
        f"cannot return  {len(stays)} calls, {hung_up} ended by their callers, {counts['cut early']} cut too early",
        "",
        *(f"✘ {finding}" for finding in verdict.findings[:MOST_FINDINGS_SHOWN]),
    ]
    if len(verdict.findings) > MOST_FINDINGS_SHOWN:
        shown.append(f"✘ and {len(verdict.findings) - MOST_FINDINGS_SHOWN} more, see the raw data")
    return [*shown, "✔ every bar held" if verdict.good else "✘ missed"]


def plot(samples: Sequence[Sample], steps: Sequence[Step], began: float) -> str:
    """A line for each gateway, broken where it did not answer; steps are shaded, and named under the pointer."""
    ended = max([began + 1.0, *(sample.at for sample in samples), *(step.ended for step in steps)])
    most = max((pod.sessions or 0 for sample in samples for pod in sample.pods), default=0)
    top = next(size * scale for scale in (10, 100, 1000, 10_000) for size in (1, 2, 5) if size * scale >= most)
    panel = Panel(TOP, ended - began, 0, top, logarithmic=False)
    panel.axes("sessions of each gateway", [top * share / 4 for share in range(5)])
    kinds = list(dict.fromkeys(step.kind for step in steps))
    for step in steps:
        panel.span(step.began - began, step.ended - began, COLOURS[kinds.index(step.kind) % len(COLOURS)], step.what)
    names = list(dict.fromkeys(pod.name for sample in samples for pod in sample.pods))
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        for piece in _pieces(samples, name):
            panel.line(((at - began, sessions) for at, sessions in piece), colour)
        if number < MOST_NAMED:
            panel.legend(number, name, colour)
    if len(names) > MOST_NAMED:
        panel.legend(MOST_NAMED, f"and {len(names) - MOST_NAMED} more", "#57606a")
    return document("Sessions of each gateway over time", panel.parts, panels=1)


def _pieces(samples: Sequence[Sample], name: str) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for sample in samples:
        held = next((pod.sessions for pod in sample.pods if pod.name == name), None)
        if held is not None:
            pieces[-1].append((sample.at, held))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]
