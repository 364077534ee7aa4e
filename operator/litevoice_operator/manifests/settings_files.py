"""VoiceGateway → the settings files of the images, through the models that the programs read them with."""

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
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.api.voice_gateway import OpenAIEndpoint, Pipeline
from litevoice_operator.manifests import paths


def gateway_settings(gateway: Gateway) -> GatewaySettings:
    spec = gateway.spec
    return GatewaySettings(
        broker=broker_settings(gateway),
        listen_port=paths.CLIENT_PORT,
        admin_port=paths.ADMIN_PORT,
        api_keys_dir=paths.API_KEYS_DIR,
        keys_dir=paths.KEYS_DIR,
        max_sessions=spec.session.max_per_pod,
        max_frame_bytes=spec.session.max_frame_bytes,
        max_events_per_second=spec.session.max_events_per_second,
        retained_seconds=spec.session.retained_seconds,
        max_pending_packets=spec.session.max_pending_packets,
        send_buffer_bytes=spec.session.send_buffer_bytes,
        batch_milliseconds=spec.audio.batch_milliseconds,
        idle_timeout_seconds=spec.session.idle_timeout_seconds,
        probe_seconds=spec.session.probe_seconds,
        restore_timeout_seconds=spec.session.restore_timeout_seconds,
        drain_policy=spec.drain.policy,
        drain_timeout_seconds=spec.drain.timeout_seconds,
        drain_turn_wait_seconds=spec.drain.turn_wait_seconds,
        drain_rate_per_second=spec.drain.rate_per_second,
        log_level=spec.log_level,
    )


def worker_settings(gateway: Gateway) -> WorkerSettings:
    workers = gateway.spec.workers
    return WorkerSettings(
        broker=broker_settings(gateway),
        admin_port=paths.ADMIN_PORT,
        members=MembersSettings(service=f"{gateway.namespace}/{gateway.worker_object}"),
        pipeline=pipeline_settings(workers.pipeline),
        max_sessions=workers.max_sessions,
        epoch_wait_milliseconds=workers.epoch_wait_milliseconds,
        log_level=gateway.spec.log_level,
    )


def broker_settings(gateway: Gateway) -> BrokerSettings:
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


def pipeline_settings(pipeline: Pipeline) -> PipelineSettings:
    return PipelineSettings(
        transcriber=TranscriberSettings(openai=_endpoint("transcriber", pipeline.transcriber.openai)),
        responder=ResponderSettings(openai=_endpoint("responder", pipeline.responder.openai)),
        synthesizer=SynthesizerSettings(
            openai=_endpoint("synthesizer", pipeline.synthesizer.openai), voice=pipeline.synthesizer.voice
        ),
        ahead_milliseconds=pipeline.ahead_milliseconds,
        max_utterance_seconds=pipeline.max_utterance_seconds,
    )


def _endpoint(stage: str, endpoint: OpenAIEndpoint | None) -> OpenAICompatible | None:
    if endpoint is None:
        return None
    return OpenAICompatible(
        base_url=endpoint.base_url,
        model=endpoint.model,
        api_key_file=paths.pipeline_key_file(stage) if endpoint.api_key_secret else "",
        timeout_seconds=endpoint.timeout_seconds,
    )
