"""All loops: which custom resources are looked after, and which event wakes which loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litevoice_operator.api.meta import Resource
from litevoice_operator.decide.pods import read_pod
from litevoice_operator.reconcile.alert import AlertReconciler
from litevoice_operator.reconcile.finalize import finalize
from litevoice_operator.reconcile.gateway import GatewayReconciler, Surroundings
from litevoice_operator.reconcile.loop import Key, Loop


class Controller:
    """Events only say where to look; each loop reads the present state itself, so a missed or doubled event is
    harmless."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._gateways: dict[Key, GatewayReconciler] = {}
        self._loops: dict[tuple[str, Key], Loop] = {}
        self._generations: dict[tuple[str, Key], int] = {}

    def gateway_seen(self, body: Mapping[str, Any]) -> None:
        resource = Resource.model_validate(body)
        if resource.metadata.deletion_timestamp is not None:
            return  # gateway_deleted looks after it
        if self._changed(resource):
            reconciler = GatewayReconciler(self._around, resource.key)
            self._gateways[resource.key] = reconciler
            self._start(resource, reconciler)

    def alert_seen(self, body: Mapping[str, Any]) -> None:
        resource = Resource.model_validate(body)
        if resource.metadata.deletion_timestamp is None and self._changed(resource):
            around = self._around
            self._start(resource, AlertReconciler(around.cluster, around.statuses, self._gateways.get, resource.key))

    def gone(self, body: Mapping[str, Any]) -> None:
        """A custom resource was deleted: its loop finds nothing any more, and ends."""
        resource = Resource.model_validate(body)
        self._wake(resource.kind, resource.key)

    async def gateway_deleted(self, body: Mapping[str, Any]) -> None:
        """Returns when the VoiceGateway may disappear; may take as long as its drain."""
        resource = Resource.model_validate(body)
        loop = self._loops.get((resource.kind, resource.key))
        if loop is not None:
            await loop.stop()
        await finalize(self._around.cluster, resource, self._around.defaults, self._around.installed)
        self._around.pods.forget(resource.key)

    def pod_seen(self, body: Mapping[str, Any]) -> None:
        pod = read_pod(body)
        self._around.pods.put(pod)
        self._wake("VoiceGateway", (pod.namespace, pod.instance))

    def pod_gone(self, body: Mapping[str, Any]) -> None:
        pod = read_pod(body)
        self._around.pods.remove(pod)
        self._wake("VoiceGateway", (pod.namespace, pod.instance))

    async def close(self) -> None:
        for loop in list(self._loops.values()):
            await loop.stop()

    def _changed(self, resource: Resource) -> bool:
        """Whether the resource is new; one that is known is woken when its spec has changed. Most events are about a
        status that this operator wrote itself."""
        key = (resource.kind, resource.key)
        before = self._generations.get(key)
        self._generations[key] = resource.metadata.generation
        if key not in self._loops:
            return True
        if before != resource.metadata.generation:
            self._wake(*key)
        return False

    def _start(self, resource: Resource, reconciler: GatewayReconciler | AlertReconciler) -> None:
        key = (resource.kind, resource.key)

        async def on_end() -> None:
            self._loops.pop(key, None)
            self._generations.pop(key, None)
            if self._gateways.get(resource.key) is reconciler:
                del self._gateways[resource.key]
            await reconciler.close()

        self._loops[key] = Loop(resource.kind, resource.key, reconciler.step, on_end)

    def _wake(self, kind: str, key: Key) -> None:
        if (loop := self._loops.get((kind, key))) is not None:
            loop.wake()
