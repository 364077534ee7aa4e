"""Executes the actions of a plan, and remembers what was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litevoice_broker.errors import BrokerError, NotPermitted
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    SECRET,
    Cluster,
    ClusterError,
    Kind,
)
from litevoice_operator.api.labels import owned_selector, sets_selector
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.conditions import Problem, together
from litevoice_operator.decide.ownership import Claim, Owner, claim, is_owned, trespass
from litevoice_operator.decide.plan import (
    NAMES,
    SEEN_NAMES,
    Action,
    Adopt,
    Apply,
    AwaitNoPods,
    BrokerNames,
    DeleteDeployment,
    DeleteSet,
    DeleteSets,
    Done,
    EnsureNames,
    ReadNames,
    Release,
    Removal,
    Scale,
    SetAction,
    subject,
)
from litevoice_operator.manifests.objects import Manifest, controller
from litevoice_operator.observe.replica_sets import orphans, read_replica_set

BROKER_ATTEMPTS = 5
RELEASE_SECONDS = 5
MAX_NAMED = 5
FIRST_PAUSE_SECONDS = 2.0
"""Doubled after each attempt: a restarting broker is back by then, and one that is gone must not block for ever."""


@dataclass(slots=True)
class Outcome:
    """Attributes:
    applied: objects as the API server returned them.
    failed: one for each object that is not as wanted, which it names.
    sets_failed: a ReplicaSet of the gateways is among them.
    names: why topics and groups are not as wanted.
    """

    applied: list[Manifest] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    sets_failed: bool = False
    names: Problem | None = None

    @property
    def problem(self) -> Problem | None:
        return together([*self.failed, *([self.names] if self.names else [])])


@dataclass(frozen=True, slots=True)
class Remains:
    """Why topics and groups may still be at the broker; `gave_up`: not on purpose."""

    why: str
    gave_up: bool


class Executor:
    """Attributes:
    done: what the next plan needs to know.
    """

    def __init__(self, cluster: Cluster, broker: Broker, key: Key) -> None:
        self._cluster = cluster
        self._broker = broker
        self._key = key
        self.done: dict[str, Done] = {}

    async def execute(self, actions: Iterable[Action], uid: str = "", seen: Mapping[str, str] | None = None) -> Outcome:
        """Every action is tried, whatever became of the others; `uid`: of the VoiceGateway. `seen`: ReplicaSets that
        were not listed in this pass, and their resourceVersions: one that has another by now stays as it is until the
        next pass. Raises ClusterError only if the API server does not answer: then nobody can be told either."""
        outcome = Outcome()
        for action in actions:
            if isinstance(action, Apply):
                await self._apply(action, outcome, seen or {})
            elif isinstance(action, ReadNames):
                outcome.names = await self._read_names(action.wanted)
            elif isinstance(action, EnsureNames):
                outcome.names = await self._ensure_names(action)
            else:
                await self._change_set(action, uid, outcome)
        return outcome

    async def _change_set(self, action: SetAction, uid: str, outcome: Outcome) -> None:
        namespace, name = self._key
        what = f"Deployment {action.name}" if isinstance(action, Release) else f"ReplicaSet {action.replica_set.name}"
        try:
            if isinstance(action, Release):
                await self._cluster.delete(DEPLOYMENT, namespace, action.name, action.uid, orphan=True)
                return
            one = action.replica_set
            if isinstance(action, DeleteSet):
                await self._cluster.delete(REPLICA_SET, namespace, one.name, one.uid)
                self.done.pop(f"{REPLICA_SET.kind}/{one.name}", None)
                return
            owners = [controller(name, uid)] if isinstance(action, Adopt) else []
            change = {"spec": {"replicas": action.replicas}} if isinstance(action, Scale) else {}
            changed = await self._cluster.change(REPLICA_SET, namespace, one.name, one.uid, change, owners)
            outcome.applied.append(changed)
        except ClusterError as error:
            if not error.answered:
                raise
            outcome.sets_failed = True
            outcome.failed.append(Problem("ApplyFailed", f"{what}: {error}", lasting=not error.retryable))

    async def _apply(self, action: Apply, outcome: Outcome, seen: Mapping[str, str]) -> None:
        manifest = action.manifest
        what = f"{manifest['kind']} {manifest['metadata']['name']}"
        try:
            problem = await self._apply_own(manifest, outcome, seen)
        except ClusterError as error:
            if not error.answered:
                raise
            problem = Problem("ApplyFailed", f"{what}: {error}", lasting=not error.retryable)
        else:
            if problem is not None:
                problem = Problem(problem.reason, f"{what} {problem.message}", problem.lasting)
        if problem is not None:
            outcome.failed.append(problem)
            outcome.sets_failed = outcome.sets_failed or manifest["kind"] == REPLICA_SET.kind

    async def _apply_own(
        self, manifest: Mapping[str, Any], outcome: Outcome, seen: Mapping[str, str]
    ) -> Problem | None:
        """Only if nobody else has made an object of that name, and it is not as it was left. Raises ClusterError."""
        metadata, before, version = manifest["metadata"], self.done.get(subject(manifest)), ""
        kind, wanted = Kind(manifest["apiVersion"], manifest["kind"]), manifest
        (owner,) = metadata["ownerReferences"]
        if kind == SECRET:
            await self._cluster.create(manifest)  # its name says what is in it, so one that exists is the same
        else:
            # ConfigMaps of others are not the operator's to read: the chart's admission policy keeps it off them.
            readable = kind != CONFIG_MAP
            found = await self._cluster.get(kind, metadata["namespace"], metadata["name"]) if readable else None
            if found is not None:
                if problem := trespass(found, owner["name"], owner["uid"]):
                    return problem
                same = {"uid": found["metadata"]["uid"]}
                if kind == REPLICA_SET and metadata["name"] in seen:
                    same["resourceVersion"] = seen[metadata["name"]]
                    if same["resourceVersion"] != found["metadata"]["resourceVersion"]:
                        return None
                wanted = {**manifest, "metadata": {**metadata, **same}}
            untouched = before and before.wanted == manifest and found and before.version == _version(found)
            made = found if found and untouched else await self._cluster.apply(wanted)
            outcome.applied.append(made)
            version = _version(made)
        self.done[subject(manifest)] = Done(manifest, time.monotonic(), version)
        return None

    async def _ensure_names(self, action: EnsureNames) -> Problem | None:
        wanted, mark = action.wanted, str(action.wanted.owner)
        try:
            await self._broker.use(wanted.name_server, admin_tls=wanted.admin_tls)
            marks = await self._broker.marks(wanted.names)
            claimed = await _claim(self._broker, wanted, marks)
            if isinstance(claimed, Problem):
                return claimed
            if claimed != "Unmarked" and any(found != mark for found in marks):
                await self._broker.mark(wanted.names, mark)
            if not action.only_if_missing or await self._broker.missing(wanted.names):
                await self._broker.ensure(wanted.names, wanted.expiration_minutes, wanted.known_partitions)
        except BrokerError as error:
            return broker_problem(error)
        self.done[NAMES] = Done(wanted, time.monotonic())
        return None

    async def _read_names(self, wanted: BrokerNames) -> Problem | None:
        try:
            await self._broker.use(wanted.name_server, admin_tls=wanted.admin_tls)
            claimed = await _claim(self._broker, wanted, await self._broker.marks(wanted.names))
            if isinstance(claimed, Problem):
                return claimed
            if missing := await self._broker.missing(wanted.names):
                what = ", ".join(missing[:MAX_NAMED]) + (" …" if len(missing) > MAX_NAMED else "")
                return Problem("NamesMissing", f"not at the broker, and not made while paused: {what}", lasting=True)
        except BrokerError as error:
            return broker_problem(error)
        self.done[SEEN_NAMES] = Done(wanted, time.monotonic())
        return None


def _version(body: Mapping[str, Any]) -> str:
    return str(body["metadata"]["resourceVersion"])


async def remove(cluster: Cluster, broker: Broker, key: Key, actions: Iterable[Removal]) -> Remains | None:
    """Bounded; returns why names may remain at the broker. Raises ClusterError if the API server cannot be reached: the
    caller retries."""
    namespace, name = key
    for action in actions:
        if isinstance(action, DeleteDeployment):
            found = await cluster.get(DEPLOYMENT, namespace, action.name)
            if found is not None and is_owned(found, action.owner_uid):
                await cluster.delete(DEPLOYMENT, namespace, action.name, found["metadata"]["uid"])
        elif isinstance(action, DeleteSets):
            await _delete_sets(cluster, key, action.owner_uid)
        elif isinstance(action, AwaitNoPods):
            for _ in range(action.seconds):
                if not await cluster.list(POD, namespace, labels=owned_selector(name), limit=1):
                    break
                await asyncio.sleep(1)
        elif remains := await _delete_names(broker, action.unwanted):
            return remains
    return None


async def _delete_sets(cluster: Cluster, key: Key, uid: str) -> None:
    namespace, name = key
    for _ in range(RELEASE_SECONDS):  # a Deployment that was released just now has let its ReplicaSets go by then
        found = await cluster.get(DEPLOYMENT, namespace, f"{name}-gateway")
        if found is None or not is_owned(found, uid):
            break
        await asyncio.sleep(1)
    bodies = await cluster.list(REPLICA_SET, namespace, labels=sets_selector(name), limit=500)
    sets = [read_replica_set(body) for body in bodies]
    nobodys = orphans(sets, name)
    for one in nobodys:  # only what is its own may it delete
        await cluster.change(REPLICA_SET, namespace, one.name, one.uid, {}, [controller(name, uid)])
    for one in sets:
        if one.controller == uid or one in nobodys:
            await cluster.delete(REPLICA_SET, namespace, one.name, one.uid)


async def _claim(broker: Broker, names: BrokerNames, marks: Sequence[str]) -> Claim | Problem:
    exist = not any(marks) and await broker.exist(names.names)
    return claim(names.names, names.owner, marks, exist=exist, had_them=names.had_them)


async def _delete_names(broker: Broker, unwanted: BrokerNames) -> Remains | None:
    await broker.use(unwanted.name_server, admin_tls=unwanted.admin_tls)
    itself = Owner(unwanted.owner.uid, line="")  # what a successor has taken over is not deleted
    pause_seconds = FIRST_PAUSE_SECONDS
    last: BrokerError | None = None
    for attempt in range(BROKER_ATTEMPTS):
        if attempt:
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2
        try:
            claimed = await _claim(broker, replace(unwanted, owner=itself), await broker.marks(unwanted.names))
            if isinstance(claimed, Problem):
                return Remains(claimed.message, gave_up=False)
            if claimed == "Unmarked":
                return Remains("they were there before the VoiceGateway", gave_up=False)
            await broker.delete(unwanted.names)
        except BrokerError as error:
            last = error
        else:
            return None
    return Remains(f"gave up after {BROKER_ATTEMPTS} attempts: {last}", gave_up=True)


def broker_problem(error: BrokerError) -> Problem:
    if error.retryable:
        return Problem("BrokerUnavailable", str(error), lasting=False)
    text = str(error)
    if isinstance(error, NotPermitted):
        text += " (the operator's own credentials are those of its chart's rocketmq.credentialsSecret)"
    return Problem("BrokerRefused", text, lasting=True)
