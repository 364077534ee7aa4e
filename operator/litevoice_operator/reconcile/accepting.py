"""Keeps the label by which the Service selects gateways; `decide.accepting` says how."""

from __future__ import annotations

import logging
import time

from litevoice_operator.adapters.cluster import POD, Cluster, ClusterError
from litevoice_operator.api.labels import ACCEPTING_LABEL
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.accepting import accepting
from litevoice_operator.decide.rebalance import crowded
from litevoice_operator.decide.scale import loads
from litevoice_operator.observe.voice_gateway import Observed

_log = logging.getLogger(__name__)


class AcceptingLabels:
    """Of one VoiceGateway. An operator that has just started goes on with the labels that are there."""

    def __init__(self, cluster: Cluster, key: Key) -> None:
        self._cluster = cluster
        self._namespace = key[0]
        self._nearly_full: frozenset[str] | None = None
        self.crowded: dict[str, float] = {}
        """Gateways that hold far more than the others, and since when (monotonic seconds)."""

    async def keep(self, observed: Observed, imbalance_percent: int) -> bool:
        """Whether the Service may select by the label now. A label that cannot be written is tried again."""
        pods = loads(observed.pods, observed.answers, newest=observed.newest, cordoned=observed.cordoned or ())
        self.crowded = crowded(pods, self.crowded, imbalance_percent, time.monotonic())
        decided = accepting(pods, self._nearly_full, self.crowded)
        self._nearly_full = decided.nearly_full
        for pod, accepts in decided.changes.items():
            try:
                await self._cluster.patch_metadata(
                    POD, self._namespace, pod, labels={ACCEPTING_LABEL: "true" if accepts else "false"}
                )
            except ClusterError as error:
                _log.warning("label not written", extra={"pod": pod, "error": str(error)})
        return decided.by_label
