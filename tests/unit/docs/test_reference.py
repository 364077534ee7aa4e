"""docs/reference: made from the code, complete, and in step with what the operator reports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from litevoice_dev.reference import kubernetes
from litevoice_dev.reference.__main__ import FOLDER, pages
from litevoice_dev.reference.chart import Undocumented, chart

EMPTY_LAST_CELL = re.compile(r"\| +\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages()


def test_pages_match_the_code(made: dict[str, str]) -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.md")} == made, "run `make reference`"


@pytest.mark.parametrize("name", ["resources.md", "metrics.md", "settings.md", "chart.md", "conditions-and-events.md"])
def test_everything_is_described(made: dict[str, str], name: str) -> None:
    assert [line for line in made[name].splitlines() if EMPTY_LAST_CELL.search(line)] == []


def test_reasons_are_read_from_the_operators_sources(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        'Problem("First", "why", lasting=True)\n'
        'Finding(READY, "False", "Second" if worse else "Third", text)\n'
        'reason = "Fourth" if gateway else "Fifth"\n'
        'await self._cluster.post_event(reference, "Warning", "Sixth", message)\n'
        'EventText("Normal", "Seventh", message)\n'
        "Finding(READY, status, problem.reason)\n"
    )
    assert kubernetes.reasons(tmp_path) == ({"Sixth", "Seventh"}, {"First", "Second", "Third", "Fourth", "Fifth"})


def test_a_reason_that_is_not_described_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(kubernetes.REASONS, "InvalidSpec")
    with pytest.raises(kubernetes.Mismatch, match=r"describe.*InvalidSpec"):
        kubernetes.conditions_and_events()


def test_a_reason_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kubernetes.REASONS, "Gone", ("both", "no longer given"))
    with pytest.raises(kubernetes.Mismatch, match=r"remove.*Gone"):
        kubernetes.conditions_and_events()


def test_a_value_of_the_chart_without_a_comment_is_an_error(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("group:\n  # What it is.\n  told: 1\n  untold: 2\n")
    with pytest.raises(Undocumented, match=r"group\.untold"):
        chart(values)
