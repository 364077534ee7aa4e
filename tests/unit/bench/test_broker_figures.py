"""Both shapes carry the same bytes; figures compare rounds with one another."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from bench.broker import CONTENDERS, Results, comparison, figures
from bench.report import finish, write
from bench.sender import BEAT_BYTES, BEAT_SECONDS, departures

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("sessions", [1, 8, 50])
def test_a_bundle_carries_what_its_sessions_would_have_sent(sessions: int) -> None:
    single, bundled = departures("session", sessions, 8), departures("bundle", sessions, 8)
    assert len(single) == sessions
    assert len(bundled) == min(sessions, 8)
    for partition in range(8):
        assert sum(d[3] for d in single if d[1] == partition) == sum(d[3] for d in bundled if d[1] == partition)
    assert sum(departure[3] for departure in bundled) == sessions * BEAT_BYTES
    for plan in (single, bundled):
        assert [departure[0] for departure in plan] == sorted(departure[0] for departure in plan)
        assert all(0 <= departure[0] < BEAT_SECONDS for departure in plan)


def test_ratios_are_those_of_the_same_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {contender: Results([100.0, 400.0, 300.0], [1.0] * 3, [2.0] * 3, [3.0] * 3) for contender in CONTENDERS}
    results["ours", "session"].client_microseconds = [50.0, 200.0, 330.0]
    found = figures(results)
    assert [figure.value for figure in found] == [0.5, 1.0, 2.0]
    assert len(comparison(results).splitlines()) == 2 + len(CONTENDERS)

    assert finish("broker", Namespace(output=tmp_path, rounds=3, folder=tmp_path), found, {"more": [1]}, "heading") == 1
    kept = json.loads((tmp_path / "broker.json").read_text())
    assert kept["options"] == {"rounds": 3}
    assert kept["more"] == [1]
    assert [figure["verdict"] for figure in kept["figures"]] == ["ok", "ok", "missed"]
    assert "missed: ours, bundles to messages per session" in capsys.readouterr().out


def test_raw_data_has_a_line_for_each_key(tmp_path: Path) -> None:
    write(tmp_path / "new" / "x.json", {"a": [1, 2], "b": {}})
    assert (tmp_path / "new" / "x.json").read_text() == '{\n"a": [1,2],\n"b": {}\n}\n'
