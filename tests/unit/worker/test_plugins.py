"""Plug-ins of installed distributions: found, configured, started and shared; what is wrong is named by its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import PipelineSettings, StageSettings
from litevoice_worker.plugins import make_pipelines
from litevoice_worker.stages.respond_local import LocalResponder
from litevoice_worker.stages.respond_openai import OpenAIResponder

TEAM = """
from pydantic import BaseModel
from litevoice_contracts.errors import InvalidField
from litevoice_worker.stages import Plugin

class Options(BaseModel, extra="forbid"):
    greeting: str
    times: int = 1

class Ears(Plugin[BaseModel]):
    log = []
    async def start(self): self.log.append("started")
    async def close(self): self.log.append("closed")
    async def transcribe(self, samples, context): return ""

class Greeter(Plugin[Options]):
    Options = Options
    async def start(self):
        if self.options.times == 0:
            raise InvalidField("times", "1 or more")
        if self.options.times < 0:
            raise RuntimeError("no backwards")
    async def respond(self, prompt, context): yield self.options.greeting

class Voice(Plugin[BaseModel]):
    async def synthesize(self, text, voice, speed, codec, context): return b""

class Patience(Plugin[BaseModel]):
    async def finished(self, samples, context): return 0.5

class NoPlugin: ...
"""
ENTRY_POINTS = """
[litevoice.transcribers]
team = litevoice_test_team:Ears
[litevoice.responders]
team = litevoice_test_team:Greeter
class = litevoice_test_team:NoPlugin
deaf = litevoice_test_team:Voice
away = litevoice_test_away:Greeter
[litevoice.synthesizers]
team = litevoice_test_team:Voice
[litevoice.turn_detectors]
team = litevoice_test_team:Patience
deaf = litevoice_test_team:Voice
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A team's distribution is installed."""
    (tmp_path / "litevoice_test_team.py").write_text(TEAM)
    (tmp_path / "litevoice_test_away.py").write_text("import a_library_that_is_not_installed")
    metadata = tmp_path / "litevoice_test_team-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: litevoice-test-team\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))


def pipeline(responder: dict[str, Any], name: str = "hello") -> PipelineSettings:
    return PipelineSettings.model_validate(
        {"name": name, "transcriber": {"use": "team"}, "responder": responder, "synthesizer": {"use": "team"}}
    )


ENDPOINT = {"baseUrl": "http://m/v1", "model": "m"}
OPTIONS = "pipelines[0].responder.options"
WRONG = [
    ("unknown", {"use": "nobody"}, "pipelines[0].responder.use", "deaf, demo, openai, team"),
    ("no plug-in", {"use": "class"}, "pipelines[0].responder.use", "a subclass of litevoice_worker.stages.Plugin"),
    ("of another kind", {"use": "deaf"}, "pipelines[0].responder.use", "with a method respond"),
    ("cannot be imported", {"use": "away"}, "pipelines[0].responder.use", "a_library_that_is_not_installed"),
    ("no such option", {"use": "demo", "options": {"x": 1}}, f"{OPTIONS}.x", "not permitted"),
    ("a missing option", {"use": "team"}, f"{OPTIONS}.greeting", "what team wants: Field required"),
    ("a wrong type", {"use": "team", "options": {"greeting": 7}}, f"{OPTIONS}.greeting", "a valid string"),
    ("found at its start", {"use": "team", "options": {"greeting": "", "times": 0}}, f"{OPTIONS}.times", "1 or more"),
    ("a start that fails", {"use": "team", "options": {"greeting": "", "times": -1}}, "pipelines[0].responder",
     "a plug-in that starts, got RuntimeError: no backwards"),
    ("no endpoint", {"use": "openai", "options": {"endpoints": []}}, f"{OPTIONS}.endpoints", "at least 1 item"),
    ("a wrong endpoint", {"use": "openai", "options": {"endpoints": [ENDPOINT, ENDPOINT | {"baseUrl": "m:80"}]}},
     f"{OPTIONS}.endpoints[1].baseUrl", "match pattern"),
    ("no key", {"use": "openai", "options": {"endpoints": [ENDPOINT | {"apiKeyFile": "/nowhere/key"}]}},
     f"{OPTIONS}.endpoints[0].apiKeyFile", "a readable file, /nowhere/key: No such file or directory"),
]  # fmt: skip


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize(("description", "responder", "field", "words"), WRONG, ids=[row[0] for row in WRONG])
async def test_what_is_wrong_is_named(description: str, responder: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidField) as error:
        await make_pipelines([pipeline(responder)])
    assert error.value.field == field, description
    assert words in error.value.expected
    import litevoice_test_team  # type: ignore[import-not-found]

    assert litevoice_test_team.Ears.log[-2:] == ["started", "closed"], "what was started ends"


async def test_two_packages_with_a_plug_in_of_one_name(
    team: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is taken: which of them is found first is chance. So a package cannot stand in for litevoice's own."""
    metadata = tmp_path / "another" / "litevoice_test_another-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: litevoice-test-another\nVersion: 1.0\n")
    names = ("team", "demo")
    points = "\n".join(["[litevoice.responders]", *(f"{name} = litevoice_test_team:Greeter" for name in names)])
    (metadata / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(metadata.parent))
    for name, packages in zip(names, ("litevoice-test-team", "litevoice-worker"), strict=True):
        with pytest.raises(InvalidField) as error:
            await make_pipelines([pipeline({"use": name, "options": {"greeting": "a"}})])
        assert error.value.field == "pipelines[0].responder.use"
        assert f"got {name!r} of the packages litevoice-test-another, {packages}" in error.value.expected


@pytest.mark.usefixtures("team")
async def test_two_pipelines_of_one_name() -> None:
    with pytest.raises(InvalidField, match=r"^pipelines\[1\]\.name: expected another name than 'a'"):
        await make_pipelines([pipeline({"use": "demo"}, "a"), pipeline({"use": "demo"}, "a")])


@pytest.mark.usefixtures("team")
async def test_the_model_chooses_and_the_first_is_the_default() -> None:
    greeter = {"use": "team", "options": {"greeting": "Hello."}}
    openai = {"use": "openai", "options": {"endpoints": [ENDPOINT]}}
    made = await make_pipelines([pipeline(greeter, "a"), pipeline(openai, "b"), pipeline({"use": "demo"}, "c")])
    assert isinstance(made.of("b").responder, OpenAIResponder)
    assert isinstance(made.of("c").responder, LocalResponder)
    assert made.of("gpt-realtime") is made.of("a")
    import litevoice_test_team

    assert isinstance(made.of("a").responder, litevoice_test_team.Greeter)
    assert made.of("a").transcriber is made.of("b").transcriber, "what is configured alike is there once"
    ended = litevoice_test_team.Ears.log.count("closed")
    await made.close()
    assert litevoice_test_team.Ears.log.count("closed") == ended + 1


@pytest.mark.usefixtures("team")
async def test_a_turn_detector_is_there_where_one_is_named() -> None:
    plain, wise = pipeline({"use": "demo"}, "plain"), pipeline({"use": "demo"}, "wise")
    made = await make_pipelines([plain, wise.model_copy(update={"turn_detector": StageSettings(use="team")})])
    import litevoice_test_team

    assert made.of("plain").turn_detector is None
    assert isinstance(made.of("wise").turn_detector, litevoice_test_team.Patience)
    await made.close()


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize(
    ("use", "expected"),
    [("nobody", "a turn detector that is installed (litevoice.turn_detectors: "), ("deaf", "with a method finished")],
)
async def test_a_wrong_turn_detector_is_named_as_the_settings_have_it(use: str, expected: str) -> None:
    wrong = pipeline({"use": "demo"}).model_copy(update={"turn_detector": StageSettings(use=use)})
    with pytest.raises(InvalidField) as error:
        await make_pipelines([wrong])
    assert error.value.field == "pipelines[0].turnDetector.use"
    assert expected in error.value.expected
