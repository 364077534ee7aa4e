"""Pods, brokers and messages for a number of sessions. Pure.

The formula, for one VoiceGateway; S sessions, M = S × open of them with an open microphone:

- frames per second F = 50 M;
- gateway pods = the larger of F × CPU per frame / (cores × use - CPU of the bundles for more than 8 partitions) and
  S / maxPerPod;
- workers: as many as it takes that the busiest one can hold its share of (F × CPU per frame + what speech costs beyond
  that) and of S. Partitions are drawn by hash, so the busiest of W workers has more than 1 / W of them;
- partitions = 8, or 16, 32, … where no number of workers can do it with fewer;
- messages up per second = gateway pods × partitions × 10: each pod has a bundle for each partition at each beat;
- messages down = typed questions × 3.5 + M × speaking × (messages while somebody speaks + those of a spoken answer)
  + gateway pods × workers;
- brokers = the largest of CPU, bytes and subscriptions, each divided by what one broker may have.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bench.figures import number
from litevoice_worker.partitions import ranking

FRAMES_PER_SECOND = 50
AUDIO_BYTES_PER_SECOND = 48_000
BEATS_PER_SECOND = 10
UTTERANCE_SECONDS = ANSWER_SECONDS = 4.0
MESSAGES_PER_ANSWER = 4.0
"""Of a spoken turn, beside its audio, which comes in pieces of 0.4 s."""
ANSWER_PIECES_PER_SECOND = 2.5
PARTITIONS, MAX_PARTITIONS = 8, 64
GATEWAY_MESSAGE_SECONDS = 0.00075
"""A gateway's CPU for one more bundle, whatever is in it: its way through the gRPC client. What a frame costs has those
of 8 partitions in it."""
NEWS_PER_SECOND = 1.0
"""From each worker to each gateway pod."""
_DRAWS = 12  # sets of workers' names over which the busiest worker's share is averaged

ROCKETMQ_IDLE_CORES = 0.23
"""With clients connected (docs/sizing.md)."""
ROCKETMQ_FEW_SECONDS, ROCKETMQ_FEW = 0.0033, 250.0
"""CPU of broker and proxy per message, up to so many per second (ADR 11: 250 a second take 0.84 core)."""
ROCKETMQ_MANY_SECONDS = 0.001
"""The same where many travel in one poll (ADR 11: 1,000 a second take 1.02 cores)."""
ROCKETMQ_CORES_PER_BYTE = 0.014e-6
"""ADR 11: 19 instead of 1 MB/s in as many messages take 0.25 core more."""

GATEWAY_EMPTY_MIB, WORKER_EMPTY_MIB = 45.0, 129.0
"""Processes without sessions; the worker's speech to text is an endpoint."""
WORKER_OPEN_KIB, WORKER_SPEECH_KIB_PER_SECOND = 40.0, 43.0
"""docs/sizing.md, "Memory of a worker"."""
KIB = 1024.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured.

    Attributes:
        gateway_frame: CPU seconds per frame of 20 ms, in company of everything else; `worker_frame` likewise.
        worker_speech: what a frame of speech costs beyond one of silence, in seconds.
        speech_messages: down, per second of speech.
        typed_messages: down, per typed question.
        gateway_idle: CPU seconds per second of a session that sends nothing.
        gateway_kib: memory of such a session; `worker_kib` likewise.
        gateway_sound_kib: what an open microphone that is not muted takes beyond that, until a worker is done with it.
    """

    gateway_frame: float
    worker_frame: float
    worker_speech: float
    speech_messages: float
    typed_messages: float
    gateway_idle: float
    gateway_kib: float
    worker_kib: float
    gateway_sound_kib: float


@dataclass(frozen=True, slots=True)
class Load:
    """`open`: share of sessions with an open microphone. Of those: `speaking` into, `muted` (digital silence), the rest
    in a room with noise. `typed`: questions per session and second. Who speaks is answered as long as they spoke."""

    sessions: int
    open: float = 1.0
    speaking: float = 0.1
    muted: float = 0.5
    typed: float = 0.0

    def __post_init__(self) -> None:
        if self.sessions < 1:
            raise ValueError(f"sessions: expected at least 1, got {self.sessions}")
        for name in ("open", "speaking", "muted"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {getattr(self, name)}")
        if self.speaking + self.muted > 1:
            raise ValueError(f"speaking and muted: expected at most 1 together, got {self.speaking + self.muted}")
        if self.typed < 0:
            raise ValueError(f"typed: expected at least 0, got {self.typed}")

    @property
    def microphones(self) -> float:
        return self.sessions * self.open


@dataclass(frozen=True, slots=True)
class Limits:
    """What one of each may have. `use`: how much of its cores a pod or broker may take, so that bursts fit.

    Attributes:
        per_resource: sessions of one VoiceGateway. Messages up grow with its gateway pods times its partitions, so
            several small ones cost the brokers less than a large one.
    """

    per_resource: int = 1000
    pod_cores: float = 1.0
    use: float = 0.7
    max_per_pod: int = 5000
    max_sessions: int = 2000
    broker_cores: float = 8.0
    broker_bytes_per_second: float = 200e6
    subscriptions: int = 100_000

    def __post_init__(self) -> None:
        if self.per_resource < 1:
            raise ValueError(f"per_resource: expected at least 1 session, got {self.per_resource}")
        least = (MAX_PARTITIONS - PARTITIONS) * BEATS_PER_SECOND * GATEWAY_MESSAGE_SECONDS
        if self.pod_cores * self.use <= least:
            raise ValueError(f"pod_cores × use: expected more than {least:.2f}, got {self.pod_cores * self.use:.2f}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Of everything, over all VoiceGateways. Memory in MiB per pod. `*_by`: what decides the number."""

    resources: int
    gateways: int
    gateways_by: str
    workers: int
    workers_by: str
    partitions: int
    brokers: int
    brokers_by: str
    up_per_second: float
    down_per_second: float
    bytes_per_second: float
    gateway_mib: float
    worker_mib: float


def most(demands: Mapping[str, float]) -> tuple[int, str]:
    """How many are needed, and what needs them."""
    name = max(demands, key=lambda key: demands[key])
    return max(1, math.ceil(round(demands[name], 6))), name


def gateway_cores(load: Load, costs: Costs) -> float:
    idle = load.sessions - load.microphones
    return load.microphones * FRAMES_PER_SECOND * costs.gateway_frame + idle * costs.gateway_idle


def worker_cores(load: Load, costs: Costs) -> float:
    return load.microphones * FRAMES_PER_SECOND * (costs.worker_frame + load.speaking * costs.worker_speech)


def messages_down(load: Load, costs: Costs) -> float:
    spoken = MESSAGES_PER_ANSWER + ANSWER_SECONDS * ANSWER_PIECES_PER_SECOND
    per_speaker = costs.speech_messages + spoken / UTTERANCE_SECONDS
    return load.sessions * load.typed * costs.typed_messages + load.microphones * load.speaking * per_speaker


def bytes_per_second(load: Load) -> float:
    """Up and down: who speaks is answered as long."""
    return load.microphones * (1 - load.muted + load.speaking) * AUDIO_BYTES_PER_SECOND


def rocketmq_cores(messages: float, size: float) -> float:
    """Of broker and proxy, for so many messages and bytes per second."""
    few = min(messages, ROCKETMQ_FEW) * ROCKETMQ_FEW_SECONDS
    return ROCKETMQ_IDLE_CORES + max(few, messages * ROCKETMQ_MANY_SECONDS) + size * ROCKETMQ_CORES_PER_BYTE


@functools.cache
def _claims(partitions: int) -> list[list[list[int]]]:
    """For each set of names and each partition: workers in the order of their claim to it."""
    draws = []
    for draw in range(_DRAWS):
        index = {f"worker-{draw}-{number}": number for number in range(partitions)}
        draws.append([[index[name] for name in ranking(partition, index)] for partition in range(partitions)])
    return draws


@functools.cache
def busiest(partitions: int, workers: int) -> float:
    """The share of the partitions, 0 to 1, that the busiest of so many workers (at most one per partition) owns."""
    most_owned = []
    for claims in _claims(partitions):
        owned = [0] * workers
        for claim in claims:
            owned[next(worker for worker in claim if worker < workers)] += 1
        most_owned.append(max(owned))
    return statistics.mean(most_owned) / partitions


def workers_and_partitions(demand: float) -> tuple[int, int]:
    """For so many workers' worth of load. Raises ValueError when MAX_PARTITIONS workers cannot share it."""
    partitions = PARTITIONS
    while partitions <= MAX_PARTITIONS:
        for workers in range(1, partitions + 1):
            if demand * busiest(partitions, workers) <= 1:
                return workers, partitions
        partitions *= 2
    most_load = 1 / busiest(MAX_PARTITIONS, MAX_PARTITIONS)
    raise ValueError(
        f"per_resource: expected at most {most_load:.0f} workers' worth of load in one VoiceGateway, got {demand:.1f}"
    )


def plan(load: Load, costs: Costs, limits: Limits) -> Plan:
    """Raises ValueError when a VoiceGateway is to have more sessions than its workers can share."""
    resources = math.ceil(load.sessions / limits.per_resource)
    one = replace(load, sessions=math.ceil(load.sessions / resources))
    cores = limits.pod_cores * limits.use
    demands = {"CPU": worker_cores(one, costs) / cores, "maxSessions": one.sessions / limits.max_sessions}
    _, workers_by = most(demands)
    workers, partitions = workers_and_partitions(max(demands.values()))
    bundles = (partitions - PARTITIONS) * BEATS_PER_SECOND * GATEWAY_MESSAGE_SECONDS
    gateways, gateways_by = most(
        {
            "CPU": gateway_cores(one, costs) / (cores - bundles),
            "maxPerPod": one.sessions / limits.max_per_pod,
        }
    )
    up = resources * gateways * partitions * BEATS_PER_SECOND
    down = messages_down(load, costs) + resources * gateways * workers * NEWS_PER_SECOND
    size = bytes_per_second(load)
    subscriptions = load.sessions + resources * (partitions + gateways)
    brokers, brokers_by = most(
        {
            "messages": rocketmq_cores(up + down, size) / (limits.broker_cores * limits.use),
            "bytes": size / limits.broker_bytes_per_second,
            "subscriptions": subscriptions / limits.subscriptions,
        }
    )
    return Plan(
        resources=resources,
        gateways=resources * gateways,
        gateways_by=gateways_by,
        workers=resources * workers,
        workers_by=workers_by,
        partitions=resources * partitions,
        brokers=brokers,
        brokers_by=brokers_by,
        up_per_second=up,
        down_per_second=down,
        bytes_per_second=size,
        gateway_mib=gateway_mib(one, gateways, costs),
        worker_mib=worker_mib(one, busiest(partitions, workers), costs),
    )


def gateway_mib(load: Load, pods: int, costs: Costs) -> float:
    """Of each of so many pods."""
    sounding = load.microphones * (1 - load.muted) * costs.gateway_sound_kib
    return GATEWAY_EMPTY_MIB + (load.sessions * costs.gateway_kib + sounding) / pods / KIB


def worker_mib(load: Load, share: float, costs: Costs) -> float:
    """Of a worker with that share of the sessions."""
    speech = load.speaking * UTTERANCE_SECONDS * WORKER_SPEECH_KIB_PER_SECOND
    audio = load.microphones * ((1 - load.muted) * WORKER_OPEN_KIB + speech)
    return WORKER_EMPTY_MIB + (load.sessions * costs.worker_kib + audio) * share / KIB


def breaks_at(load: Load, costs: Costs, limits: Limits) -> list[tuple[str, int]]:
    """What one VoiceGateway with 8 partitions and one broker run into, and with how many sessions; the nearest first.

    Gateway pods are added as they are needed, and a worker for each partition; the busiest one counts.
    """
    share = busiest(PARTITIONS, PARTITIONS)

    def worker(one: Load) -> float:
        return worker_cores(one, costs) * share / (limits.pod_cores * limits.use)

    def broker(one: Load) -> float:
        gateways = math.ceil(gateway_cores(one, costs) / (limits.pod_cores * limits.use))
        messages = gateways * PARTITIONS * BEATS_PER_SECOND + messages_down(one, costs)
        return rocketmq_cores(messages, bytes_per_second(one)) / (limits.broker_cores * limits.use)

    demands: dict[str, Callable[[Load], float]] = {
        f"CPU of the busiest of {PARTITIONS} workers": worker,
        f"`maxSessions` of the busiest of {PARTITIONS} workers": lambda one: one.sessions * share / limits.max_sessions,
        f"CPU of a broker with {number(limits.broker_cores)} cores": broker,
        f"{number(limits.broker_bytes_per_second / 1e6)} MB/s of a broker": lambda one: (
            bytes_per_second(one) / limits.broker_bytes_per_second
        ),
        f"{limits.subscriptions:,} subscriptions of a broker": lambda one: one.sessions / limits.subscriptions,
    }
    found = [(name, largest(functools.partial(_fits, demand=demand, load=load))) for name, demand in demands.items()]
    return sorted(found, key=lambda entry: entry[1])


def _fits(sessions: int, *, demand: Callable[[Load], float], load: Load) -> bool:
    return demand(replace(load, sessions=sessions)) <= 1


def largest(fits: Callable[[int], bool]) -> int:
    """The most sessions that fit, up to ten million; 0 when not even one does."""
    low, high = 0, 10_000_000
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
