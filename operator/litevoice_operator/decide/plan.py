"""What to do about a VoiceGateway now, as a list of actions. Reconcile executes them and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from litevoice_contracts.names import Names
from litevoice_operator.api.resolved import Gateway

RESYNC_SECONDS = 60.0
"""Unchanged things are done again after this time, which repairs what others changed or removed."""

NAMES = "names at the broker"


@dataclass(frozen=True, slots=True)
class BrokerNames:
    """Topics and groups, and the name servers of their brokers."""

    name_server: str
    admin_tls: bool
    names: Names
    expiration_minutes: int

    @classmethod
    def of(cls, gateway: Gateway) -> BrokerNames:
        expiration_minutes = gateway.spec.rocketmq.expiration_minutes
        return cls(gateway.name_server, gateway.admin_tls, gateway.names, expiration_minutes)


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
class DeleteDeployment:
    """With its pods, which drain."""

    name: str


@dataclass(frozen=True, slots=True)
class AwaitNoPods:
    """Wait until no pod is left, for at most `seconds`."""

    seconds: int


@dataclass(frozen=True, slots=True)
class DeleteNames:
    """Delete topics and groups."""

    unwanted: BrokerNames


Action: TypeAlias = Apply | EnsureNames
Removal: TypeAlias = DeleteDeployment | AwaitNoPods | DeleteNames


@dataclass(frozen=True, slots=True)
class Done:
    """What was last done about a thing: what was wanted then, and when (seconds, on the clock of `plan`'s `now`)."""

    wanted: object
    at: float


def subject(manifest: Mapping[str, Any]) -> str:
    """An object's key in `plan`'s `done`."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def plan(
    gateway: Gateway, manifests: Sequence[Mapping[str, Any]], done: Mapping[str, Done], now: float
) -> list[Action]:
    """`manifests` in the order of creation; keys of `done`: `subject` of each object, and NAMES. Names come last:
    gateways wait for a broker by themselves."""
    actions: list[Action] = [Apply(wanted) for wanted in manifests if _is_due(done.get(subject(wanted)), wanted, now)]
    names, before = BrokerNames.of(gateway), done.get(NAMES)
    if _is_due(before, names, now):
        actions.append(EnsureNames(names, only_if_missing=before is not None and before.wanted == names))
    return actions


def removal_plan(name: str, gateway: Gateway | None, pod_seconds: int) -> list[Removal]:
    """Before a VoiceGateway may disappear, its sessions end in peace, then its names are deleted at the broker; the
    garbage collector does the rest. `gateway`: None if it was never valid, so nothing was created at any broker.
    `pod_seconds`: how long its pods may take to end."""
    pods: list[Removal] = [DeleteDeployment(f"{name}-gateway"), DeleteDeployment(f"{name}-worker")]
    return [*pods, AwaitNoPods(pod_seconds), DeleteNames(BrokerNames.of(gateway))] if gateway else pods


def _is_due(before: Done | None, wanted: object, now: float) -> bool:
    return before is None or before.wanted != wanted or now - before.at >= RESYNC_SECONDS
