"""One VoiceGateway: observe its pods, decide what to do, do it, write its status; and its deletion."""

from __future__ import annotations

import logging
import time

from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.cluster import DEPLOYMENT, EVENT, POD, VOICE_GATEWAY
from litevoice_operator.api.labels import owned_selector
from litevoice_operator.api.resolved import Gateway, read_gateway
from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.gateway_status import gateway_status
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.plan import plan, removal_plan
from litevoice_operator.manifests import all_manifests
from litevoice_operator.manifests.gateway import grace_seconds
from litevoice_operator.manifests.keys import Keys, derive_keys
from litevoice_operator.observe.events import messages
from litevoice_operator.observe.mounts import mount_problem
from litevoice_operator.observe.pods import Pod, read_pod
from litevoice_operator.observe.rollouts import Rollout, read_rollout
from litevoice_operator.observe.voice_gateway import Observed
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.execute import BROKER_ATTEMPTS, Executor, Outcome, remove
from litevoice_operator.reconcile.resources import validated
from litevoice_operator.reconcile.shared import GatewayView, Shared

SETTLED_PAUSE_SECONDS = 10.0
UNSETTLED_PAUSE_SECONDS = 2.0
MOUNT_GRACE_SECONDS = 3.0
"""A pod that starts normally has its volumes by then; after that, its Events are read for the reason."""
MAX_PODS_EXAMINED = 3
KILL_MARGIN_SECONDS = 30

_log = logging.getLogger(__name__)


class GatewayReconciler:
    def __init__(self, shared: Shared, key: Key) -> None:
        self._shared = shared
        self._key = key
        self._keys: Keys = derive_keys(shared.root_key, *key)
        self._broker = Broker(shared.installed)
        self._executor = Executor(shared.cluster, self._broker)
        self._backlogs = Backlogs(key, self._broker, shared.gateways, shared.pods, self._keys.admin_token)

    async def close(self) -> None:
        self._shared.views.pop(self._key, None)
        self._backlogs.forget()
        await self._broker.close()

    async def reconcile(self) -> float | None:
        """Seconds until the next pass, None when the VoiceGateway is gone."""
        shared = self._shared
        found = await shared.resources.read(VOICE_GATEWAY, self._key, lambda body: read_gateway(body, shared.defaults))
        if found is None:
            return None
        resource, gateway = found
        observed = await self._observe()
        if isinstance(gateway, Problem):
            problem: Problem | None = gateway
            shared.views[self._key] = GatewayView(gateway, None, self._backlogs)
        else:
            outcome = await self._execute(gateway)
            problem = outcome.refused or outcome.names
            observed = observed.after(outcome.applied)
        previous = VoiceGatewayStatus.model_validate(resource.status)
        status = gateway_status(resource.metadata, observed, problem, previous, time.time())
        await shared.resources.write_status(resource, status)
        settled = problem is None and observed.gateways.settled and observed.workers.settled
        return SETTLED_PAUSE_SECONDS if settled else UNSETTLED_PAUSE_SECONDS

    async def _execute(self, gateway: Gateway) -> Outcome:
        manifests = all_manifests(gateway, self._keys)
        outcome = await self._executor.execute(plan(gateway, manifests, self._executor.done, time.monotonic()))
        names = gateway.names if outcome.names is None else None
        self._shared.views[self._key] = GatewayView(outcome.names, names, self._backlogs)
        return outcome

    async def _observe(self) -> Observed:
        namespace, name = self._key
        cluster, cache = self._shared.cluster, self._shared.pods
        bodies = await cluster.list(POD, namespace, labels=owned_selector(name), limit=2000)
        pods = [read_pod(body) for body in bodies]
        cache.replace(self._key, pods)
        return Observed(
            gateways=await self._rollout(f"{name}-gateway"),
            workers=await self._rollout(f"{name}-worker"),
            pods=pods,
            answers=await self._shared.gateways.statuses(cache.addresses(self._key), self._keys.admin_token),
            mount_problems=await self._mount_problems(pods),
            last_drain=cache.last_drain(self._key),
        )

    async def _rollout(self, name: str) -> Rollout:
        return read_rollout(await self._shared.cluster.get(DEPLOYMENT, self._key[0], name) or {})

    async def _mount_problems(self, pods: list[Pod]) -> dict[str, str]:
        """Why pods are stuck before their container exists, which only their Events tell."""
        stuck = [pod for pod in pods if pod.starting and time.time() - pod.created_at > MOUNT_GRACE_SECONDS]
        problems = {}
        for pod in stuck[:MAX_PODS_EXAMINED]:
            events = await self._shared.cluster.list(
                EVENT, pod.namespace, fields=f"involvedObject.uid={pod.uid},reason=FailedMount", limit=50
            )
            if problem := mount_problem(messages(events)):
                problems[pod.name] = problem
        return problems


async def finalize(shared: Shared, resource: Resource) -> None:
    """What must happen before a VoiceGateway may disappear; an Event tells what is left behind.

    Raises ClusterError if the API server cannot be reached: the caller retries.
    """
    read = validated(resource, lambda body: read_gateway(body, shared.defaults))
    gateway = None if isinstance(read, Problem) else read
    pod_seconds = grace_seconds(gateway) + KILL_MARGIN_SECONDS if gateway else 0
    broker = Broker(shared.installed)
    try:
        actions = removal_plan(resource.metadata.name, gateway, pod_seconds)
        error = await remove(shared.cluster, broker, resource.key, actions)
    finally:
        await broker.close()
    if gateway is None or error is None:
        return
    message = (
        f"topics and groups of {gateway.names.request_topic} and {gateway.names.reply_topic} may remain at "
        f"{gateway.name_server}: gave up after {BROKER_ATTEMPTS} attempts: {error}"
    )
    _log.warning("topics and groups left at the broker", extra={"object": "/".join(resource.key), "error": str(error)})
    await shared.outbox.send(resource.reference, EventText("Warning", "BrokerCleanupFailed", message))
