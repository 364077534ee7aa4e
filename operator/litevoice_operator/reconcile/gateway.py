"""One VoiceGateway: its objects, its names at the broker, its status."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pydantic import ValidationError

from litevoice_contracts.errors import InvalidField
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.adapters.cluster import DEPLOYMENT, EVENT, POD, VOICE_GATEWAY, Cluster
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.meta import Resource
from litevoice_operator.api.resolved import Defaults, Gateway, resolve
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus
from litevoice_operator.decide.gateway_status import Observed, Problem, Rollout, gateway_status, read_rollout
from litevoice_operator.decide.mounts import mount_problem
from litevoice_operator.decide.pods import Pod, read_pod
from litevoice_operator.manifests import all_manifests
from litevoice_operator.manifests.keys import Keys, derive_keys
from litevoice_operator.manifests.objects import INSTANCE_LABEL, MANAGED_SELECTOR, selector_text
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.loop import Key
from litevoice_operator.reconcile.names import BrokerNames
from litevoice_operator.reconcile.objects import OwnedObjects
from litevoice_operator.reconcile.pods import PodCache
from litevoice_operator.reconcile.status import Statuses

SETTLED_PAUSE_SECONDS = 10.0
UNSETTLED_PAUSE_SECONDS = 2.0
MOUNT_GRACE_SECONDS = 3.0
"""A pod that starts normally has its volumes by then; later its Events are read for the reason."""
MAX_PODS_EXAMINED = 3


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all reconcilers share."""

    cluster: Cluster
    statuses: Statuses
    gateways: Gateways
    pods: PodCache
    defaults: Defaults
    installed: Installed
    root_key: bytes


class GatewayReconciler:
    """Attributes:
    measurable: the VoiceGateway, while it is valid and its names are at the broker.
    problem: why it is not measurable; None also before the first look.
    """

    def __init__(self, around: Surroundings, key: Key) -> None:
        self._around = around
        self._key = key
        self._keys: Keys = derive_keys(around.root_key, *key)
        self._broker = Broker(around.installed)
        self._objects = OwnedObjects(around.cluster)
        self._names = BrokerNames(self._broker)
        self.backlogs = Backlogs(self._broker, around.gateways, around.pods, self._keys.admin_token)
        self.measurable: Gateway | None = None
        self.problem: Problem | None = None

    async def close(self) -> None:
        self.backlogs.forget(*self._key)
        await self._broker.close()

    async def step(self) -> float | None:
        body = await self._around.cluster.get(VOICE_GATEWAY, *self._key)
        if body is None:
            return None
        resource = Resource.model_validate(body)
        if resource.metadata.deletion_timestamp is not None:
            return None
        problem = await self._establish(resource)
        observed = await self._observe(problem)
        previous = VoiceGatewayStatus.model_validate(resource.status)
        status = gateway_status(resource.metadata, observed, previous, time.time())
        await self._around.statuses.write(resource, status)
        settled = problem is None and observed.gateways.settled and observed.workers.settled
        return SETTLED_PAUSE_SECONDS if settled else UNSETTLED_PAUSE_SECONDS

    async def _establish(self, resource: Resource) -> Problem | None:
        """Everything that can be made is made, whatever else fails: gateways wait for a broker by themselves."""
        gateway, self.problem = self._resolve(resource)
        if gateway is None:
            self.measurable = None
            return self.problem
        refused = await self._objects.apply(all_manifests(gateway, self._keys))
        self.problem = await self._names.ensure(gateway)
        self.measurable = gateway if self.problem is None else None
        return refused or self.problem

    def _resolve(self, resource: Resource) -> tuple[Gateway | None, Problem | None]:
        try:
            spec = VoiceGatewaySpec.model_validate(resource.spec)
            return resolve(resource.metadata, spec, self._around.defaults), None
        except InvalidField as error:
            return None, Problem("InvalidSpec", f"spec.{error}", lasting=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            return None, Problem("InvalidSpec", f"spec.{field}: {first['msg']}", lasting=True)

    async def _observe(self, problem: Problem | None) -> Observed:
        namespace, name = self._key
        cluster, cache = self._around.cluster, self._around.pods
        selector = f"{MANAGED_SELECTOR},{INSTANCE_LABEL}={name}"
        pods = [read_pod(body) for body in await cluster.list(POD, namespace, labels=selector, limit=2000)]
        cache.replace(self._key, pods)
        return Observed(
            gateways=await self._rollout(f"{name}-gateway"),
            workers=await self._rollout(f"{name}-worker"),
            pods=pods,
            answers=await self._around.gateways.statuses(cache.addresses(self._key), self._keys.admin_token),
            mount_problems=await self._mount_problems(pods),
            problem=problem,
            selector=selector_text(name, "gateway"),
            last_drain=cache.last_drain(self._key),
        )

    async def _rollout(self, name: str) -> Rollout:
        return read_rollout(await self._around.cluster.get(DEPLOYMENT, self._key[0], name) or {})

    async def _mount_problems(self, pods: list[Pod]) -> dict[str, str]:
        """Why pods are stuck before their container exists: only their Events tell."""
        stuck = [pod for pod in pods if pod.starting and time.time() - pod.created_at > MOUNT_GRACE_SECONDS]
        problems = {}
        for pod in stuck[:MAX_PODS_EXAMINED]:
            events = await self._around.cluster.list(
                EVENT, pod.namespace, fields=f"involvedObject.uid={pod.uid},reason=FailedMount", limit=50
            )
            events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
            if problem := mount_problem(str(event.get("message", "")) for event in events):
                problems[pod.name] = problem
        return problems
