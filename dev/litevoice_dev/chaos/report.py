"""The result of a run: a table for people, raw data as JSON, a plot of the gaps as SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from litevoice_dev.chaos.checker import Finding, Judged
from litevoice_dev.chaos.gaps import BARS, Gap, Usual, quantile
from litevoice_dev.chaos.records import Happened, Use, Visit
from litevoice_dev.scenarios.printing import columns

PACKET_MILLISECONDS = 20
MOST_FINDINGS_SHOWN = 40


@dataclass(slots=True)
class Result:
    """Everything that a run is judged by.

    Attributes:
        began, ended: time.monotonic() of the disturbances.
        judged: all calls that were audited, added up.
        hold_gaps: whether gap bars decide, too: a short run on a busy machine only prints them.
        whole: the run was not cut off.
    """

    seed: int
    began: float
    ended: float
    calls: int
    judged: Judged
    faults: Sequence[Happened]
    gaps: Sequence[Gap]
    usual: Usual
    visits: Sequence[Visit]
    refused: int
    reconnects: int
    before: Use
    after: Use
    hold_gaps: bool
    whole: bool = True
    findings: list[Finding] = field(default_factory=list)

    @property
    def missed_gaps(self) -> list[str]:
        """Bars that the gaps miss, in words."""
        return [
            f"{kind}: gaps p99 {p99:.2f} s, at most {BARS[kind]:g} s"
            for kind, p99 in ((kind, quantile(self.seconds(kind), 0.99)) for kind in BARS)
            if p99 > BARS[kind]
        ]

    @property
    def good(self) -> bool:
        return not self.findings and not (self.hold_gaps and self.missed_gaps)

    def seconds(self, kind: str) -> list[float]:
        """All gaps of one kind of fault."""
        return [gap.seconds for gap in self.gaps if gap.fault.kind == kind]


def lines(result: Result) -> list[str]:
    """The table, and what is wrong."""
    judged, counts = result.judged, Counter(finding.what for finding in result.findings)
    shown = [
        f"seed {result.seed}, {result.ended - result.began:.0f} s, {len(result.faults)} faults, {result.calls} calls"
        + ("" if result.whole else " (cut off)"),
        "",
        *columns(
            [
                ["exactly once", "seen", "lost", "doubled", "reordered"],
                [
                    "packets and events",
                    str(judged.packets + judged.events),
                    *_of(counts, "lost", "doubled", "reordered"),
                ],
            ]
        ),
        "",
        f"answers      {judged.answers} compared to the byte, {counts['answer'] + counts['events']} other than "
        f"undisturbed, {counts['missing']} missing; turns computed twice {counts['computed twice']}, "
        f"second owners {counts['second owner']}, wrong errors and closes {counts['told']}",
        f"in flight    {judged.in_flight} audio packets ({judged.in_flight * PACKET_MILLISECONDS} ms) of callers "
        f"without acknowledgements were lost in cut connections; {judged.spoiled} questions spoiled by it are "
        f"not compared; {judged.resent} typed questions sent again",
        f"connections  {result.reconnects} lost and made again, {result.refused} refused meanwhile",
        f"churn        {_churn(result.visits)}",
        "",
        *_gap_table(result),
        f"beyond the usual: {result.usual.first:.2f} s before an answer, {result.usual.later:.2f} s within; "
        "a broker's, proxy's, name server's from its return",
        "",
        *_use_table(result.before, result.after),
        "",
    ]
    shown += [f"✘ {finding}" for finding in result.findings[:MOST_FINDINGS_SHOWN]]
    if len(result.findings) > MOST_FINDINGS_SHOWN:
        shown.append(f"✘ and {len(result.findings) - MOST_FINDINGS_SHOWN} more, see the raw data")
    shown += [f"{'✘' if result.hold_gaps else '·'} {missed}" for missed in result.missed_gaps]
    return [*shown, "✔ every bar held" if result.good else "✘ missed"]


def _of(counts: Counter[str], *names: str) -> list[str]:
    return [str(counts[name]) for name in names]


def _churn(visits: Sequence[Visit]) -> str:
    outcomes = Counter(visit.outcome for visit in visits)
    said = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()) or "none"
    answered = [visit.seconds for visit in visits if visit.outcome == "answered"]
    return f"{said}; answered p50 {quantile(answered, 0.5):.2f} s, p99 {quantile(answered, 0.99):.2f} s"


def _gap_table(result: Result) -> list[str]:
    rows = [["fault", "times", "callers", "gap p50", "p99", "largest", "bar"]]
    for kind in dict.fromkeys(fault.kind for fault in result.faults):
        seconds = result.seconds(kind)
        bar = BARS.get(kind)
        times = sum(fault.kind == kind for fault in result.faults)
        figures = [f"{quantile(seconds, share):.2f} s" for share in (0.5, 0.99, 1.0)]
        rows.append([kind, str(times), str(len(seconds)), *figures, f"{bar:g} s" if bar else ""])
    return columns(rows)


def _use_table(before: Use, after: Use) -> list[str]:
    rows = [["held", "MiB before", "after", "descriptors before", "after"]]
    for part in after.memory:
        rows.append(
            [
                part,
                f"{before.memory.get(part, 0):.0f}",
                f"{after.memory[part]:.0f}",
                str(before.descriptors.get(part, 0)),
                str(after.descriptors[part]),
            ]
        )
    return [
        *columns(rows),
        f"subscriptions {before.subscriptions} → {after.subscriptions}, "
        f"LiteTopics {before.lite_topics} → {after.lite_topics}",
    ]


def raw(result: Result) -> dict[str, Any]:
    """As JSON takes it; times in seconds since the beginning."""
    data = asdict(result)
    for fault in data["faults"]:
        fault["began"], fault["back_at"] = fault["began"] - result.began, fault["back_at"] - result.began
    data["gaps"] = [[gap.at - result.began, gap.seconds, gap.fault.what] for gap in result.gaps]
    data["visits"] = [[visit.at - result.began, visit.outcome, visit.seconds] for visit in result.visits]
    return data


WIDTH, HEIGHT, LEFT, RIGHT, TOP = 1000, 320, 60, 200, 50
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df", "#bf8700", "#57606a", "#0a7ea4", "#bc4c00", "#6639ba")


def plot(result: Result) -> str:
    """Gaps over time as SVG: a dot per caller and fault, in the colour of the fault's kind; logarithmic seconds."""
    whole = max(result.ended - result.began, 1.0)
    kinds = list(dict.fromkeys(fault.kind for fault in result.faults))
    colours = {kind: COLOURS[number % len(COLOURS)] for number, kind in enumerate(kinds)}

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, (at - result.began) / whole))

    def y(seconds: float) -> float:
        return TOP + HEIGHT * (1 - (math.log10(min(100.0, max(0.01, seconds))) + 2) / 4)

    def text(left: float, top: float, said: str, colour: str = "#24292f", anchor: str = "start") -> str:
        return f'<text x="{left:.0f}" y="{top:.0f}" fill="{colour}" text-anchor="{anchor}">{escape(said)}</text>'

    parts = [text(LEFT, 20, f"Longest silence of each caller around each fault, seconds; seed {result.seed}")]
    for power in range(-2, 3):
        parts.append(f'<path d="M{LEFT} {y(10**power):.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
        parts.append(text(LEFT - 6, y(10**power) + 4, f"{10**power:g}", anchor="end"))
    for share in range(7):
        at = result.began + whole * share / 6
        parts.append(text(x(at), TOP + HEIGHT + 18, f"{whole * share / 6:.0f} s", anchor="middle"))
    for fault in result.faults:
        left, right = x(fault.began), x(fault.back_at)
        parts.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{max(1.0, right - left):.1f}" height="{HEIGHT}" '
            f'fill="{colours[fault.kind]}" opacity="0.12"><title>{escape(fault.what)}</title></rect>'
        )
    for gap in result.gaps:
        parts.append(
            f'<circle cx="{x(gap.at):.1f}" cy="{y(gap.seconds):.1f}" r="2.5" fill="{colours[gap.fault.kind]}"/>'
        )
    parts += [text(WIDTH - RIGHT + 10, TOP + 10 + 16 * row, kind, colours[kind]) for row, kind in enumerate(kinds)]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{TOP + HEIGHT + 40}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
