"""Finds the plug-ins that pipelines name, and makes them: litevoice's own and those of teams are entry points alike.
Every error names the field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from litevoice_contracts.errors import InvalidField, problems
from litevoice_contracts.settings import OWN_VOICE, PipelineSettings, StageSettings
from litevoice_worker.stages import AnyPlugin, Plugin, Responder, Synthesizer, Transcriber, TurnDetector


@dataclass(frozen=True, slots=True)
class _Kind:
    """`group`: of the entry points; `method`: what such a plug-in must have."""

    group: str
    method: str


KINDS = {
    "transcriber": _Kind("litevoice.transcribers", "transcribe"),
    "responder": _Kind("litevoice.responders", "respond"),
    "synthesizer": _Kind("litevoice.synthesizers", "synthesize"),
    "turn_detector": _Kind("litevoice.turn_detectors", "finished"),
}
OURS = "litevoice-worker"
_INDEX = re.compile(r"\.(\d+)(?=\.|$)")


@dataclass(frozen=True, slots=True)
class Stages:
    """Of one pipeline. `turn_detector`: None where silence alone ends an utterance; `voices`: what the synthesizer
    calls those that clients name, None: the same."""

    transcriber: Transcriber
    responder: Responder
    synthesizer: Synthesizer
    turn_detector: TurnDetector | None = None
    voices: Mapping[str, str] | None = None

    def voice(self, asked: str) -> str:
        """For the synthesizer. One that is not in the map any more is its own."""
        return asked if self.voices is None else self.voices.get(asked, OWN_VOICE)


class Pipelines:
    """What all sessions of a worker share. `named`: the first is for every model that none of them is named after."""

    def __init__(self, named: Mapping[str, Stages]) -> None:
        self.named = named
        self._default = next(iter(named.values()))

    def of(self, model: str) -> Stages:
        return self.named.get(model, self._default)

    def each(self) -> list[Transcriber | Responder | Synthesizer | TurnDetector]:
        """Every plug-in once."""
        stages = (
            stage
            for one in self.named.values()
            for stage in (one.transcriber, one.responder, one.synthesizer, one.turn_detector)
        )
        return list({id(stage): stage for stage in stages if stage is not None}.values())

    async def close(self) -> None:
        for stage in self.each():
            await stage.close()


class Begin(Protocol):
    async def __call__(self, kind: str, settings: StageSettings, path: str) -> AnyPlugin:
        """The plug-in of a stage, started. Raises InvalidField; `path` is the stage's."""


async def begin(kind: str, settings: StageSettings, path: str) -> AnyPlugin:
    """In this process."""
    plugin = make(kind, settings, path)
    try:
        await _start(plugin, path)
    except InvalidField:
        await plugin.close()
        raise
    return plugin


async def make_pipelines(settings: Sequence[PipelineSettings], begin: Begin = begin) -> Pipelines:
    """The stages of all pipelines, started; what is configured alike is made once. Raises InvalidField."""
    made: dict[str, AnyPlugin] = {}
    named: dict[str, Stages] = {}
    try:
        for index, pipeline in enumerate(settings):
            path = f"pipelines[{index}]"
            if pipeline.name in named:
                raise InvalidField(f"{path}.name", f"another name than {pipeline.name!r}, which is in use")
            stages: dict[str, AnyPlugin] = {}
            for kind in KINDS:
                stage: StageSettings | None = getattr(pipeline, kind)
                if stage is None:
                    continue
                key = json.dumps([kind, stage.use, stage.options], sort_keys=True)
                if key not in made:
                    made[key] = await begin(kind, stage, f"{path}.{to_camel(kind)}")
                stages[kind] = made[key]
            for name, voice in (pipeline.voices or {}).items():
                if not await stages["synthesizer"].has_voice(voice):
                    path = f"{path}.voices.{name}"
                    raise InvalidField(path, f"a voice of {pipeline.synthesizer.use}, got {voice!r}")
            named[pipeline.name] = Stages(
                cast(Transcriber, stages["transcriber"]),
                cast(Responder, stages["responder"]),
                cast(Synthesizer, stages["synthesizer"]),
                cast(TurnDetector | None, stages.get("turn_detector")),
                pipeline.voices,
            )
    except InvalidField:
        for plugin in made.values():
            await plugin.close()
        raise
    return Pipelines(named)


def make(kind: str, settings: StageSettings, path: str) -> AnyPlugin:
    """The plug-in of a stage, not started. Raises InvalidField; `path` is the stage's."""
    plugin = _load(kind, settings.use, f"{path}.use")
    try:
        options = plugin.Options.model_validate(settings.options)
    except ValidationError as error:
        field, message = problems(error, "")[0]
        raise InvalidField(_below(f"{path}.options", field), f"what {settings.use} wants: {message}") from error
    try:
        return plugin(options)
    except InvalidField as error:
        raise InvalidField(_below(f"{path}.options", error.field), error.expected) from error
    except Exception as error:
        raise InvalidField(path, f"a plug-in that can be made, got {_told(error)}") from error


async def _start(plugin: AnyPlugin, path: str) -> None:
    try:
        await plugin.start()
    except InvalidField as error:
        raise InvalidField(_below(f"{path}.options", error.field), error.expected) from error
    except Exception as error:
        raise InvalidField(path, f"a plug-in that starts, got {_told(error)}") from error


def is_ours(kind: str, name: str) -> bool:
    """Whether it comes with litevoice; also one that is not installed."""
    points = [point for point in entry_points(group=KINDS[kind].group) if point.name == name]
    return all(point.dist is not None and point.dist.name == OURS for point in points)


def _load(kind: str, name: str, path: str) -> type[AnyPlugin]:
    group, method = KINDS[kind].group, KINDS[kind].method
    points = entry_points(group=group)
    found = [point for point in points if point.name == name]
    words = kind.replace("_", " ")
    if not found:
        known = ", ".join(sorted({point.name for point in points})) or "none is installed"
        raise InvalidField(path, f"a {words} that is installed ({group}: {known}), got {name!r}")
    if len(found) > 1:  # which one is first is chance
        packages = ", ".join(sorted(point.dist.name if point.dist is not None else "?" for point in found))
        raise InvalidField(path, f"a {words} of which there is one, got {name!r} of the packages {packages}")
    point: EntryPoint = found[0]
    try:
        plugin = point.load()
    except Exception as error:
        raise InvalidField(path, f"a plug-in that can be imported, {point.value}, got {_told(error)}") from error
    if not (isinstance(plugin, type) and issubclass(plugin, Plugin) and callable(getattr(plugin, method, None))):
        expected = f"{point.value} to be a subclass of litevoice_worker.stages.Plugin with a method {method}"
        raise InvalidField(path, expected)
    return plugin


def _below(path: str, field: str) -> str:
    """`field` (a.0.b) of the object at `path`."""
    return _INDEX.sub(r"[\1]", f"{path}.{field}") if field else path


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
