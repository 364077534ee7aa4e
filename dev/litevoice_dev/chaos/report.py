"""The result of a run: a table for people, raw data as JSON, a plot of the gaps as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from litevoice_dev.chaos.checker import Finding, Judged
from litevoice_dev.chaos.gaps import BARS, Gap, Usual, quantile
from litevoice_dev.chaos.records import Happened, Use, Visit
from litevoice_dev.panels import COLOURS, TOP, Panel, document
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
        """Gaps that only this kind of fault explains; in a short run, whose faults follow at once, all of its own."""
        return [gap.seconds for gap in self.gaps if gap.fault.kind == kind and (gap.alone or not self.hold_gaps)]


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
        f"not compared; {judged.resent} typed questions sent again; {judged.with_both} told as failed when gateway and "
        "worker were struck at a time",
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
    together = [gap.seconds for gap in result.gaps if not gap.alone and result.hold_gaps]
    if together:
        figures = [f"{quantile(together, share):.2f} s" for share in (0.5, 0.99, 1.0)]
        rows.append(["several kinds at once", "", str(len(together)), *figures, ""])
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
    data["gaps"] = [[gap.at - result.began, gap.seconds, gap.fault.what, gap.alone] for gap in result.gaps]
    data["visits"] = [[visit.at - result.began, visit.outcome, visit.seconds] for visit in result.visits]
    return data


def plot(result: Result) -> str:
    """Gaps over time as SVG: a dot per caller and fault, in the colour of the fault's kind; logarithmic seconds."""
    panel = Panel(TOP, max(result.ended - result.began, 1.0), 0.01, 100, logarithmic=True)
    panel.axes("seconds that callers heard nothing, beyond the usual", [0.01, 0.1, 1, 10, 100])
    for row, kind in enumerate(dict.fromkeys(fault.kind for fault in result.faults)):
        colour = COLOURS[row % len(COLOURS)]
        for fault in result.faults:
            if fault.kind == kind:
                panel.span(fault.began - result.began, fault.back_at - result.began, colour, fault.what)
        panel.dots(
            ((gap.at - result.began, gap.seconds) for gap in result.gaps if gap.fault.kind == kind and gap.seconds),
            colour,
        )
        panel.legend(row, kind, colour)
    return document(f"Gaps around faults, seed {result.seed}, {result.calls} calls", panel.parts, panels=1)
