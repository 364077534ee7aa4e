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
    StageSettings,
    TurnSettings,
    Voices,
    WorkerSettings,
)
from litevoice_operator.api.base import GROWS, IMMUTABLE, Api, Int32, ObjectName, keyed_by, rules
from litevoice_operator.api.pod_template import Annotations, PodSettings
from litevoice_operator.api.program_settings import setting
from litevoice_operator.api.scaling import Autoscaling, Rebalance, WorkerAutoscaling

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
        (
            "!has(self.loadBalancerClass) || self.serviceType == 'LoadBalancer'",
            "loadBalancerClass requires serviceType LoadBalancer",
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
    annotations: Annotations = Field(default_factory=dict)
    """Annotations of the Service: how clouds and DNS controllers are told what it should be like."""
    load_balancer_class: Annotated[str | None, Field(min_length=1, max_length=317)] = None
    """Who makes the load balancer; absent: the cluster's own. Kubernetes lets it be set once."""


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


AFTER_DRAIN_SECONDS = 30
"""Of a pod's grace period: after the drain come the broker's confirmations, closing connections, and the preStop
second."""


class Drain(Api):
    """How a gateway hands over its sessions before it stops."""

    model_config = rules(
        ("self.turnWaitSeconds <= self.timeoutSeconds", "turnWaitSeconds must not exceed timeoutSeconds")
    )

    policy: DrainPolicy = setting(GatewaySettings, "drain_policy")
    timeout_seconds: int = setting(
        GatewaySettings,
        "drain_timeout_seconds",
        "The pod's grace period is 30 s longer. Others may end the pod earlier: the cluster autoscaler after 600 s "
        "(`--max-graceful-termination-sec`), a node that shuts down after its kubelet's `shutdownGracePeriod`, spot "
        "nodes after 30 to 120 s. The condition DrainFits says whether this and `ratePerSecond` suffice for "
        "`session.maxPerPod`.",
    )
    turn_wait_seconds: int = setting(GatewaySettings, "drain_turn_wait_seconds")
    rate_per_second: int = setting(GatewaySettings, "drain_rate_per_second")

    @property
    def grace_seconds(self) -> int:
        """How long a pod may take to end."""
        return self.timeout_seconds + AFTER_DRAIN_SECONDS


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
    voice: Annotated[str, Field(min_length=1, max_length=128)] = "en"
    """Voice of espeak-ng or of the endpoint, unless the session names one."""


class Pipeline(Api):
    """What goes for the turns of all pipelines; and, without `spec.pipelines`, the stages of the only one."""

    transcriber: Transcriber = Transcriber()
    """Speech to text, without `spec.pipelines`."""
    responder: Responder = Responder()
    """Text to answer, without `spec.pipelines`."""
    synthesizer: Synthesizer = Synthesizer()
    """Text to speech, without `spec.pipelines`."""
    ahead_milliseconds: int = setting(TurnSettings, "ahead_milliseconds")
    interrupt_after_milliseconds: int = setting(TurnSettings, "interrupt_after_milliseconds")
    max_utterance_seconds: int = setting(TurnSettings, "max_utterance_seconds")


class Stage(Api):
    """One stage of a pipeline."""

    use: str = setting(StageSettings, "use")
    options: dict[str, Any] = setting(StageSettings, "options")


class NamedPipeline(Api):
    """The stages of the turns of those sessions that ask for it."""

    name: str = setting(PipelineSettings, "name")
    transcriber: Stage | None = None
    """Speech to text: an entry point of `litevoice.transcribers`; absent: `pocketsphinx`, for development."""
    responder: Stage | None = None
    """Text to answer: an entry point of `litevoice.responders`; absent: `demo`, for development."""
    synthesizer: Stage | None = None
    """Text to speech: an entry point of `litevoice.synthesizers`; absent: `espeak-ng`."""
    voices: Voices | None = setting(PipelineSettings, "voices")
    turn_detector: Stage | None = None
    """Whether a user who pauses has finished, where a client asks for `semantic_vad`: an entry point of
    `litevoice.turn_detectors`; absent: silence alone tells."""


class Workers(Api):
    """The pods that hear, answer and speak."""

    replicas: Annotated[Int32, Field(ge=0, le=1000)] = 2
    """Number of workers, without `autoscaling`; any beyond `rocketmq.partitions` are idle."""
    autoscaling: WorkerAutoscaling | None = None
    """Scale by what workers have to do; absent: `replicas` decides."""
    image: Image | None = None
    """Image of the workers; absent: the one that the operator was installed with."""
    max_sessions: int = setting(WorkerSettings, "max_sessions")
    epoch_wait_milliseconds: int = setting(WorkerSettings, "epoch_wait_milliseconds")
    pipeline: Pipeline = Pipeline()
    """What goes for the turns of all pipelines; and, without `spec.pipelines`, the stages of the only one."""
    secrets: Annotated[list[ObjectName], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})] = (
        Field(default_factory=list)
    )
    """Secrets of the same namespace that the workers get as folders, `/etc/litevoice/secrets/<name>`: for API keys that
    the options of pipelines name by file. A changed value arrives there within about a minute."""
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
        ("self.brokers <= self.partitions", "brokers must not exceed partitions"),
        (
            "!has(self.caSecret) || self.tls || (has(self.adminTls) && self.adminTls)",
            "caSecret requires tls: true or adminTls: true",
        ),
    )

    endpoints: str | None = setting(BrokerSettings, "endpoints", INSTALLED, default=None)
    name_server: str | None = setting(BrokerSettings, "name_server", INSTALLED, default=None)
    request_topic: Annotated[str | None, _topic(REQUEST_TOPIC_MAX_LENGTH)] = None
    """Base name of the request topics; absent: `<status.topicPrefix>-requests`."""
    reply_topic: Annotated[str | None, _topic(REPLY_TOPIC_MAX_LENGTH)] = None
    """Parent topic of the sessions' LiteTopics; absent: `<status.topicPrefix>-replies`. With several `brokers`
    there is one for each: `Y`, `Y-01` …"""
    partitions: Annotated[Partitions, Field(json_schema_extra={"format": "int32", **GROWS})] = 8
    """Number of request partitions: how many workers can share the load. It can be raised while sessions live, which
    replaces first the workers, then the gateways; it can never be lowered."""
    brokers: Annotated[Partitions, Field(json_schema_extra={"format": "int32", **IMMUTABLE})] = 1
    """How many brokers of the cluster share the sessions. Each session lives on one of them entirely: when one of n is
    away, a share of 1/n of the sessions waits for it."""
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

    model_config = rules(
        (
            "!has(self.autoscaling) || self.autoscaling.sessionsPerPod <= self.session.maxPerPod",
            "autoscaling.sessionsPerPod must not exceed session.maxPerPod, beyond which a gateway refuses new sessions",
        ),
        (
            "!has(self.pipelines) || size(self.pipelines) == 0 || !has(self.workers) || !has(self.workers.pipeline) || "
            "!(has(self.workers.pipeline.transcriber) && has(self.workers.pipeline.transcriber.openai)) && "
            "!(has(self.workers.pipeline.responder) && has(self.workers.pipeline.responder.openai)) && "
            "!(has(self.workers.pipeline.synthesizer) && has(self.workers.pipeline.synthesizer.openai))",
            "pipelines: workers.pipeline must not name stages, too",
        ),
    )

    paused: bool = False
    """The operator changes nothing: no objects, no labels, no topics, and it scales nothing. Sessions, drains that have
    begun, the status and BacklogAlerts go on; deletion works."""
    replicas: Annotated[Int32, Field(ge=0, le=1000)] = 2
    """Number of gateways, without `autoscaling`. `kubectl scale`, a HorizontalPodAutoscaler or KEDA change it."""
    autoscaling: Autoscaling | None = None
    """Scale by sessions; absent: `replicas` decides."""
    rebalance: Rebalance = Rebalance()
    """How sessions are spread over the gateways."""
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
    pipelines: Annotated[
        list[NamedPipeline],
        Field(
            max_length=16,
            json_schema_extra=keyed_by("name"),
        ),
    ] = Field(default_factory=list)
    """What answers: clients choose one by name, `?model=<name>`; without `model=` they get the first. Any other name is
    refused with 404. Absent: every name is served by the stages of `workers.pipeline`."""
    workers: Workers = Workers()
    """The pods that hear, answer and speak."""
    rocketmq: RocketMQ = RocketMQ()
    """The message layer."""
    pod: PodSettings = PodSettings()
    """Where gateways run and what they may use."""
    log_level: LogLevel = setting(GatewaySettings, "log_level")
