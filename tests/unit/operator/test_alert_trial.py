"""A BacklogAlert tried on measurements from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from litevoice_contracts.errors import InvalidField
from litevoice_operator import alert_trial
from litevoice_operator.alert_trial import read

ALERT = {
    "kind": "BacklogAlert",
    "spec": {
        "gatewayRef": {"name": "demo"},
        "target": "Replies",
        "thresholds": [
            {"severity": "warning", "perSession": {"messages": 20}},
            {"severity": "critical", "messages": 100},
        ],
        "forSeconds": 10,
    },
}
SAMPLES = [
    {"at": 0, "sessions": {"s_a": {"messages": 19}}, "expect": "Inactive"},
    {"at": 5, "sessions": {"s_a": {"messages": 20}}, "expect": "Pending warning"},
    {"at": 15, "sessions": {"s_a": {"messages": 25}}, "expect": "Firing warning"},
    {"at": 20, "sessions": {"s_a": {"messages": 25}}, "messages": 100, "expect": "Firing critical"},
    {"at": 25, "unseen": "gateway-1", "expect": "Firing critical"},
    {"at": 30, "expect": "Inactive"},
]


def run(folder: Path, samples: Any) -> int:
    for name, content in (("alert.yaml", ALERT), ("samples.yaml", samples)):
        (folder / name).write_text(yaml.safe_dump(content))
    return alert_trial.main(str(folder / "alert.yaml"), str(folder / "samples.yaml"))


def test_what_would_be_told_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, SAMPLES) == 0
    told = [line.split()[2:5] for line in capsys.readouterr().out.splitlines()]
    assert [words for words in told if words[-1] in ("Firing", "Escalated") or words[1] == "Resolved"] == [
        ["Firing", "warning", "Firing"],
        ["Firing", "critical", "Escalated"],
        ["Inactive", "Resolved", "no"],
    ]


def test_what_is_not_as_expected_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, [*SAMPLES[:2], SAMPLES[2] | {"expect": "Firing critical"}]) == 1
    assert capsys.readouterr().out.splitlines()[2].endswith("expected Firing critical")


@pytest.mark.parametrize(
    ("alert", "samples", "where"),
    [
        ({"kind": "Pod"}, [], "alert.kind"),
        ({**ALERT, "spec": {**ALERT["spec"], "target": "All"}}, [], "alert.spec.target"),  # type: ignore[dict-item]
        ({**ALERT, "spec": {**ALERT["spec"], "forSecond": 5}}, [], "alert.spec.forSecond"),  # type: ignore[dict-item]
        (
            {**ALERT, "spec": {**ALERT["spec"], "thresholds": [{"severity": "info", "message": 1}]}},  # type: ignore[dict-item]
            [],
            "alert.spec.thresholds.0.message",
        ),
        (ALERT, [{"at": 0, "session": {}}], "samples.0.session"),
        (ALERT, [{"at": 0, "sessions": {"s_a": {"messages": -1}}}], "samples.0.sessions.s_a.messages"),
    ],
)
def test_what_does_not_fit_is_named(alert: Any, samples: Any, where: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read(alert, samples)
    assert str(caught.value).startswith(f"{where}: ")


def test_a_field_that_there_is_none_of_is_told_so() -> None:
    with pytest.raises(InvalidField, match=r"alert\.spec\.forSecond: expected no field of this name"):
        read({**ALERT, "spec": {**ALERT["spec"], "forSecond": 5}}, [])  # type: ignore[dict-item]


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "alert.yaml").write_text("kind: [")
    assert alert_trial.main(str(tmp_path / "alert.yaml"), "none") == 2
    assert f"litevoice: {tmp_path}/alert.yaml: expected one YAML document" in capsys.readouterr().err


def test_time_goes_forward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, [{"at": 5}, {"at": 4}]) == 2
    assert "samples.1.at" in capsys.readouterr().err
