"""RocketMQ's versions stand in one place: what names one elsewhere follows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from litevoice_dev.rocketmq_jars import version, versions

ROOT = Path(__file__).resolve().parents[3]
IMAGE = re.compile(r"apache/rocketmq(?::| with tag )(\d[\w.]*\w)")


def test_the_default_is_the_first_and_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    default, *others = versions()
    monkeypatch.delenv("ROCKETMQ", raising=False)
    assert version() == default
    for other in others:
        monkeypatch.setenv("ROCKETMQ", other)
        assert version() == other


def test_an_unknown_version_is_refused_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCKETMQ", "5.4")
    with pytest.raises(ValueError, match=r"ROCKETMQ=5\.4: .*; possible: " + re.escape(", ".join(versions()))):
        version()


def test_the_documentation_names_the_default_image() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "charts").rglob("*.yaml")]
    named = {file.name: set(IMAGE.findall(file.read_text())) for file in files}
    assert named["values.yaml"]
    wrong = {file: found for file, found in named.items() if not found <= {versions()[0]}}
    assert wrong == {}


def test_the_documentation_names_the_tested_versions() -> None:
    (line,) = re.findall(r"^Tested versions: (.*)\.$", (ROOT / "docs" / "rocketmq.md").read_text(), re.MULTILINE)
    default, *others = versions()
    assert line == ", ".join([f"**{default}** (the default)", *others])
