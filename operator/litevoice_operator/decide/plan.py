"""What to do about a VoiceGateway now, as a list of actions. Reconcile executes them and decides nothing."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from litevoice_contracts.names import Names
from litevoice_operator.api.labels import COMPONENTS
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.decide.budget import look_factor
from litevoice_operator.decide.ownership import Owner, early_prefix
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.replica_sets import ReplicaSet

RESYNC_SECONDS = 60.0
"""Unchanged things are looked at again after this time, with many VoiceGateways later (`budget`): what others changed
or removed is repaired."""
SPREAD = 1 / 3
"""Some are earlier, by up to such a share of it, each always by as much: what was made together is not looked at
together. A pass would wait for the thousand requests of a hundred VoiceGateways that are all due."""

KILL_MARGIN_SECONDS = 30
"""After its grace period, until a pod's object is gone."""

NAMES = "names at the broker"
SEEN_NAMES = "names at the broker, not changed"


@dataclass(frozen=True, slots=True)
class BrokerNames:
    """Topics and groups, the name servers of their brokers, and whose they are.

    Attributes:
        had_them: the VoiceGateway is of a release that made topics without a mark.
        known_partitions: that there have been sessions for; there may be more by now.
    """

    name_server: str
    admin_tls: bool
    names: Names
    expiration_minutes: int
    owner: Owner
    had_them: bool
    known_partitions: int

    @classmethod
    def of(cls, gateway: Gateway, line: str) -> BrokerNames:
        expiration_minutes = gateway.spec.rocketmq.expiration_minutes
        owner = Owner(gateway.uid, line)
        had_them = gateway.topic_prefix == early_prefix(gateway.namespace, gateway.name)
        known = gateway.gateway_partitions or gateway.names.partitions
        return cls(gateway.name_server, gateway.admin_tls, gateway.names, expiration_minutes, owner, had_them, known)


@dataclass(frozen=True, slots=True)
class Apply:
    """Create an object, or change it to match its manifest."""

    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EnsureNames:
    """Create or change topics and groups; `only_if_missing`: only if one of them does not exist."""

    wanted: BrokerNames
    only_if_missing: bool


@dataclass(frozen=True, slots=True)
class ReadNames:
    """Find out whether topics and groups are there, and the VoiceGateway's own; change nothing."""

    wanted: BrokerNames


@dataclass(frozen=True, slots=True)
class Release:
    """The Deployment by which an earlier release kept the gateways goes; its ReplicaSets and their pods stay."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """A ReplicaSet that is nobody's becomes the VoiceGateway's."""

    replica_set: ReplicaSet


@dataclass(frozen=True, slots=True)
class Scale:
    """A ReplicaSet is to have so many pods; its template stays."""

    replica_set: ReplicaSet
    replicas: int


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """A ReplicaSet without pods."""

    replica_set: ReplicaSet


@dataclass(frozen=True, slots=True)
class DeleteDeployment:
    """With its pods, which drain; only if it belongs to the VoiceGateway with that uid."""

    name: str
    owner_uid: str


@dataclass(frozen=True, slots=True)
class DeleteSets:
    """All ReplicaSets of the gateways, with their pods; only those that belong to the VoiceGateway with that uid, or to
    nobody any more."""

    owner_uid: str


@dataclass(frozen=True, slots=True)
class AwaitNoPods:
    """Wait until no pod is left, for at most `seconds`."""

    seconds: int


@dataclass(frozen=True, slots=True)
class DeleteNames:
    """Delete topics and groups that belong to the VoiceGateway."""

    unwanted: BrokerNames


SetAction: TypeAlias = Release | Adopt | Scale | DeleteSet
Action: TypeAlias = Apply | EnsureNames | ReadNames | SetAction
Removal: TypeAlias = DeleteDeployment | DeleteSets | AwaitNoPods | DeleteNames


@dataclass(frozen=True, slots=True)
class Done:
    """What was last done about a thing: what was wanted then, and when (seconds, on the clock of `plan`'s `now`).

    Attributes:
        version: the resourceVersion that an object has had since.
    """

    wanted: object
    at: float
    version: str = ""


def subject(manifest: Mapping[str, Any]) -> str:
    """An object's key in `plan`'s `done`."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def plan(
    wanted_names: BrokerNames,
    manifests: Sequence[Mapping[str, Any]],
    done: Mapping[str, Done],
    now: float,
    *,
    paused: bool = False,
    fleets: int = 1,
) -> list[Action]:
    """`manifests` in the order of creation; keys of `done`: `subject` of each object, NAMES and SEEN_NAMES; `fleets`:
    VoiceGateways of the cluster. Names come last: gateways wait for a broker by themselves."""

    pause = RESYNC_SECONDS * look_factor(fleets)

    def is_due(what: str, wanted: object) -> bool:
        was = done.get(what)
        return was is None or was.wanted != wanted or now - was.at >= pause * _share(wanted_names.owner.uid, what)

    if paused:
        return [ReadNames(wanted_names)] if is_due(SEEN_NAMES, wanted_names) else []
    actions: list[Action] = [Apply(wanted) for wanted in manifests if is_due(subject(wanted), wanted)]
    before = done.get(NAMES)
    if is_due(NAMES, wanted_names):
        repeated = before is not None and before.wanted == wanted_names
        actions.append(EnsureNames(wanted_names, only_if_missing=repeated))
    return actions


def set_plan(
    sets: Sequence[ReplicaSet], replicas: Mapping[str, int], newest: str, applied: str, with_pods: Collection[str]
) -> list[SetAction]:
    """For the ReplicaSets that exist. `replicas` by revision; `applied`: name of the one that is applied as a whole;
    `with_pods`: revisions of which pods exist, also such as end."""
    actions: list[SetAction] = []
    for one in sets:
        wanted = one.wanted if one.name == applied else replicas.get(one.revision, one.wanted)
        if one.revision != newest and not (wanted or one.wanted or one.revision in with_pods):
            actions.append(DeleteSet(one))
        elif wanted != one.wanted:
            actions.append(Scale(one, wanted))
    return actions


def removal_plan(name: str, uid: str, unwanted: BrokerNames | None, pod_seconds: int) -> list[Removal]:
    """Before a VoiceGateway may disappear, its sessions end in peace, then its names are deleted at the broker; the
    garbage collector does the rest. `unwanted`: None if it was never valid, so nothing was created at any broker.
    `pod_seconds`: how long its pods may take to end."""
    pods: list[Removal] = [DeleteDeployment(f"{name}-{component}", uid) for component in COMPONENTS]
    pods.append(DeleteSets(uid))
    return [*pods, AwaitNoPods(pod_seconds), DeleteNames(unwanted)] if unwanted else pods


def seconds_to_end(grace_seconds: int, pods: Iterable[Pod]) -> int:
    """How long pods may take to end: those of a former template have its grace period. `grace_seconds`: of the current
    one."""
    return max([grace_seconds, *(pod.grace_seconds for pod in pods)]) + KILL_MARGIN_SECONDS


def _share(uid: str, what: str) -> float:
    """1, or less by up to SPREAD; `uid`: of the VoiceGateway."""
    return 1 - SPREAD * (zlib.crc32(f"{uid}/{what}".encode()) % 1000) / 1000
