"""ReplicaSets of gateways as last seen."""

from __future__ import annotations

from collections.abc import Iterable

from litevoice_operator.api.resource import Key
from litevoice_operator.observe.replica_sets import ReplicaSet


class SetCache:
    """Bounded by the number of those that exist. Of a VoiceGateway whose ReplicaSets were not listed yet it knows
    none."""

    def __init__(self) -> None:
        self._sets: dict[Key, dict[str, ReplicaSet]] = {}

    def put(self, gateway: Key, one: ReplicaSet) -> None:
        """One was seen."""
        if gateway in self._sets:
            self._sets[gateway][one.name] = one

    def remove(self, gateway: Key, name: str) -> None:
        self._sets.get(gateway, {}).pop(name, None)

    def replace(self, gateway: Key, sets: Iterable[ReplicaSet]) -> None:
        """All of the VoiceGateway: makes up for missed events."""
        self._sets[gateway] = {one.name: one for one in sets}

    def forget(self, gateway: Key) -> None:
        self._sets.pop(gateway, None)

    def of(self, gateway: Key) -> list[ReplicaSet] | None:
        """None: they were not listed yet."""
        found = self._sets.get(gateway)
        return None if found is None else list(found.values())
