"""What is done in a run, and how its result is shown."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from litevoice_contracts.errors import InvalidField
from litevoice_dev.chaos.checker import Finding
from litevoice_dev.fleet.plan import BRIEF, check, max_per_pod, plan
from litevoice_dev.fleet.records import Stay, Step
from litevoice_dev.fleet.report import MOST_FINDINGS_SHOWN, lines, plot
from tests.unit.dev.fleet.test_judge import DOWN, pod, run, story

KILL = Step("pod-kill", "pod-kill (1)", 210.0, 240.0)


def test_everything_is_done_in_turn() -> None:
    kinds = [step.kind for step in plan()]
    assert kinds[:6] == ["scale-up", "scale-down"] * 3
    assert kinds[6:] == ["rollout"] * 3 + ["node-drain", "node-cut", "pod-kill", "api-away"]
    assert [step.kind for step in plan(BRIEF)] == ["scale-up", "scale-down", "rollout"]
    assert [str(step) for step in plan(only="pod-kill, scale")[-2:]] == ["scale-down to 1 (3)", "pod-kill (1)"]
    with pytest.raises(InvalidField, match=r"--only: expected some of scale, .* got kill"):
        plan(only="kill")


def test_a_full_fleet_has_a_place_for_each_and_no_more() -> None:
    assert max_per_pod(155, full=True) == 39
    assert max_per_pod(155, full=False) > 155


@pytest.mark.parametrize(
    ("numbers", "field"),
    [
        ((3, 1, 0, 180), "--sessions"),
        ((150, 0, 0, 180), "--speaking"),
        ((150, 150, 0, 180), "--speaking"),
        ((150, 20, -1, 180), "--staying"),
        ((150, 20, 5, 1), "--away"),
    ],
)
def test_options_that_make_no_sense_are_named(numbers: tuple[int, int, int, float], field: str) -> None:
    with pytest.raises(InvalidField, match=f"^{field}: expected "):
        check(*numbers)
    check(150, 20, 5, 180)


def test_the_table_says_what_was_held() -> None:
    shown = lines(run(steps=[DOWN, KILL]), [DOWN, KILL], [Stay(0, 0.0, 9.0, hung_up=True)], calls=12)
    assert shown[-1] == "✔ every bar held"
    rows = {line.split()[0]: line.split() for line in shown if line}
    assert rows["scale-down"] == [
        "scale-down",
        "1",
        "100–100",
        "s",
        "1",
        "0.00",
        "s",
        "0.00",
        "s",
        "0.00",
        "s",
        "0.5",
        "s",
    ]
    assert rows["pod-kill"] == ["pod-kill", "1", "30–30", "s", "0"]
    assert rows["victims"][1:] == ["1", "choices", "judged,", "0", "wrong"]


def test_the_table_shows_what_is_wrong_and_not_without_end() -> None:
    verdict = run()
    verdict.findings = [Finding("lost", f"caller {number}", "packet 3") for number in range(MOST_FINDINGS_SHOWN + 5)]
    shown = lines(verdict, [DOWN], [], calls=1)
    assert shown[-1] == "✘ missed"
    assert shown[-2] == "✘ and 5 more, see the raw data"
    assert "✘ lost: caller 0: packet 3" in shown


def test_the_plot_is_well_formed_and_breaks_where_a_gateway_did_not_answer() -> None:
    samples = story(pod("<g-1>", 50), pod("g-2", 10), goes="g-2", at=112.0)
    silent = replace(samples[5], pods=(pod("<g-1>", None), pod("g-2", 10)))
    samples[5] = silent
    drawn = ElementTree.fromstring(plot(samples, [DOWN], 100.0))
    paths = [path.get("d") or "" for path in drawn.iter("{http://www.w3.org/2000/svg}path")]
    strokes = [path for path in paths if "L" in path]
    assert len(strokes) == 3, "two pieces of one, one of the other"
    assert "scale-down to 1 (1)" in "".join(drawn.itertext())
    ElementTree.fromstring(plot([], [], 100.0))
