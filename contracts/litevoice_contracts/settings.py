"""Settings files of the images: the operator writes them into a ConfigMap, the programs read them at start.

Every field is documented; an unknown field is an error, so that a typing mistake is not silently ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Port = Annotated[int, Field(ge=1, le=65535)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class BrokerSettings(_Settings):
    """How to reach RocketMQ, and the names to use there."""

    endpoints: Annotated[str, Field(min_length=1, pattern=r"^[^:;,\s]+:\d+(;[^:;,\s]+:\d+)*$")]
    """gRPC endpoints of the proxies, `host:port[;host:port…]`."""
    name_server: Annotated[str, Field(min_length=1, pattern=r"^[^:;,\s]+:\d+(;[^:;,\s]+:\d+)*$")]
    """Name servers, `host:port[;host:port…]`, for the admin protocol: gateways and workers ask who owns a session."""
    request_topic: str
    reply_topic: str
    partitions: Annotated[int, Field(ge=1, le=100)]
    tls: bool = False
    """Speak TLS to the proxies."""
    admin_tls: bool = False
    """Speak TLS to name servers and brokers, whose certificates are other ones than the proxies'."""
    ca_file: str = ""
    """PEM file with the certificate authorities to trust; empty: the system's."""
    credentials_dir: str = ""
    """Folder with the files `accessKey` and `secretKey`, for proxies and brokers; empty: no credentials."""


class GatewaySettings(_Settings):
    """Everything a gateway needs to know."""

    broker: BrokerSettings
    listen_host: str = "0.0.0.0"
    listen_port: Port = 8080
    admin_host: str = "0.0.0.0"
    admin_port: Port = 9090
    api_keys_dir: str
    """Folder of files: file name = principal, content = its API keys, one per line. Re-read when it changes."""
    keys_dir: str
    """Folder with the files `session-signing-key` (at least 32 bytes) and `admin-token`."""
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 5000
    """Sessions per pod; one more is refused with 1013."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=16 << 20)] = 1 << 20
    max_events_per_second: Annotated[int, Field(ge=10, le=10_000)] = 200
    """Client events per second and session (burst: twice as many); more is read later, and counted."""
    retained_seconds: Annotated[int, Field(ge=5, le=600)] = 60
    """Audio of the open turn that is kept for a replay."""
    max_pending_packets: Annotated[int, Field(ge=10, le=100_000)] = 3000
    """Packets of one session that wait for the broker's confirmation; at the bound the connection is no longer read."""
    send_buffer_bytes: Annotated[int, Field(ge=4096, le=16 << 20)] = 256 * 1024
    """What may wait in the pod for a client that reads slowly; beyond it, replies wait at the broker."""
    batch_milliseconds: Annotated[int, Field(ge=0, le=1000)] = 100
    """How long frames of one session are collected into one message."""
    idle_timeout_seconds: Annotated[int, Field(ge=10, le=86_400)] = 900
    """A session without a client event and without a reply for so long is closed with 1000."""
    probe_seconds: Annotated[int, Field(ge=1, le=600)] = 5
    """A turn that shows no progress for so long makes the gateway ask the worker (turn probe)."""
    restore_timeout_seconds: Annotated[int, Field(ge=1, le=120)] = 30
    """Silence of a log that is read back after which its session counts as expired; longer than a broker's restart."""
    drain_policy: Literal["Migrate", "Complete", "Auto"] = "Auto"
    drain_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """All sessions must be gone by then; the rest is cut."""
    drain_turn_wait_seconds: Annotated[int, Field(ge=0, le=600)] = 2
    """How long a session may wait for the end of its turn before it is moved."""
    drain_rate_per_second: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Sessions moved per second."""
    close_timeout_seconds: Annotated[float, Field(ge=0.1, le=30)] = 2.0
    """How long the peer may take to answer our Close while we keep reading."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class OpenAICompatible(_Settings):
    """An endpoint that speaks one of OpenAI's HTTP APIs."""

    base_url: Annotated[str, Field(pattern=r"^https?://")]
    """For example `http://vllm:8000/v1`."""
    model: Annotated[str, Field(min_length=1)]
    api_key_file: str = ""
    """File that holds the key; empty: no key is sent."""
    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 30


class TranscriberSettings(_Settings):
    """Speech to text. Without `openai`: pocketsphinx with a grammar, in the pod."""

    openai: OpenAICompatible | None = None
    grammar_file: str = ""
    """JSGF grammar for pocketsphinx; empty: the one that comes with litevoice."""


class ResponderSettings(_Settings):
    """Text to answer. Without `openai`: a deterministic local responder for development."""

    openai: OpenAICompatible | None = None


class SynthesizerSettings(_Settings):
    """Text to speech. Without `openai`: espeak-ng, in the pod."""

    openai: OpenAICompatible | None = None
    voice: str = "en"
    """espeak-ng voice, or the endpoint's, unless the session names one."""


class PipelineSettings(_Settings):
    """The stages of a turn."""

    transcriber: TranscriberSettings = TranscriberSettings()
    responder: ResponderSettings = ResponderSettings()
    synthesizer: SynthesizerSettings = SynthesizerSettings()
    ahead_milliseconds: Annotated[int, Field(ge=200, le=600_000)] = 2000
    """Audio is published at most this far ahead of real time, so that an interruption wastes little."""
    max_utterance_seconds: Annotated[int, Field(ge=1, le=600)] = 60
    """A longer utterance is committed at this length."""


class MembersSettings(_Settings):
    """Where a worker learns which workers are ready."""

    service: str = ""
    """Kubernetes Service, `namespace/name`, whose EndpointSlices list the ready workers."""
    static: list[str] = []
    """Names of all workers, where there is no Kubernetes."""


class WorkerSettings(_Settings):
    """Everything a worker needs to know."""

    broker: BrokerSettings
    admin_host: str = "0.0.0.0"
    admin_port: Port = 9090
    members: MembersSettings
    pipeline: PipelineSettings = PipelineSettings()
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Sessions kept in memory; the least recently used idle one is forgotten first (it can be replayed)."""
    epoch_wait_milliseconds: Annotated[int, Field(ge=0, le=10_000)] = 500
    """How long packets of a new owner wait for the last packet of the old one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
