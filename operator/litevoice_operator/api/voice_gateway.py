"""VoiceGateway: a fleet of gateways and workers that share topics at one RocketMQ cluster."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from litevoice_contracts.control import DrainPolicy
from litevoice_contracts.names import REPLY_TOPIC_MAX_LENGTH, REQUEST_TOPIC_MAX_LENGTH, TOPIC
from litevoice_contracts.settings import (
    BrokerSettings,
    GatewaySettings,
    LogLevel,
    OpenAICompatible,
    Partitions,
    PipelineSettings,
    SynthesizerSettings,
    WorkerSettings,
)
from litevoice_operator.api.base import IMMUTABLE, Api, Int32, ObjectName, rules
from litevoice_operator.api.pod_template import PodSettings
from litevoice_operator.api.program_settings import setting

OBJECT_RULES = [
    {
        "rule": "self.metadata.name.size() <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "metadata.name: at most 50 characters, lower-case letters, digits and '-', starting with a letter "
        "(Services are named after it)",
    }
]
"""Rules of the whole object."""

Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]


class Listen(Api):
    """How clients reach the gateways."""

    model_config = rules(
        (
            "!has(self.nodePort) || self.serviceType != 'ClusterIP'",
            "nodePort requires serviceType NodePort or LoadBalancer",
        ),
        (
            "self.externalTrafficPolicy == 'Cluster' || self.serviceType != 'ClusterIP'",
            "externalTrafficPolicy requires serviceType NodePort or LoadBalancer",
        ),
    )

    port: Annotated[Int32, Field(ge=1, le=65535)] = 8080
    """Port of the Service `<name>-gateway`; clients connect to `ws://<service>:<port>/v1/realtime`."""
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of that Service."""
    node_port: Annotated[Int32 | None, Field(ge=1, le=65535)] = None
    """Port on every node; absent: Kubernetes chooses one."""
    external_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    """Local: a node passes clients only to its own gateways, which then see (and BacklogAlerts show) the clients' own
    addresses; nodes without a gateway do not answer, which load balancers notice by themselves. Cluster: every node
    answers, and clients appear with the address of the node they came through."""


class Auth(Api):
    """Who may connect."""

    api_keys_secret: ObjectName
    """Secret with the API keys: each key of the Secret names a principal, and its value holds that principal's API
    keys, one per line. Changes take effect without a restart."""


class Session(Api):
    """Limits of a session, and of a pod."""

    max_per_pod: int = setting(GatewaySettings, "max_sessions")
    idle_timeout_seconds: int = setting(GatewaySettings, "idle_timeout_seconds")
    max_frame_bytes: int = setting(GatewaySettings, "max_frame_bytes")
    max_events_per_second: int = setting(GatewaySettings, "max_events_per_second")
    retained_seconds: int = setting(GatewaySettings, "retained_seconds")
    max_pending_packets: int = setting(GatewaySettings, "max_pending_packets")
    max_pending_bytes: int = setting(GatewaySettings, "max_pending_bytes")
    max_held_mebibytes: int = setting(GatewaySettings, "max_held_mebibytes")
    send_buffer_bytes: int = setting(GatewaySettings, "send_buffer_bytes")
    probe_seconds: int = setting(GatewaySettings, "probe_seconds")
    restore_timeout_seconds: int = setting(GatewaySettings, "restore_timeout_seconds")


class Audio(Api):
    """How audio is sent to the workers."""

    batch_milliseconds: int = setting(GatewaySettings, "batch_milliseconds")
    max_audio_speed: int = setting(GatewaySettings, "max_audio_speed")
    max_audio_burst_seconds: int = setting(GatewaySettings, "max_audio_burst_seconds")


class Drain(Api):
    """How a gateway hands over its sessions before it stops."""

    model_config = rules(
        ("self.turnWaitSeconds <= self.timeoutSeconds", "turnWaitSeconds must not exceed timeoutSeconds")
    )

    policy: DrainPolicy = setting(GatewaySettings, "drain_policy")
    timeout_seconds: int = setting(
        GatewaySettings,
        "drain_timeout_seconds",
        "The pod's grace period is 30 s longer. Cluster autoscalers (600 s by default), spot nodes and a kubelet's "
        "graceful shutdown may end the pod earlier.",
    )
    turn_wait_seconds: int = setting(GatewaySettings, "drain_turn_wait_seconds")
    rate_per_second: int = setting(GatewaySettings, "drain_rate_per_second")


class SecretKey(Api):
    """One key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "apiKey"
    """Key in the Secret."""


class OpenAIEndpoint(Api):
    """An endpoint that speaks one of OpenAI's HTTP APIs."""

    base_url: str = setting(OpenAICompatible, "base_url")
    model: str = setting(OpenAICompatible, "model")
    api_key_secret: SecretKey | None = None
    """Where the API key is; absent: no key is sent."""
    timeout_seconds: int = setting(OpenAICompatible, "timeout_seconds")


class Transcriber(Api):
    """Speech to text."""

    openai: OpenAIEndpoint | None = None
    """Transcription endpoint; absent: pocketsphinx with a grammar in the worker, for development."""


class Responder(Api):
    """Text to answer."""

    openai: OpenAIEndpoint | None = None
    """Chat endpoint (streamed); absent: a deterministic responder in the worker, for development."""


class Synthesizer(Api):
    """Text to speech."""

    openai: OpenAIEndpoint | None = None
    """Speech endpoint; absent: espeak-ng in the worker."""
    voice: str = setting(SynthesizerSettings, "voice")


class Pipeline(Api):
    """The stages of a turn."""

    transcriber: Transcriber = Transcriber()
    """Speech to text."""
    responder: Responder = Responder()
    """Text to answer."""
    synthesizer: Synthesizer = Synthesizer()
    """Text to speech."""
    ahead_milliseconds: int = setting(PipelineSettings, "ahead_milliseconds")
    max_utterance_seconds: int = setting(PipelineSettings, "max_utterance_seconds")


class Workers(Api):
    """The pods that hear, answer and speak."""

    replicas: Annotated[Int32, Field(ge=0, le=1000)] = 2
    """Number of workers; any beyond `rocketmq.partitions` are idle."""
    image: Image | None = None
    """Image of the workers; absent: the one that the operator was installed with."""
    max_sessions: int = setting(WorkerSettings, "max_sessions")
    epoch_wait_milliseconds: int = setting(WorkerSettings, "epoch_wait_milliseconds")
    pipeline: Pipeline = Pipeline()
    """The stages of a turn."""
    pod: PodSettings = PodSettings()
    """Where workers run and what they may use."""


INSTALLED = "Absent: those that the operator was installed with."


def _immutable_even_when_absent(field: str) -> tuple[str, str]:
    return (
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} is immutable",
    )


def _topic(max_length: int) -> Any:
    return Field(pattern=f"^{TOPIC.pattern}$", min_length=1, max_length=max_length)


class RocketMQ(Api):
    """The message layer. The operator creates topics and groups."""

    model_config = rules(
        _immutable_even_when_absent("requestTopic"),
        _immutable_even_when_absent("replyTopic"),
        (
            "!has(self.caSecret) || self.tls || (has(self.adminTls) && self.adminTls)",
            "caSecret requires tls: true or adminTls: true",
        ),
    )

    endpoints: str | None = setting(BrokerSettings, "endpoints", INSTALLED, default=None)
    name_server: str | None = setting(BrokerSettings, "name_server", INSTALLED, default=None)
    request_topic: Annotated[str | None, _topic(REQUEST_TOPIC_MAX_LENGTH)] = None
    """Base name of the request topics; absent: `lv-<namespace>-<name>-requests`."""
    reply_topic: Annotated[str | None, _topic(REPLY_TOPIC_MAX_LENGTH)] = None
    """Parent topic of the sessions' LiteTopics; absent: `lv-<namespace>-<name>-replies`."""
    partitions: Annotated[Partitions, Field(json_schema_extra={"format": "int32", **IMMUTABLE})] = 8
    """Number of request partitions: how many workers can share the load."""
    expiration_minutes: Annotated[Int32, Field(ge=15, le=35_791)] = 60
    """How long after its connection, or its last reply, a session can be resumed. RocketMQ computes in 32 bits:
    anything above 35,791 minutes would expire at once."""
    tls: bool = setting(BrokerSettings, "tls")
    admin_tls: bool | None = None
    """Use TLS to name servers and brokers, too; absent: as the operator was installed. Their certificates must name
    their addresses, for brokers the registered `brokerIP1`."""
    ca_secret: ObjectName | None = None
    """Secret with `ca.crt`, the CA of proxies, name servers and brokers, for gateways and workers; absent: the system's
    CAs."""
    credentials_secret: ObjectName | None = None
    """Secret with `accessKey` and `secretKey` for gateways and workers; absent: no credentials. The operator uses
    those it was installed with, and only at the name servers it was installed with."""


class VoiceGatewaySpec(Api):
    """Desired state."""

    replicas: Annotated[Int32, Field(ge=0, le=1000)] = 2
    """Number of gateways (`kubectl scale` changes it)."""
    image: Image | None = None
    """Image of the gateways; absent: the one that the operator was installed with."""
    listen: Listen = Listen()
    """How clients reach the gateways."""
    auth: Auth
    """Who may connect."""
    session: Session = Session()
    """Limits of a session, and of a pod."""
    audio: Audio = Audio()
    """How audio is sent to the workers."""
    drain: Drain = Drain()
    """How a gateway hands over its sessions before it stops."""
    workers: Workers = Workers()
    """The pods that hear, answer and speak."""
    rocketmq: RocketMQ = RocketMQ()
    """The message layer."""
    pod: PodSettings = PodSettings()
    """Where gateways run and what they may use."""
    log_level: LogLevel = setting(GatewaySettings, "log_level")
