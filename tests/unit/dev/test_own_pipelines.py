"""`make dev` with a team's plug-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from litevoice_dev import __main__ as dev
from litevoice_dev.rocketmq import LocalRocketMQ

OWN = """
- name: bookings
  transcriber: {use: nobody, options: {x: 1}}
"""


async def test_a_plug_in_that_does_not_start_is_named_before_rocketmq_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(self: LocalRocketMQ) -> None:
        raise AssertionError("RocketMQ was started")

    monkeypatch.setattr(LocalRocketMQ, "start", started)
    path = tmp_path / "pipelines.yaml"
    path.write_text(OWN)
    monkeypatch.setenv("LITEVOICE_PIPELINES", str(path))
    with pytest.raises(SystemExit) as error:
        await dev.up(tmp_path)
    assert str(error.value).startswith(f"LITEVOICE_PIPELINES: {path}:\n  pipelines[0].transcriber.use: expected a ")
    assert not (tmp_path / "pid").exists()
