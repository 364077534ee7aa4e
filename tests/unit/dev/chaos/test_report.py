"""What decides, what the table says, and a plot that is well-formed."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from litevoice_dev.chaos.checker import Finding, Judged
from litevoice_dev.chaos.gaps import Gap, Usual
from litevoice_dev.chaos.records import Happened, Use, Visit
from litevoice_dev.chaos.report import Result, lines, plot, raw

KILL = Happened("gateway-kill", "gateway-kill 0", 110.0, 112.0)


def result(gap: float, *findings: Finding, hold_gaps: bool = True, alone: bool = True) -> Result:
    use = Use({"gateways": 200.0}, {"gateways": 60}, 0, 4)
    return Result(
        seed=7,
        began=100.0,
        ended=160.0,
        calls=3,
        judged=Judged(packets=1000, events=300, answers=9, in_flight=5),
        faults=[KILL],
        gaps=[Gap(KILL, 110.5, gap, alone)],
        usual=Usual(0.9, 0.3),
        visits=[Visit(101.0, "answered", 0.4), Visit(102.0, "cut", 0.1)],
        refused=2,
        reconnects=4,
        before=use,
        after=use,
        hold_gaps=hold_gaps,
        findings=list(findings),
    )


LOST = Finding("lost", "caller 1", "3 packets")


@pytest.mark.parametrize(
    ("description", "made", "good", "last"),
    [
        ("all held", result(1.4), True, "✔ every bar held"),
        ("a gap that is too long", result(1.6), False, "✘ missed"),
        ("a gap on a busy machine is only shown", result(1.6, hold_gaps=False), True, "✔ every bar held"),
        ("a gap that several kinds of faults explain", result(1.6, alone=False), True, "✔ every bar held"),
        ("one lost", result(0.1, LOST), False, "✘ missed"),
        ("one lost in a short run", result(0.1, LOST, hold_gaps=False), False, "✘ missed"),
    ],
)
def test_what_decides(description: str, made: Result, good: bool, last: str) -> None:
    assert (made.good, lines(made)[-1]) == (good, last), description


def test_the_table_names_what_is_wrong() -> None:
    text = "\n".join(lines(result(1.6, LOST)))
    assert "✘ lost: caller 1: 3 packets" in text
    assert "✘ gateway-kill: gaps p99 1.60 s, at most 1.5 s" in text
    assert ["packets", "and", "events", "1300", "1", "0", "0"] in [line.split() for line in text.splitlines()]
    assert "1 answered, 1 cut" in text
    together = "\n".join(lines(result(1.6, alone=False)))
    assert "several kinds at once" in together
    assert "several" not in text
    short = "\n".join(lines(result(1.6, alone=False, hold_gaps=False)))
    assert "several" not in short
    assert "· gateway-kill: gaps p99 1.60 s, at most 1.5 s" in short


def test_raw_data_and_plot() -> None:
    made = result(1.6)
    data = json.loads(json.dumps(raw(made)))
    assert data["gaps"] == [[10.5, 1.6, "gateway-kill 0", True]]
    assert data["faults"][0]["began"] == 10.0
    svg = ElementTree.fromstring(plot(made))
    dots = [node for node in svg.iter() if node.tag.endswith("circle")]
    assert len(dots) == 1
