"""All loops: one per custom resource, and which event wakes which."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.observe.pods import read_pod
from litevoice_operator.observe.replica_sets import gateway_key, read_replica_set
from litevoice_operator.reconcile.backlog_alert import AlertReconciler
from litevoice_operator.reconcile.healing import Healer
from litevoice_operator.reconcile.loop import Loop
from litevoice_operator.reconcile.shared import Shared
from litevoice_operator.reconcile.voice_gateway import GatewayReconciler, finalize

_log = logging.getLogger(__name__)


class Controller:
    """Events only say where to look, and that there is nothing to look at; each loop lists the current state before it
    acts, so missed or repeated events are harmless."""

    def __init__(self, shared: Shared, healer: Healer, own_namespace: str) -> None:
        self._shared = shared
        self._healer = healer
        self._own_namespace = own_namespace
        self._cleanups: set[asyncio.Task[None]] = set()
        self._loops: dict[tuple[str, Key], Loop] = {}
        self._seen: dict[tuple[str, Key], tuple[str, int]] = {}
        """uid and generation of what each loop is for."""
        shared.polls.on_news = lambda key: self._wake("VoiceGateway", key)

    def resource_event(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """Wakes the loop of a deleted resource, which then finds nothing and ends, and of one whose spec has changed:
        most events are about a status that this operator wrote itself."""
        resource = Resource.model_validate(body)
        key = (resource.kind, resource.key)
        last = self._shared.resources.last
        if deleted:
            last.gone(*key, body)
            if resource.kind == "VoiceGateway" and resource.metadata.namespace == self._own_namespace:
                self._clean_up(body)
            return self._wake(*key)
        last.told(*key, body, time.monotonic())
        if resource.metadata.deletion_timestamp is not None:
            return None  # a VoiceGateway: gateway_deleted handles it
        this = resource.metadata.uid, resource.metadata.generation
        before, self._seen[key] = self._seen.get(key), this
        if key not in self._loops:
            self._loops[key] = self._new_loop(resource)
        elif before != this:
            self._wake(*key)
        return None

    async def gateway_deleted(self, body: Mapping[str, Any]) -> None:
        """Returns once the VoiceGateway may disappear, which may take as long as its drain."""
        resource = Resource.model_validate(body)
        key = (resource.kind, resource.key)
        loop, (uid, _) = self._loops.get(key), self._seen.get(key, ("", 0))
        if loop is not None and uid == resource.metadata.uid:  # and not another one of its name by now
            await loop.stop()
        await self._shared.acting.wait()
        await finalize(self._shared, resource)
        self._shared.pods.forget(resource.key)

    def pod_event(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        pod, cache = read_pod(body), self._shared.pods
        key = pod.namespace, pod.instance
        (cache.remove if deleted else cache.put)(pod)
        if deleted:
            self._shared.polls.drop(key, pod.name)
        self._wake("VoiceGateway", key)

    def replica_set_event(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """Wakes nobody: what it makes of its pods, they tell."""
        key, one = gateway_key(body), read_replica_set(body)
        if deleted:
            self._shared.sets.remove(key, one.name)
        else:
            self._shared.sets.put(key, one)

    async def close(self) -> None:
        for task in self._cleanups:
            task.cancel()
        await asyncio.gather(*self._cleanups, return_exceptions=True)
        for loop in list(self._loops.values()):
            await loop.stop()

    def _clean_up(self, body: Mapping[str, Any]) -> None:
        """What a finalizer would have waited for, as far as there is time."""
        task = asyncio.create_task(self.gateway_deleted(body))
        self._cleanups.add(task)
        task.add_done_callback(self._cleaned_up)

    def _cleaned_up(self, task: asyncio.Task[None]) -> None:
        self._cleanups.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.warning("topics and groups may be left at the broker", extra={"error": str(error)})

    def _new_loop(self, resource: Resource) -> Loop:
        shared, key = self._shared, (resource.kind, resource.key)
        reconciler: GatewayReconciler | AlertReconciler
        if resource.kind == "VoiceGateway":
            reconciler = GatewayReconciler(shared, resource.key)
        else:
            reconciler = AlertReconciler(shared, self._healer, resource.key)

        async def on_end() -> None:
            self._loops.pop(key, None)
            self._seen.pop(key, None)
            await reconciler.close()

        return Loop(resource.kind, resource.key, reconciler.reconcile, on_end, shared.acting)

    def _wake(self, kind: str, key: Key) -> None:
        if (loop := self._loops.get((kind, key))) is not None:
            loop.wake()
