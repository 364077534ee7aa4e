"""The ReplicaSets of a VoiceGateway's gateways, and those of the Deployment by which an earlier release kept them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litevoice_operator.adapters.cluster import DEPLOYMENT, REPLICA_SET, Cluster
from litevoice_operator.api.labels import sets_selector
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.ownership import is_owned
from litevoice_operator.decide.plan import Adopt, Release, SetAction
from litevoice_operator.observe.replica_sets import ReplicaSet, orphans, read_replica_set
from litevoice_operator.reconcile.set_cache import SetCache

MAX_SETS = 500


class GatewaySets:
    """Of one VoiceGateway. A Deployment of its gateways is looked for until there is none, once in an operator's
    life."""

    def __init__(self, cluster: Cluster, cache: SetCache, key: Key) -> None:
        self._cluster = cluster
        self._cache = cache
        self._key = key
        self._deployment: Mapping[str, Any] | None = None
        self._looked = False

    async def observe(self, uid: str) -> list[ReplicaSet]:
        """Those of the VoiceGateway with that uid, and those that are about to be."""
        namespace, name = self._key
        if not self._looked:
            found = await self._cluster.get(DEPLOYMENT, namespace, f"{name}-gateway")
            self._deployment = found if found is not None and is_owned(found, uid) else None
            self._looked = self._deployment is None
        bodies = await self._cluster.list(REPLICA_SET, namespace, labels=sets_selector(name), limit=MAX_SETS)
        sets = [read_replica_set(body) for body in bodies]
        self._cache.replace(self._key, sets)
        return self._own(sets, uid)

    def remembered(self, uid: str) -> list[ReplicaSet] | None:
        """The same as watches say; None while that is not to be relied on."""
        sets = self._cache.of(self._key) if self._looked else None
        return None if sets is None else self._own(sets, uid)

    def _own(self, sets: Sequence[ReplicaSet], uid: str) -> list[ReplicaSet]:
        nobodys = orphans(sets, self._key[1])
        former = self._deployment["metadata"]["uid"] if self._deployment else uid
        return [one for one in sets if one.controller in (uid, former) or one in nobodys]

    def to_take_over(self, sets: Sequence[ReplicaSet]) -> list[SetAction]:
        """What must be done before anything else is done to them: pods stay, and come back by their ReplicaSet."""
        if self._deployment is not None:
            metadata = self._deployment["metadata"]
            return [] if "deletionTimestamp" in metadata else [Release(metadata["name"], metadata["uid"])]
        return [Adopt(one) for one in orphans(sets, self._key[1])]

    def taking_over(self, sets: Sequence[ReplicaSet]) -> bool:
        return self._deployment is not None or bool(orphans(sets, self._key[1]))
