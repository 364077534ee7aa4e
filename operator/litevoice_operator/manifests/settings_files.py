"""VoiceGateway → the programs' settings files, through the models that the programs read them with."""

from __future__ import annotations

from litevoice_contracts.settings import (
    BrokerSettings,
    GatewaySettings,
    MembersSettings,
    OpenAICompatible,
    PipelineSettings,
    StageSettings,
    TurnSettings,
    WorkerSettings,
)
from litevoice_operator.api.program_settings import settings_of
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.api.voice_gateway import NamedPipeline, OpenAIEndpoint, Pipeline, VoiceGatewaySpec
from litevoice_operator.manifests import paths


def gateway_settings(gateway: Gateway) -> GatewaySettings:
    return GatewaySettings(
        broker=_broker_settings(gateway, gateway.gateway_partitions or gateway.names.partitions),
        listen_port=paths.CLIENT_PORT,
        admin_port=paths.ADMIN_PORT,
        admin_tls_port=paths.ADMIN_TLS_PORT,
        admin_tls_dir=paths.KEYS_DIR,
        api_keys_dir=paths.API_KEYS_DIR,
        keys_dir=paths.KEYS_DIR,
        models=[pipeline.name for pipeline in gateway.spec.pipelines],
        semantic_models=[pipeline.name for pipeline in gateway.spec.pipelines if pipeline.turn_detector],
        voices={
            pipeline.name: sorted(pipeline.voices) for pipeline in gateway.spec.pipelines if pipeline.voices is not None
        },
        **settings_of(gateway.spec, GatewaySettings),
    )


def worker_settings(gateway: Gateway) -> WorkerSettings:
    return WorkerSettings(
        broker=_broker_settings(gateway, gateway.names.partitions),
        admin_port=paths.ADMIN_PORT,
        admin_tls_port=paths.ADMIN_TLS_PORT,
        admin_tls_dir=paths.KEYS_DIR,
        admin_token_sha256=gateway.worker_token_sha256,
        members=MembersSettings(service=f"{gateway.namespace}/{gateway.object_name('worker')}"),
        pipelines=_pipelines(gateway.spec),
        pipeline=TurnSettings(**settings_of(gateway.spec.workers.pipeline, TurnSettings)),
        log_level=gateway.spec.log_level,
        **settings_of(gateway.spec, WorkerSettings),
    )


def _broker_settings(gateway: Gateway, partitions: int) -> BrokerSettings:
    rocketmq = gateway.spec.rocketmq
    return BrokerSettings(
        endpoints=gateway.endpoints,
        name_server=gateway.name_server,
        request_topic=gateway.names.request_topic,
        reply_topic=gateway.names.reply_topic,
        partitions=partitions,
        brokers=gateway.names.brokers,
        tls=rocketmq.tls,
        admin_tls=gateway.admin_tls,
        ca_file=f"{paths.BROKER_CA_DIR}/{paths.BROKER_CA_FILE}" if rocketmq.ca_secret else "",
        credentials_dir=paths.BROKER_CREDENTIALS_DIR if rocketmq.credentials_secret else "",
    )


def _pipelines(spec: VoiceGatewaySpec) -> list[PipelineSettings]:
    return [_named(pipeline) for pipeline in spec.pipelines] or [_only(spec.workers.pipeline)]


def _named(pipeline: NamedPipeline) -> PipelineSettings:
    named = {
        "transcriber": pipeline.transcriber,
        "responder": pipeline.responder,
        "synthesizer": pipeline.synthesizer,
        "turn_detector": pipeline.turn_detector,
    }
    stages = {
        kind: StageSettings(use=stage.use, options=stage.options) for kind, stage in named.items() if stage is not None
    }
    return PipelineSettings(name=pipeline.name, voices=pipeline.voices, **stages)


def _only(pipeline: Pipeline) -> PipelineSettings:
    """The fields that were there before `spec.pipelines`."""
    endpoints = {
        "transcriber": pipeline.transcriber.openai,
        "responder": pipeline.responder.openai,
        "synthesizer": pipeline.synthesizer.openai,
    }
    stages = {kind: _openai(kind, endpoint) for kind, endpoint in endpoints.items() if endpoint is not None}
    speech = stages.get("synthesizer", StageSettings(use="espeak-ng"))
    options = {**speech.options, "voice": pipeline.synthesizer.voice}
    stages["synthesizer"] = speech.model_copy(update={"options": options})
    return PipelineSettings(name="litevoice", voices=None, **stages)


def _openai(kind: str, endpoint: OpenAIEndpoint) -> StageSettings:
    key_file = paths.pipeline_key_file(kind) if endpoint.api_key_secret else ""
    settings = OpenAICompatible(api_key_file=key_file, **settings_of(endpoint, OpenAICompatible))
    return StageSettings(use="openai", options={"endpoints": [settings.model_dump(mode="json", by_alias=True)]})
