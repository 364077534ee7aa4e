"""Settings files of the images: the operator writes them into a ConfigMap, the programs read them at start.

Every field is documented. Unknown fields are errors: typos fail loudly.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from litevoice_contracts.addresses import ADDRESSES
from litevoice_contracts.control import DrainPolicy
from litevoice_contracts.names import MAX_PARTITIONS, Names

MAX_VOICE_LENGTH = 128
OWN_VOICE = "default"
"""Of a session that names no voice."""
CLOSE_TIMEOUT_SECONDS = 2.0
LAST_CALL_SECONDS = 0.5
"""At the end of a drain, beside the time that a client has to answer its Close: who is told later may be cut."""

Port = Annotated[int, Field(ge=1, le=65535)]
Addresses = Annotated[str, Field(pattern=ADDRESSES, max_length=1024)]
Partitions = Annotated[int, Field(ge=1, le=MAX_PARTITIONS)]
LogLevel = Literal["debug", "info", "warning", "error"]


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class BrokerSettings(_Settings):
    """How to reach RocketMQ, and the names to use there."""

    endpoints: Addresses
    """gRPC endpoints of the proxies, `host:port[;host:port…]`; IPv6 addresses in brackets."""
    name_server: Addresses
    """Name servers, `host:port[;host:port…]`, for the admin protocol: gateways and workers ask who owns a session."""
    request_topic: str
    """Base name of the request topics; partition 7 of `X` is the topic `X-07`."""
    reply_topic: str
    """Parent topic of the sessions' LiteTopics; of those on the second broker it is `Y-01`, and so on."""
    partitions: Partitions
    """Number of request partitions."""
    brokers: Partitions = 1
    """How many brokers share the partitions, and with them the sessions."""
    tls: bool = False
    """Use TLS to the proxies."""
    admin_tls: bool = False
    """Use TLS to name servers and brokers; their certificates are not the proxies' own."""
    ca_file: str = ""
    """PEM file with the CAs to trust; empty: the system's."""
    credentials_dir: str = ""
    """Folder with the files `accessKey` and `secretKey`, for proxies and brokers; empty: no credentials."""

    @property
    def names(self) -> Names:
        """Every name that these settings give."""
        return Names(self.request_topic, self.reply_topic, self.partitions, self.brokers)


class GatewaySettings(_Settings):
    """Settings of a gateway."""

    broker: BrokerSettings
    """How to reach RocketMQ, and the names to use there."""
    listen_host: str = "0.0.0.0"
    """Address that clients connect to."""
    listen_port: Port = 8080
    """Port that clients connect to."""
    admin_host: str = "0.0.0.0"
    """Address of the admin port."""
    admin_port: Port = 9090
    """Port of `/healthz`, `/readyz`, `/metrics` and the admin API under `/v1`."""
    admin_tls_dir: str = ""
    """Folder with the files `admin-tls.crt` and `admin-tls.key` (PEM): what the admin port serves is served with TLS,
    too. Empty: it is not."""
    admin_tls_port: Port = 9443
    """Port for that."""
    api_keys_dir: str
    """Folder of files: file name = principal, content = its API keys, one per line. Read again when it changes."""
    keys_dir: str
    """Folder with the files `session-signing-key` (at least 32 bytes) and `admin-token`."""
    models: Annotated[list[PipelineName], Field(max_length=16)] = []
    """What clients may ask for with `?model=`, the default first; another one is refused with 404. Empty: anything."""
    semantic_models: Annotated[list[PipelineName], Field(max_length=16)] = []
    """Those of `models` that have a turn detector: there clients may ask for `semantic_vad`."""
    voices: dict[str, list[VoiceName]] = {}
    """Of each of `models` that has a map of voices, the names that clients may ask for; another one is not applied. Of
    one that has none, every name goes to its synthesizer."""
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 5000
    """Sessions per gateway; one more is refused with close code 1013."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=16 << 20)] = 1 << 20
    """Largest WebSocket message from a client; a larger one closes the connection with 1009."""
    max_events_per_second: Annotated[int, Field(ge=10, le=10_000)] = 200
    """Client events per second and session (burst: twice as many); excess events are delayed, not dropped."""
    max_audio_speed: Annotated[int, Field(ge=1, le=100)] = 2
    """Seconds of audio per second and session; what a client sends faster is read later."""
    max_audio_burst_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    """Seconds of audio that a session may send at any speed before `maxAudioSpeed` counts."""
    retained_seconds: Annotated[int, Field(ge=5, le=600)] = 60
    """Audio of the open turn that a gateway keeps, so that another worker can continue the turn."""
    max_pending_packets: Annotated[int, Field(ge=10, le=100_000)] = 3000
    """Packets of a session that wait for the broker's confirmation; at the bound the connection is no longer read."""
    max_pending_bytes: Annotated[int, Field(ge=64 * 1024, le=256 << 20)] = 4 << 20
    """The same bound in bytes."""
    max_held_mebibytes: Annotated[int, Field(ge=1, le=1 << 20)] = 256
    """Packets of all sessions together that wait for the broker or are kept for a replay. Beyond it new sessions are
    refused with 1013, and no client is read."""
    send_buffer_bytes: Annotated[int, Field(ge=4096, le=16 << 20)] = 256 * 1024
    """What may wait in the pod for a client that reads slowly; beyond it, replies wait at the broker."""
    batch_milliseconds: Annotated[int, Field(ge=0, le=1000)] = 100
    """Interval at which everything that was read for one partition leaves in one message; 0: as soon as the message
    before is confirmed."""
    idle_timeout_seconds: Annotated[int, Field(ge=10, le=86_400)] = 900
    """A session without a client event or a reply for this long is closed with 1000."""
    keep_alive_seconds: Annotated[int, Field(ge=5, le=300)] = 300
    """How long the LiteTopic of a session that lives may stay without a message before the gateway writes an empty one:
    brokers let it expire so long after the last message as `rocketmq.expirationMinutes` says, 15 minutes at least."""
    probe_seconds: Annotated[int, Field(ge=1, le=600)] = 5
    """The gateway asks the worker about a turn that has made no progress for this long."""
    restore_timeout_seconds: Annotated[int, Field(ge=1, le=120)] = 30
    """While a session is restored, how long its log may stay silent before the session counts as expired; longer than a
    broker's restart takes."""
    drain_policy: DrainPolicy = "Auto"
    """Migrate: clients are asked to reconnect elsewhere. Complete: sessions may end by themselves. Auto: Migrate for
    clients that have shown, or said, that they come back; Complete for the others."""
    drain_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """When a drain must be over; sessions that are still open are cut."""
    drain_turn_wait_seconds: Annotated[int, Field(ge=0, le=600)] = 2
    """How long a session may wait for the end of its turn before it is moved."""
    drain_rate_per_second: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Sessions moved per second."""
    close_timeout_seconds: Annotated[float, Field(ge=0.1, le=30)] = CLOSE_TIMEOUT_SECONDS
    """How long a client may take to answer a Close; it is read until then."""
    log_level: LogLevel = "info"
    """Lowest level that is logged."""


class OpenAICompatible(_Settings):
    """An endpoint that speaks one of OpenAI's HTTP APIs."""

    base_url: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2048)]
    """For example `http://vllm.models:8000/v1`."""
    model: Annotated[str, Field(min_length=1, max_length=512)]
    """Name of the model at that endpoint."""
    api_key_file: str = ""
    """File that holds the API key, read again when it changes; empty: no key is sent."""
    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    """Time limit of a request; for a streamed answer, of the wait for its next piece."""


PipelineName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]
"""What clients write after `?model=`."""
PluginName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
VoiceName = Annotated[str, Field(min_length=1, max_length=MAX_VOICE_LENGTH)]


def _checked(voices: dict[str, str]) -> dict[str, str]:
    for name in voices:
        if not 1 <= len(name) <= MAX_VOICE_LENGTH or name == OWN_VOICE:
            raise ValueError(
                f"names of 1 to {MAX_VOICE_LENGTH} characters, and not `{OWN_VOICE}`, which is the voice in the "
                f"synthesizer's options; got {name[:MAX_VOICE_LENGTH]!r}"
            )
    return voices


Voices = Annotated[dict[str, VoiceName], Field(max_length=64), AfterValidator(_checked)]
Options = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


class StageSettings(_Settings):
    """One stage of a pipeline."""

    use: PluginName
    """Name of the plug-in. With litevoice come `openai` for each stage but the turn detector, whose are `endpoint` and
    `smart-turn`, and, for development, the transcriber `pocketsphinx`, the responder `demo` and the synthesizer
    `espeak-ng`."""
    options: Options = {}
    """The plug-in's own settings; the plug-in says which there are, and checks them when a worker starts."""


class PipelineSettings(_Settings):
    """The stages of a turn."""

    name: PipelineName
    """What clients ask for with `?model=`."""
    transcriber: StageSettings = StageSettings(use="pocketsphinx")
    """Speech to text: an entry point of `litevoice.transcribers`."""
    responder: StageSettings = StageSettings(use="demo")
    """Text to answer: an entry point of `litevoice.responders`."""
    synthesizer: StageSettings = StageSettings(use="espeak-ng")
    """Text to speech: an entry point of `litevoice.synthesizers`."""
    voices: Voices | None = None
    """What the synthesizer calls the voices that clients name. A name that is not in it is not applied: such a session
    has the voice that it had, at first the one in the synthesizer's options. Absent: names go to the synthesizer as
    they are."""
    turn_detector: StageSettings | None = None
    """Whether a user who pauses has finished: an entry point of `litevoice.turn_detectors`; none: silence alone tells.
    It is asked where a client asks for `semantic_vad`."""


class WorkerPipelines(_Settings):
    """What a worker makes turns with."""

    pipelines: Annotated[list[PipelineSettings], Field(min_length=1, max_length=16)] = [
        PipelineSettings(name="litevoice")
    ]
    """The stages of turns; a session's model chooses one by name. The first is for sessions whose model names none."""


class TurnSettings(_Settings):
    """What goes for the turns of all pipelines."""

    ahead_milliseconds: Annotated[int, Field(ge=200, le=600_000)] = 2000
    """How far ahead of real time audio may be published; the less, the less an interruption wastes."""
    interrupt_after_milliseconds: Annotated[int, Field(ge=0, le=5000)] = 300
    """How much speech interrupts an answer at once. Less, a cough or one short word, does so only once it has ended and
    words were recognized in it; otherwise the client is told nothing of it. 0: any speech interrupts at once."""
    max_utterance_seconds: Annotated[int, Field(ge=1, le=600)] = 30
    """Longer speech is recognized in parts of this length, whose texts are joined. After 40 parts it is committed, even
    in mid-speech. Twice as long, at least, should be retained for replays (`session.retainedSeconds`)."""


class MembersSettings(_Settings):
    """Where a worker learns which workers are ready."""

    service: str = ""
    """Kubernetes Service, `namespace/name`, whose EndpointSlices list the ready workers."""
    static: list[str] = []
    """Names of all workers, where there is no Kubernetes."""


class WorkerSettings(WorkerPipelines):
    """Settings of a worker."""

    broker: BrokerSettings
    """How to reach RocketMQ, and the names to use there."""
    admin_host: str = "0.0.0.0"
    """Address of the admin port."""
    admin_port: Port = 9090
    """Port of `/healthz`, `/readyz` and `/metrics`."""
    admin_tls_dir: str = ""
    """Folder with the files `admin-tls.crt` and `admin-tls.key` (PEM): what the admin port serves is served with TLS,
    too. Empty: it is not."""
    admin_tls_port: Port = 9443
    """Port for that."""
    admin_token_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the token that `/v1` of the admin port wants, hexadecimal; empty: `/v1` is not served."""
    members: MembersSettings
    """Where the worker learns which workers are ready: either `service` or `static`."""
    pipeline: TurnSettings = TurnSettings()
    """What goes for the turns of all pipelines."""
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Sessions that a worker keeps in memory. Beyond it an idle one that was not heard of for 10 s is forgotten (it can
    be replayed); while there is none, new sessions are refused and closed with 1013."""
    epoch_wait_milliseconds: Annotated[int, Field(ge=0, le=10_000)] = 500
    """How long packets of a session's new gateway wait for the last packet of the old one."""
    cpu_millicores: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """CPU that the process may use, in thousandths of a core; 0: as much as its container. Before all of it is in use,
    new sessions are refused."""
    log_level: LogLevel = "info"
    """Lowest level that is logged."""
