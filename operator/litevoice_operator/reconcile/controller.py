"""All loops: one per custom resource, and which event wakes which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.observe.pods import read_pod
from litevoice_operator.reconcile.backlog_alert import AlertReconciler
from litevoice_operator.reconcile.loop import Loop
from litevoice_operator.reconcile.shared import Shared
from litevoice_operator.reconcile.voice_gateway import GatewayReconciler, finalize


class Controller:
    """Events only say where to look; each loop reads the current state itself, so missed or repeated events are
    harmless."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loops: dict[tuple[str, Key], Loop] = {}
        self._generations: dict[tuple[str, Key], int] = {}

    def resource_event(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """Wakes the loop of a deleted resource, which then finds nothing and ends, and of one whose spec has changed:
        most events are about a status that this operator wrote itself."""
        resource = Resource.model_validate(body)
        key = (resource.kind, resource.key)
        if deleted:
            return self._wake(*key)
        if resource.metadata.deletion_timestamp is not None:
            return None  # a VoiceGateway: gateway_deleted handles it
        before, self._generations[key] = self._generations.get(key), resource.metadata.generation
        if key not in self._loops:
            self._loops[key] = self._new_loop(resource)
        elif before != resource.metadata.generation:
            self._wake(*key)
        return None

    async def gateway_deleted(self, body: Mapping[str, Any]) -> None:
        """Returns once the VoiceGateway may disappear, which may take as long as its drain."""
        resource = Resource.model_validate(body)
        loop = self._loops.get((resource.kind, resource.key))
        if loop is not None:
            await loop.stop()
        await finalize(self._shared, resource)
        self._shared.pods.forget(resource.key)

    def pod_event(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        pod, cache = read_pod(body), self._shared.pods
        (cache.remove if deleted else cache.put)(pod)
        self._wake("VoiceGateway", (pod.namespace, pod.instance))

    async def close(self) -> None:
        for loop in list(self._loops.values()):
            await loop.stop()

    def _new_loop(self, resource: Resource) -> Loop:
        shared, key = self._shared, (resource.kind, resource.key)
        reconciler: GatewayReconciler | AlertReconciler
        if resource.kind == "VoiceGateway":
            reconciler = GatewayReconciler(shared, resource.key)
        else:
            reconciler = AlertReconciler(shared.resources, shared.outbox, shared.views, resource.key)

        async def on_end() -> None:
            self._loops.pop(key, None)
            self._generations.pop(key, None)
            await reconciler.close()

        return Loop(resource.kind, resource.key, reconciler.reconcile, on_end)

    def _wake(self, kind: str, key: Key) -> None:
        if (loop := self._loops.get((kind, key))) is not None:
            loop.wake()
