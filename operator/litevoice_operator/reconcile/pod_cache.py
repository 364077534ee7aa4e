"""Pods as last seen: where they run, and how the drains of those that are gone ended. One that has ended and stays as
an object (evicted for want of memory, say, or when its node was shut down) is gone."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_operator.api.labels import Component
from litevoice_operator.api.resource import Key
from litevoice_operator.api.voice_gateway_status import LastDrain
from litevoice_operator.observe.pods import Pod, newest_drains


class PodCache:
    """Bounded by the number of existing pods, plus the newest drain reports per VoiceGateway."""

    def __init__(self) -> None:
        self._pods: dict[Key, dict[str, Pod]] = {}
        self._drains: dict[Key, tuple[LastDrain, ...]] = {}

    def put(self, pod: Pod) -> None:
        """A pod was seen."""
        if pod.over:
            return self.remove(pod)
        gateway = (pod.namespace, pod.instance)
        self._pods.setdefault(gateway, {})[pod.name] = pod
        self._remember_drain(gateway, pod)
        return None

    def remove(self, pod: Pod) -> None:
        """A pod is gone; `pod` is its last state, which holds the drain report."""
        gateway = (pod.namespace, pod.instance)
        self._pods.get(gateway, {}).pop(pod.name, None)
        self._remember_drain(gateway, pod)

    def replace(self, gateway: Key, pods: Sequence[Pod]) -> None:
        """All pods of the VoiceGateway: makes up for missed events."""
        self._pods[gateway] = {pod.name: pod for pod in pods if not pod.over}
        for pod in pods:
            self._remember_drain(gateway, pod)

    def forget(self, gateway: Key) -> None:
        self._pods.pop(gateway, None)
        self._drains.pop(gateway, None)

    def get(self, gateway: Key, name: str) -> Pod | None:
        return self._pods.get(gateway, {}).get(name)

    def of(self, gateway: Key) -> list[Pod]:
        return list(self._pods.get(gateway, {}).values())

    def last_drains(self, gateway: Key) -> tuple[LastDrain, ...]:
        """The newest first."""
        return self._drains.get(gateway, ())

    def draining(self, gateway: Key) -> bool:
        """A gateway pod is ending."""
        pods = self._pods.get(gateway, {}).values()
        return any(pod.component == "gateway" and pod.terminating for pod in pods)

    def addresses(self, gateway: Key, component: Component = "gateway") -> dict[str, str]:
        """Name → address of the component's pods that can answer requests."""
        return {
            pod.name: pod.address
            for pod in self._pods.get(gateway, {}).values()
            if pod.component == component and pod.ip and not pod.starting
        }

    def _remember_drain(self, gateway: Key, pod: Pod) -> None:
        if pod.component == "gateway" and pod.drained:
            self._drains[gateway] = newest_drains([pod.drained, *self.last_drains(gateway)])
