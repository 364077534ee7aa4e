"""The worker's settings file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from litevoice_contracts.errors import InvalidField
from litevoice_worker.settings import load, make_members

GOOD: dict[str, Any] = {
    "broker": {
        "endpoints": "a:1",
        "nameServer": "b:2",
        "requestTopic": "requests",
        "replyTopic": "replies",
        "partitions": 4,
    },
    "members": {"static": ["w"]},
}


def changed(path: str, value: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    target = result
    for name in parents:
        target = target.setdefault(name, {})
    target[last] = value
    return result


BAD = [
    ("broker.endpoints", "nowhere", "broker.endpoints"),
    ("broker.nameServer", "", "broker.nameServer"),
    ("broker.partitions", 0, "broker.partitions"),
    ("broker.requestTopic", "no spaces", "rocketmq.requestTopic"),
    ("members.static", [], "members"),
    ("members.service", "ns/x", "members"),
    ("pipeline.aheadMilliseconds", 1, "pipeline.aheadMilliseconds"),
    ("pipelines", [], "pipelines"),
    ("pipelines", [{"name": "a b"}], "pipelines.0.name"),
    ("pipelines", [{"name": "p", "voices": {"default": "x"}}], "pipelines.0.voices"),
    ("pipelines", [{"name": "p", "voices": {"": "x"}}], "pipelines.0.voices"),
    ("pipelines", [{"name": "p", "voices": {"ash": ""}}], "pipelines.0.voices.ash"),
    ("surprise", 1, "surprise"),
]


@pytest.mark.parametrize(("path", "value", "named"), BAD)
def test_bad_settings_are_named(tmp_path: Path, path: str, value: object, named: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(changed(path, value)))
    with pytest.raises(InvalidField) as error:
        load(str(file))
    assert error.value.field == named


def test_good_settings_and_files_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(GOOD))
    settings = load(str(file))
    assert set(make_members(settings, {}).ready or ()) == {"w"}
    for content in ("{", "\xff"):
        file.write_bytes(content.encode("latin-1"))
        with pytest.raises(InvalidField, match="a JSON file"):
            load(str(file))
    with pytest.raises(InvalidField, match="a readable file"):
        load(str(tmp_path / "nothing"))


def test_endpoint_slices_need_a_pod(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(changed("members", {"service": "voice/worker"})))
    environment: Mapping[str, str] = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert make_members(load(str(file)), environment).ready is None
    with pytest.raises(InvalidField, match="only in a pod"):
        make_members(load(str(file)), {})
