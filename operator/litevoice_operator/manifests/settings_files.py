"""VoiceGateway → the programs' settings files, through the models that the programs read them with."""

from __future__ import annotations

from litevoice_contracts.settings import (
    BrokerSettings,
    GatewaySettings,
    MembersSettings,
    OpenAICompatible,
    PipelineSettings,
    ResponderSettings,
    SynthesizerSettings,
    TranscriberSettings,
    WorkerSettings,
)
from litevoice_operator.api.program_settings import settings_of
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.api.voice_gateway import OpenAIEndpoint, Pipeline
from litevoice_operator.manifests import paths


def gateway_settings(gateway: Gateway) -> GatewaySettings:
    return GatewaySettings(
        broker=_broker_settings(gateway),
        listen_port=paths.CLIENT_PORT,
        admin_port=paths.ADMIN_PORT,
        api_keys_dir=paths.API_KEYS_DIR,
        keys_dir=paths.KEYS_DIR,
        **settings_of(gateway.spec, GatewaySettings),
    )


def worker_settings(gateway: Gateway) -> WorkerSettings:
    return WorkerSettings(
        broker=_broker_settings(gateway),
        admin_port=paths.ADMIN_PORT,
        members=MembersSettings(service=f"{gateway.namespace}/{gateway.object_name('worker')}"),
        pipeline=_pipeline_settings(gateway.spec.workers.pipeline),
        log_level=gateway.spec.log_level,
        **settings_of(gateway.spec, WorkerSettings),
    )


def _broker_settings(gateway: Gateway) -> BrokerSettings:
    rocketmq = gateway.spec.rocketmq
    return BrokerSettings(
        endpoints=gateway.endpoints,
        name_server=gateway.name_server,
        request_topic=gateway.names.request_topic,
        reply_topic=gateway.names.reply_topic,
        partitions=gateway.names.partitions,
        tls=rocketmq.tls,
        admin_tls=gateway.admin_tls,
        ca_file=f"{paths.BROKER_CA_DIR}/{paths.BROKER_CA_FILE}" if rocketmq.ca_secret else "",
        credentials_dir=paths.BROKER_CREDENTIALS_DIR if rocketmq.credentials_secret else "",
    )


def _pipeline_settings(pipeline: Pipeline) -> PipelineSettings:
    synthesizer = pipeline.synthesizer
    return PipelineSettings(
        transcriber=TranscriberSettings(openai=_endpoint("transcriber", pipeline.transcriber.openai)),
        responder=ResponderSettings(openai=_endpoint("responder", pipeline.responder.openai)),
        synthesizer=SynthesizerSettings(
            openai=_endpoint("synthesizer", synthesizer.openai), **settings_of(synthesizer, SynthesizerSettings)
        ),
        **settings_of(pipeline, PipelineSettings),
    )


def _endpoint(stage: str, endpoint: OpenAIEndpoint | None) -> OpenAICompatible | None:
    if endpoint is None:
        return None
    key_file = paths.pipeline_key_file(stage) if endpoint.api_key_secret else ""
    return OpenAICompatible(api_key_file=key_file, **settings_of(endpoint, OpenAICompatible))
