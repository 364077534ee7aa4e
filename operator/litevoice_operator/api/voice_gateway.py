"""VoiceGateway: a fleet of gateways and workers that share topics at one RocketMQ cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from litevoice_operator.api.base import IMMUTABLE, Api, Int32, ObjectName, rules
from litevoice_operator.api.pod_template import PodSettings

OBJECT_RULES = [
    {
        "rule": "self.metadata.name.size() <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "metadata.name: at most 50 characters, lower-case letters, digits and '-', beginning with a letter "
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
            "nodePort needs serviceType NodePort or LoadBalancer",
        ),
        (
            "self.externalTrafficPolicy == 'Cluster' || self.serviceType != 'ClusterIP'",
            "externalTrafficPolicy needs serviceType NodePort or LoadBalancer",
        ),
    )

    port: Annotated[Int32, Field(ge=1, le=65535)] = 8080
    """Port of the Service `<name>-gateway`; clients connect to `ws://<service>:<port>/v1/realtime`."""
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of that Service."""
    node_port: Annotated[Int32 | None, Field(ge=1, le=65535)] = None
    """Port on every node; absent: Kubernetes chooses one."""
    external_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    """Local: a node only passes clients to its own gateways, which then see (and BacklogAlerts show) the clients' own
    addresses; nodes without a gateway do not answer, as load balancers find out by themselves. Cluster: every node
    answers, and clients show the address of the node that they came through."""


class Auth(Api):
    """Who may connect."""

    api_keys_secret: ObjectName
    """Secret with the API keys: each key of the Secret names a principal, its value holds that principal's API keys,
    one per line. Changes take effect without a restart."""


class Session(Api):
    """Bounds of a session, and of a pod."""

    max_per_pod: Annotated[Int32, Field(ge=1, le=100_000)] = 5000
    """Sessions per gateway; one more is refused with close code 1013."""
    idle_timeout_seconds: Annotated[Int32, Field(ge=10, le=86_400)] = 900
    """A session without a client event or a reply for this long is closed with 1000."""
    max_frame_bytes: Annotated[Int32, Field(ge=1024, le=16 << 20)] = 1 << 20
    """Largest WebSocket message from a client."""
    max_events_per_second: Annotated[Int32, Field(ge=10, le=10_000)] = 200
    """Client events per second (burst: twice as many); excess events are delayed, not dropped."""
    retained_seconds: Annotated[Int32, Field(ge=5, le=600)] = 60
    """Audio of the open turn that a gateway keeps, so that another worker can continue the turn."""
    max_pending_packets: Annotated[Int32, Field(ge=10, le=100_000)] = 3000
    """Packets that wait for the broker's confirmation; at the bound the connection is not read any more."""
    send_buffer_bytes: Annotated[Int32, Field(ge=4096, le=16 << 20)] = 256 * 1024
    """What waits in the pod for a client that reads slowly; beyond it, replies wait at the broker."""
    probe_seconds: Annotated[Int32, Field(ge=1, le=600)] = 5
    """The gateway asks the worker about a turn that has made no progress for this long."""
    restore_timeout_seconds: Annotated[Int32, Field(ge=1, le=120)] = 30
    """While a session is restored, how long its log may stay silent before the session counts as expired; longer than a
    broker's restart takes."""


class Audio(Api):
    """How audio travels."""

    batch_milliseconds: Annotated[Int32, Field(ge=0, le=1000)] = 100
    """How long frames of one session are collected into one message."""


class Drain(Api):
    """How a gateway gives its sessions away before it stops."""

    model_config = rules(
        ("self.turnWaitSeconds <= self.timeoutSeconds", "turnWaitSeconds must not exceed timeoutSeconds")
    )

    policy: Literal["Migrate", "Complete", "Auto"] = "Auto"
    """Migrate: clients are asked to reconnect elsewhere. Complete: sessions may end by themselves. Auto: by protocol;
    today the same as Migrate."""
    timeout_seconds: Annotated[Int32, Field(ge=1, le=3600)] = 60
    """When a drain must be over; sessions that are still open are cut. The pod's grace period is 30 s longer. Cluster
    autoscalers (600 s by default), spot nodes and a kubelet's graceful shutdown may end the pod earlier."""
    turn_wait_seconds: Annotated[Int32, Field(ge=0, le=600)] = 2
    """How long a session may wait for the end of its turn before it is moved."""
    rate_per_second: Annotated[Int32, Field(ge=1, le=10_000)] = 200
    """Sessions moved per second."""


class SecretKey(Api):
    """One key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = "apiKey"
    """Key in the Secret."""


class OpenAIEndpoint(Api):
    """An endpoint that speaks one of OpenAI's HTTP APIs."""

    base_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2048)]
    """For example `http://vllm.models:8000/v1`."""
    model: Annotated[str, Field(min_length=1, max_length=512)]
    """Name of the model at that endpoint."""
    api_key_secret: SecretKey | None = None
    """Where the API key is; absent: no key is sent."""
    timeout_seconds: Annotated[Int32, Field(ge=1, le=600)] = 30
    """How long one request may take."""


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
    """The stages of a turn."""

    transcriber: Transcriber = Transcriber()
    """Speech to text."""
    responder: Responder = Responder()
    """Text to answer."""
    synthesizer: Synthesizer = Synthesizer()
    """Text to speech."""
    ahead_milliseconds: Annotated[Int32, Field(ge=200, le=600_000)] = 2000
    """How far ahead of real time audio is published; little, so that an interruption wastes little."""
    max_utterance_seconds: Annotated[Int32, Field(ge=1, le=600)] = 60
    """A longer utterance is committed at this length."""


class Workers(Api):
    """The pods that hear, answer and speak."""

    replicas: Annotated[Int32, Field(ge=0, le=1000)] = 2
    """Number of workers; more than `rocketmq.partitions` find nothing to do."""
    image: Image | None = None
    """Image of the workers; absent: the one that the operator was installed with."""
    max_sessions: Annotated[Int32, Field(ge=1, le=100_000)] = 2000
    """Sessions that one worker keeps in memory; the least recently used idle one is forgotten first."""
    epoch_wait_milliseconds: Annotated[Int32, Field(ge=0, le=10_000)] = 500
    """How long packets of a session's new gateway wait for the last packet of the old one."""
    pipeline: Pipeline = Pipeline()
    """The stages of a turn."""
    pod: PodSettings = PodSettings()
    """Where workers run and what they may use."""


ADDRESSES = r"^[^:;,\s]+:[0-9]+(;[^:;,\s]+:[0-9]+)*$"
TOPIC = r"^[A-Za-z0-9_%|-]+$"


def _immutable_even_when_absent(field: str) -> tuple[str, str]:
    return (
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} is immutable",
    )


class RocketMQ(Api):
    """The message layer. Topics and groups are made by the operator."""

    model_config = rules(
        _immutable_even_when_absent("requestTopic"),
        _immutable_even_when_absent("replyTopic"),
        (
            "!has(self.caSecret) || self.tls || (has(self.adminTls) && self.adminTls)",
            "caSecret needs tls: true or adminTls: true",
        ),
    )

    endpoints: Annotated[str | None, Field(pattern=ADDRESSES, max_length=1024)] = None
    """gRPC endpoints of the proxies, `host:port[;host:port…]`; absent: those that the operator was installed with."""
    name_server: Annotated[str | None, Field(pattern=ADDRESSES, max_length=1024)] = None
    """Name servers, `host:port[;host:port…]`, for the admin protocol; absent: the ones that the operator was installed
    with."""
    request_topic: Annotated[str | None, Field(pattern=TOPIC, min_length=1, max_length=112)] = None
    """Base name of the request topics; absent: `lv-<namespace>-<name>-requests`."""
    reply_topic: Annotated[str | None, Field(pattern=TOPIC, min_length=1, max_length=111)] = None
    """Parent topic of the sessions' LiteTopics; absent: `lv-<namespace>-<name>-replies`."""
    partitions: Annotated[Int32, Field(ge=1, le=100, json_schema_extra=IMMUTABLE)] = 8
    """Number of request partitions: how many workers can share the load."""
    expiration_minutes: Annotated[Int32, Field(ge=15, le=35_791)] = 60
    """How long after its last reply a session can be resumed. RocketMQ computes with 32 bits: more than 35,791
    minutes would expire at once."""
    tls: bool = False
    """Speak TLS to the proxies."""
    admin_tls: bool | None = None
    """Speak TLS to name servers and brokers, too; absent: as the operator was installed. Their certificates must name
    their addresses: brokers register them as `brokerIP1`."""
    ca_secret: ObjectName | None = None
    """Secret whose `ca.crt` signs the certificates of proxies, name servers and brokers, for gateways and workers;
    absent: the system's authorities."""
    credentials_secret: ObjectName | None = None
    """Secret with `accessKey` and `secretKey` for gateways and workers; absent: no credentials. The operator uses its
    own, those that it was installed with, and only at the name servers that it was installed with."""


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
    """Bounds of a session, and of a pod."""
    audio: Audio = Audio()
    """How audio travels."""
    drain: Drain = Drain()
    """How a gateway gives its sessions away before it stops."""
    workers: Workers = Workers()
    """The pods that hear, answer and speak."""
    rocketmq: RocketMQ = RocketMQ()
    """The message layer."""
    pod: PodSettings = PodSettings()
    """Where gateways run and what they may use."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much gateways and workers log."""
