"""One VoiceGateway: observe its pods, decide what to do, do it, write its status; and its deletion."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from litevoice_contracts.control import GatewayStatus, WorkerStatus
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.cluster import DEPLOYMENT, EVENT, POD, VOICE_GATEWAY
from litevoice_operator.api.labels import owned_selector
from litevoice_operator.api.resolved import Gateway, read_gateway
from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus
from litevoice_operator.decide.available import available_finding, broker_finding
from litevoice_operator.decide.budget import hold_seconds, pass_pause
from litevoice_operator.decide.conditions import Finding, Problem
from litevoice_operator.decide.drain_limits import drain_finding
from litevoice_operator.decide.gateway_status import gateway_status
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.ownership import topic_prefix
from litevoice_operator.decide.partitions import Partitions, partitions, together
from litevoice_operator.decide.pausing import paused_event, paused_finding, scaling_paused, scaling_taken_over
from litevoice_operator.decide.plan import (
    NAMES,
    Action,
    BrokerNames,
    plan,
    removal_plan,
    seconds_to_end,
    set_plan,
    subject,
)
from litevoice_operator.decide.polling import gateway_step, worker_step
from litevoice_operator.decide.rest import at_rest, vouched
from litevoice_operator.decide.rollout import taken_over
from litevoice_operator.decide.scale_workers import both
from litevoice_operator.decide.shrink import forced_events
from litevoice_operator.manifests import worker_template
from litevoice_operator.manifests.built import Built
from litevoice_operator.manifests.keys import Keys, derive_keys, derive_line
from litevoice_operator.observe.events import messages
from litevoice_operator.observe.mounts import added_volumes, mount_problem
from litevoice_operator.observe.pods import Pod, addresses, read_pod
from litevoice_operator.observe.replica_sets import ReplicaSet, fleet, newest, read_replica_set
from litevoice_operator.observe.rollouts import Rollout, read_rollout
from litevoice_operator.observe.voice_gateway import Observed
from litevoice_operator.reconcile.accepting import AcceptingLabels
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.execute import Executor, Outcome, remove
from litevoice_operator.reconcile.polls import Asked
from litevoice_operator.reconcile.rebalance import Rebalancing
from litevoice_operator.reconcile.replica_sets import GatewaySets
from litevoice_operator.reconcile.resources import validated
from litevoice_operator.reconcile.scaling import Scaling
from litevoice_operator.reconcile.shared import GatewayView, Shared
from litevoice_operator.reconcile.worker_scaling import WorkerScaling

UNSETTLED_PAUSE_SECONDS = 2.0
MOUNT_GRACE_SECONDS = 3.0
"""A pod that starts normally has its volumes by then; after that, its Events are read for the reason."""
MAX_PODS_EXAMINED = 3

_log = logging.getLogger(__name__)


class GatewayReconciler:
    def __init__(self, shared: Shared, key: Key) -> None:
        self._shared = shared
        self._key = key
        self._keys: Keys = derive_keys(shared.root_key, *key)
        self._line = derive_line(shared.root_key, *key)
        self._built = Built(self._keys)
        self._read: tuple[tuple[str, str, object], Gateway | Problem] | None = None
        """The spec as last read, and what it was read from."""
        self._desired: tuple[str, int] | None = None
        """uid of the VoiceGateway, and gateways that there were to be at the end of the last pass: its status, which
        says it to the next operator, may not have been written."""
        self._worker_rollout: tuple[Rollout, list[Pod], float] | None = None
        """Settled, with the workers that there were, and when it was read (monotonic)."""
        self._broker = Broker(shared.installed)
        self._executor = Executor(shared.cluster, self._broker, key)
        self._sets = GatewaySets(shared.cluster, shared.sets, key)
        self._scaling = Scaling(shared, key, self._keys.admin_token)
        self._workers = WorkerScaling(shared, key, self._keys.worker_token)
        self._rebalancing = Rebalancing(shared, key, self._keys.admin_token)
        self._labels = AcceptingLabels(shared.cluster, key)
        self._backlogs = Backlogs(
            key, self._broker, shared.gateways, shared.pods, self._keys.admin_token, shared.walks, self._held_now,
            lambda: len(shared.views),
        )  # fmt: skip

    async def close(self) -> None:
        self._shared.views.pop(self._key, None)
        self._shared.turns.forget(self._key)
        self._shared.sets.forget(self._key)
        self._shared.polls.forget(self._key)
        self._backlogs.forget()
        await self._broker.close()

    async def reconcile(self) -> float | None:
        """Seconds until the next pass, None when the VoiceGateway is gone."""
        shared = self._shared
        recordable = await _recordable(shared)
        resource = await shared.resources.find(VOICE_GATEWAY, self._key)
        if resource is None:
            return None
        prefix = _prefix(resource, recordable)
        gateway = self._validated(resource, prefix)
        previous = VoiceGatewayStatus.model_validate({**resource.status, "topicPrefix": prefix})
        workers = await self._rollout()
        raising: Partitions | None = None
        if not isinstance(gateway, Problem):
            raising = self._partitions(gateway, previous.partitions, workers)
            gateway = _with_partitions(gateway, raising.now)
        uid = resource.metadata.uid
        desired = self._desired[1] if self._desired and self._desired[0] == uid else previous.desired_replicas
        observed = await self._observe(None if isinstance(gateway, Problem) else gateway, uid, desired, workers)
        problem: Problem | None
        more: list[Finding] = []
        rolling: Finding | None = None
        paused = resource.spec.get("paused") is True
        if event := paused_event(previous.conditions, paused, resource.metadata.generation):
            await shared.outbox.send(resource.reference, event)
        if isinstance(gateway, Problem):
            problem, more = gateway, [paused_finding(paused)]
            shared.turns.forget(self._key)
            shared.views[self._key] = GatewayView(gateway, None, self._backlogs)
        else:
            if paused:
                shared.turns.forget(self._key)
                outcome, scaling = await self._execute(gateway, []), scaling_paused()
            elif self._sets.taking_over(observed.sets):
                outcome = await self._execute(gateway, self._sets.to_take_over(observed.sets), without_set=True)
                scaling, rolling = scaling_taken_over(), taken_over()
            else:
                observed, outcome, scaling, rolling = await self._act(gateway, observed, resource.reference)
            problem = outcome.problem
            more = [broker_finding(outcome.names), drain_finding(gateway.spec), scaling, paused_finding(paused)]
        self._desired = uid, observed.gateways.wanted
        more = [available_finding(observed, None if isinstance(gateway, Problem) else gateway.spec), *more]
        rolling = together(rolling, raising.finding if raising else None)
        status = gateway_status(
            resource.metadata, observed, problem, previous, time.time(), more, paused=paused, rolling=rolling,
            partitions=raising.following if raising else None,
        )  # fmt: skip
        recorded = [previous.last_drain, *previous.last_drains]
        for event in forced_events(status.last_drains, recorded, self._scaling.told_forced):
            await shared.outbox.send(resource.reference, event)
        await shared.resources.write_status(resource, status)
        if raising is not None and raising.event is not None:
            await shared.outbox.send(resource.reference, raising.event)
        settled = problem is None and rolling is None and observed.gateways.settled and observed.workers.settled
        return pass_pause(len(shared.views)) if settled else UNSETTLED_PAUSE_SECONDS

    def _validated(self, resource: Resource, prefix: str) -> Gateway | Problem:
        given = (resource.metadata.uid, prefix, resource.spec)
        if self._read is None or self._read[0] != given:
            defaults = self._shared.defaults
            self._read = given, validated(resource, lambda body: read_gateway(body, defaults, prefix))
        return self._read[1]

    async def _act(
        self, gateway: Gateway, observed: Observed, about: Mapping[str, str]
    ) -> tuple[Observed, Outcome, Finding, Finding | None]:
        """What is seen afterwards, what came of it, what limits scaling, and what is replaced."""
        rebalance = gateway.spec.rebalance
        gateway = replace(gateway, routed_by_label=await self._labels.keep(observed, rebalance.imbalance_percent))
        scaled = await self._scaling.scale(gateway, observed, self._scaling.decide(gateway, observed), about)
        if rebalance.move_sessions and gateway.spec.drain.policy != "Complete":
            await self._rebalancing.move(scaled.pods, self._labels.crowded, scaled.left_per_second, about)
        gateway, workers = await self._workers.scale(scaled.gateway, observed)
        made = self._built.gateway_set(gateway)
        name = made["metadata"]["name"]
        # One that a Deployment has left bears another name: its template stays as it is.
        adopted = any(one.revision == observed.newest and one.name != name for one in observed.sets)
        if not any((one.name, one.wanted) == (name, gateway.spec.replicas) for one in observed.sets):
            self._executor.done.pop(subject(made), None)
        with_pods = {pod.revision for pod in observed.pods if pod.component == "gateway"}
        actions = set_plan(observed.sets, scaled.step.replicas, observed.newest, "" if adopted else name, with_pods)
        seen = {} if observed.listed else {one.name: one.version for one in observed.sets}
        outcome = await self._execute(gateway, actions, without_set=adopted, seen=seen)
        after = observed.after(outcome.applied, None if outcome.sets_failed else scaled.step.desired)
        if not outcome.sets_failed:
            await self._scaling.tell(scaled, observed, about)
        if event := self._workers.told(workers, observed, after):
            await self._shared.outbox.send(about, event)
        return after, outcome, both(scaled.finding, workers), scaled.rolling

    async def _execute(
        self,
        gateway: Gateway,
        before: Sequence[Action],
        *,
        without_set: bool = False,
        seen: Mapping[str, str] | None = None,
    ) -> Outcome:
        """`before`: what is done first; `without_set`: the ReplicaSet of the newest revision is not the operator's to
        write as a whole; `seen`: as for Executor."""
        manifests = [one for one in self._built.all(gateway) if not (without_set and one["kind"] == "ReplicaSet")]
        names = BrokerNames.of(gateway, self._line)
        actions = plan(
            names,
            manifests,
            self._executor.done,
            time.monotonic(),
            paused=gateway.spec.paused,
            fleets=len(self._shared.views),
        )
        outcome = await self._executor.execute([*before, *actions], gateway.uid, seen)
        if any(one["kind"] == DEPLOYMENT.kind for one in outcome.applied):
            self._worker_rollout = None
        measured = gateway.names if outcome.names is None else None
        self._shared.views[self._key] = GatewayView(outcome.names, measured, self._backlogs)
        return outcome

    def _partitions(self, gateway: Gateway, recorded: int, workers: Rollout) -> Partitions:
        made, wanted = self._executor.done.get(NAMES), gateway.names.partitions
        return partitions(
            wanted,
            recorded,
            workers,
            worker_template(gateway, self._keys) if recorded < wanted else "",  # not in every pass
            at_broker=made is not None and isinstance(made.wanted, BrokerNames) and made.wanted.names == gateway.names,
            paused=gateway.spec.paused,
        )

    async def _observe(self, gateway: Gateway | None, uid: str, desired: int, workers: Rollout) -> Observed:
        """As watches and pods have said while the fleet is at rest and nothing is to be done; else as the API server
        lists it, and pods say when they are asked.

        `gateway`: None when it is invalid; `desired`: gateways that there were to be when it was looked last.
        """
        sets = self._sets.remembered(uid)
        seen: Observed | None = None
        if gateway is not None and sets is not None:
            self._shared.polls.keep(self._key, self._to_poll(gateway))
            view = self._view(gateway, desired, workers, sets, listed=False)
            if at_rest(view):
                # Whoever moves sessions wants to see them go.
                for looked in (self._asked,) if self._labels.crowded else (self._held, self._asked):
                    seen = await looked(view)
                    if vouched(seen) and not self._acts(gateway, seen):
                        return seen
        listed = await self._listed(gateway, uid, desired, workers)
        if seen is not None and addresses(seen.pods) == addresses(listed.pods):
            return replace(listed, answers=seen.answers, worker_answers=seen.worker_answers, at=seen.at)
        return await self._asked(listed)

    def _acts(self, gateway: Gateway, seen: Observed) -> bool:
        return not gateway.spec.paused and self._scaling.decide(gateway, seen).acts

    async def _listed(self, gateway: Gateway | None, uid: str, desired: int, workers: Rollout) -> Observed:
        namespace, name = self._key
        bodies = await self._shared.cluster.list(POD, namespace, labels=owned_selector(name), limit=2000)
        self._shared.pods.replace(self._key, [read_pod(body) for body in bodies])
        pods = self._shared.pods.of(self._key)
        listed = self._view(gateway, desired, workers, await self._sets.observe(uid), listed=True)
        mounts = await self._mount_problems(pods, gateway.spec if gateway is not None else None)
        return replace(listed, pods=pods, mount_problems=mounts)

    def _view(
        self, gateway: Gateway | None, desired: int, workers: Rollout, sets: Sequence[ReplicaSet], *, listed: bool
    ) -> Observed:
        """Without what the pods themselves say."""
        cache, nodes, revision = self._shared.pods, self._shared.nodes, ""
        if gateway is not None:
            wanted = read_replica_set(self._built.gateway_set(gateway))
            revision = (newest(sets, wanted.template) or wanted).revision
        return Observed(
            gateways=fleet(sets, revision, desired),
            workers=workers,
            pods=cache.of(self._key),
            last_drains=cache.last_drains(self._key),
            cordoned=nodes.cordoned if nodes.known else None,
            sets=tuple(sets),
            newest=revision,
            listed=listed,
        )

    def _to_poll(self, gateway: Gateway) -> dict[str, Asked]:
        cache, keys, spec = self._shared.pods, self._keys, gateway.spec
        steps = gateway_step(spec), worker_step(spec)
        gateways, workers = cache.addresses(self._key), cache.addresses(self._key, "worker")
        asked = {name: Asked(at, keys.admin_token, GatewayStatus, steps[0]) for name, at in gateways.items()}
        return asked | {name: Asked(at, keys.worker_token, WorkerStatus, steps[1]) for name, at in workers.items()}

    def _held_now(self) -> Mapping[str, GatewayStatus | WorkerStatus]:
        return self._shared.polls.held(self._key)

    async def _held(self, seen: Observed) -> Observed:
        """With what pods said last; whoever does not keep us informed is missing."""
        held = self._held_now()
        gateways = {name: status for name, status in held.items() if isinstance(status, GatewayStatus)}
        workers = {name: status for name, status in held.items() if isinstance(status, WorkerStatus)}
        return replace(seen, answers=gateways, worker_answers=workers, at=time.monotonic(), held=True)

    async def _asked(self, seen: Observed) -> Observed:
        asked, cache = self._shared.gateways, self._shared.pods
        answers, worker_answers = await asyncio.gather(
            asked.statuses(cache.addresses(self._key), self._keys.admin_token),
            asked.worker_statuses(cache.addresses(self._key, "worker"), self._keys.worker_token),
        )
        return replace(seen, answers=answers, worker_answers=worker_answers, at=time.monotonic())

    async def _rollout(self) -> Rollout:
        """Of the workers. What is settled stays so while its pods stay as they are, and nothing was written."""
        pods, now = [pod for pod in self._shared.pods.of(self._key) if pod.component == "worker"], time.monotonic()
        if self._worker_rollout is not None:
            kept, then, at = self._worker_rollout
            if pods == then and now - at < hold_seconds(len(self._shared.views)):
                return kept
        namespace, name = self._key
        rollout = read_rollout(await self._shared.cluster.get(DEPLOYMENT, namespace, f"{name}-worker") or {})
        self._worker_rollout = (rollout, pods, now) if rollout.exists and rollout.settled else None
        return rollout

    async def _mount_problems(self, pods: list[Pod], spec: VoiceGatewaySpec | None) -> dict[str, str]:
        """Why pods are stuck before their container exists, which only their Events tell."""
        stuck = [pod for pod in pods if pod.starting and time.time() - pod.created_at > MOUNT_GRACE_SECONDS]
        problems = {}
        for pod in stuck[:MAX_PODS_EXAMINED]:
            events = await self._shared.cluster.list(
                EVENT, pod.namespace, fields=f"involvedObject.uid={pod.uid},reason=FailedMount", limit=50
            )
            added = added_volumes(spec, pod.component) if spec is not None else {}
            if problem := mount_problem(messages(events), added):
                problems[pod.name] = problem
        return problems


async def finalize(shared: Shared, resource: Resource) -> None:
    """What must happen before a VoiceGateway may disappear; an Event tells what is left behind.

    Raises ClusterError if the API server cannot be reached: the caller retries.
    """
    recordable = await _recordable(shared)
    read = validated(resource, lambda body: _read(shared, body, recordable))
    gateway = None if isinstance(read, Problem) else read
    unwanted = BrokerNames.of(gateway, derive_line(shared.root_key, *resource.key)) if gateway else None
    pods = shared.pods.of(resource.key)
    pod_seconds = seconds_to_end(gateway.spec.drain.grace_seconds, pods) if gateway else 0
    broker = Broker(shared.installed)
    try:
        actions = removal_plan(resource.metadata.name, resource.metadata.uid, unwanted, pod_seconds)
        remains = await remove(shared.cluster, broker, resource.key, actions)
    finally:
        await broker.close()
    if isinstance(read, Problem) and resource.status.get("partitions"):  # it has been valid
        message = f"topics and groups that it had at the broker remain there: {read.message}"
        await shared.outbox.send(resource.reference, EventText("Warning", "BrokerCleanupFailed", message))
    if gateway is None or remains is None:
        return
    message = (
        f"topics and groups of {gateway.names.request_topic} and {gateway.names.reply_topic} may remain at "
        f"{gateway.name_server}: {remains.why}"
    )
    _log.warning("topics and groups left at the broker", extra={"object": "/".join(resource.key), "why": remains.why})
    text = EventText("Warning", "BrokerCleanupFailed" if remains.gave_up else "NamesKept", message)
    await shared.outbox.send(resource.reference, text)


async def _recordable(shared: Shared) -> bool:
    return await shared.resources.keeps(VOICE_GATEWAY, "status.topicPrefix")


def _prefix(resource: Resource, recordable: bool) -> str:
    recorded = str(resource.status.get("topicPrefix", ""))
    return topic_prefix(resource.metadata, recorded, seen_before=bool(resource.status), recordable=recordable)


def _with_partitions(gateway: Gateway, made: int) -> Gateway:
    """`made`: that gateways make sessions for. While it is paused, nobody knows of more."""
    names = replace(gateway.names, partitions=made) if gateway.spec.paused else gateway.names
    return replace(gateway, names=names, gateway_partitions=made)


def _read(shared: Shared, resource: Resource, recordable: bool) -> Gateway:
    return read_gateway(resource, shared.defaults, _prefix(resource, recordable))
