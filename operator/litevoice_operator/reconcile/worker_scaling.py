"""How many workers a VoiceGateway has: asks the broker, then `decide.scale_workers`."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from litevoice_broker.errors import BrokerError
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.scale import Wish
from litevoice_operator.decide.scale_workers import (
    Memory,
    WorkerSize,
    pressure,
    size_workers,
    worker_loads,
    workers_scaled_event,
)
from litevoice_operator.observe.voice_gateway import Observed
from litevoice_operator.reconcile.shared import Shared

BROKER_SECONDS = 3.0
"""How long the broker may take to say what waits in partitions."""

_log = logging.getLogger(__name__)


class WorkerScaling:
    """Of one VoiceGateway. An operator that has just started begins with as many as there are."""

    def __init__(self, shared: Shared, key: Key, token: str) -> None:
        self._shared = shared
        self._key = key
        self._token = token
        self._memory = Memory()

    async def scale(self, gateway: Gateway, observed: Observed) -> tuple[Gateway, WorkerSize | None]:
        """With the workers to have now; None without `workers.autoscaling`. Nothing changes by what workers have said
        before: then they are asked."""
        autoscaling = gateway.spec.workers.autoscaling
        if autoscaling is None:
            self._memory = Memory()
            return gateway, None
        behind_seconds = await self._behind_seconds()
        too_few = pressure(behind_seconds, autoscaling.max_behind_seconds, observed.answers.values())
        current, now, memory = observed.workers.current, time.monotonic(), self._memory
        if not memory.wishes and current:
            memory = replace(memory, wishes=(Wish(now, current),))
        partitions = gateway.names.partitions
        workers = worker_loads(observed.pods, observed.worker_answers)
        scaled = size_workers(autoscaling, partitions, current, workers, too_few, memory, now)
        if observed.held and scaled.size.replicas != current:
            asked = self._shared.pods.addresses(self._key, "worker")
            answers = await self._shared.gateways.worker_statuses(asked, self._token)
            workers = worker_loads(observed.pods, answers)
            scaled = size_workers(autoscaling, partitions, current, workers, too_few, memory, now)
        self._memory = scaled.memory
        replicas = gateway.spec.workers.model_copy(update={"replicas": scaled.size.replicas})
        return replace(gateway, spec=gateway.spec.model_copy(update={"workers": replicas})), scaled

    def told(self, scaled: WorkerSize | None, before: Observed, after: Observed) -> EventText | None:
        """What is to be told of it: only what was done."""
        written = after.workers.wanted
        if scaled is None or written != scaled.size.replicas:
            return None
        return workers_scaled_event(before.workers.current, scaled, written)

    async def _behind_seconds(self) -> float | None:
        view = self._shared.views.get(self._key)
        if view is None or view.names is None:
            return None
        try:
            async with asyncio.timeout(BROKER_SECONDS):
                waiting = await view.backlogs.broker.requests(view.names)
        except (BrokerError, TimeoutError) as error:
            _log.info("partitions unknown", extra={"object": "/".join(self._key), "error": str(error)})
            return None
        return max((entry.age_seconds or 0.0 for entry in waiting if entry.messages), default=0.0)
