"""Reads the settings file and builds the stages it asks for. Every error names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from litevoice_contracts.errors import InvalidField, problems
from litevoice_contracts.names import Names
from litevoice_contracts.settings import PipelineSettings, WorkerSettings
from litevoice_worker.members import EndpointSliceMembers, Members, StaticMembers, api_server
from litevoice_worker.runner import Stages
from litevoice_worker.stages.respond_local import LocalResponder
from litevoice_worker.stages.respond_openai import OpenAIResponder
from litevoice_worker.stages.synthesize_espeak import EspeakSynthesizer
from litevoice_worker.stages.synthesize_openai import OpenAISynthesizer
from litevoice_worker.stages.transcribe_openai import OpenAITranscriber
from litevoice_worker.stages.transcribe_pocketsphinx import PocketsphinxTranscriber, read_grammar

DEFAULT_PATH = "/etc/litevoice/config/settings.json"


def load(path: str) -> WorkerSettings:
    """Raises InvalidField, which names the first wrong field."""
    try:
        settings = WorkerSettings.model_validate(json.loads(Path(path).read_text()))
    except OSError as error:
        raise InvalidField("LITEVOICE_CONFIG", f"a readable file, {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidField("LITEVOICE_CONFIG", f"a JSON file, {path}: {error}") from error
    except ValidationError as error:
        raise InvalidField(*problems(error, "settings")[0]) from error
    if bool(settings.members.service) == bool(settings.members.static):
        raise InvalidField("members", "either service or static")
    if settings.members.service.count("/") != (1 if settings.members.service else 0):
        raise InvalidField("members.service", f"namespace/name, got {settings.members.service!r}")
    names_of(settings).validate()
    return settings


def names_of(settings: WorkerSettings) -> Names:
    return Names(settings.broker.request_topic, settings.broker.reply_topic, settings.broker.partitions)


def make_members(settings: WorkerSettings, environment: Mapping[str, str]) -> Members:
    """Raises InvalidField if EndpointSlices are asked for outside a pod."""
    if settings.members.static:
        return StaticMembers(frozenset(settings.members.static))
    try:
        return EndpointSliceMembers(settings.members.service, api_server(environment))
    except KeyError as error:
        raise InvalidField("members.service", "only in a pod: KUBERNETES_SERVICE_HOST is not set") from error


async def make_stages(pipeline: PipelineSettings) -> Stages:
    """The stages, each checked as far as possible without a request. Raises InvalidField."""
    try:
        return Stages(await _transcriber(pipeline), _responder(pipeline), await _synthesizer(pipeline))
    except OSError as error:
        raise InvalidField("pipeline", f"readable key files ({error.filename}: {error.strerror})") from error


async def _transcriber(pipeline: PipelineSettings) -> OpenAITranscriber | PocketsphinxTranscriber:
    if pipeline.transcriber.openai:
        return OpenAITranscriber(pipeline.transcriber.openai)
    transcriber = PocketsphinxTranscriber(read_grammar(pipeline.transcriber.grammar_file))
    await transcriber.prepare()
    return transcriber


def _responder(pipeline: PipelineSettings) -> OpenAIResponder | LocalResponder:
    return OpenAIResponder(pipeline.responder.openai) if pipeline.responder.openai else LocalResponder()


async def _synthesizer(pipeline: PipelineSettings) -> OpenAISynthesizer | EspeakSynthesizer:
    if pipeline.synthesizer.openai:
        return OpenAISynthesizer(pipeline.synthesizer.openai, pipeline.synthesizer.voice)
    synthesizer = EspeakSynthesizer(pipeline.synthesizer.voice)
    await synthesizer.check()
    return synthesizer
