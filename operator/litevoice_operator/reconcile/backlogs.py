"""Measures the backlogs of one VoiceGateway, once for all its alerts: a measurement scans all offsets at the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from litevoice_contracts.names import Names
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.backlog_alert import MAX_TOP, Culprit, Target
from litevoice_operator.api.resource import Key
from litevoice_operator.metrics import BACKLOG
from litevoice_operator.observe.backlogs import Sample, located, reply_sample, request_sample
from litevoice_operator.reconcile.pod_cache import PodCache

SHARED_SECONDS = 2.0
"""A measurement is shared by all who ask within this time."""

SUSPECTS = 50
"""For this many of the largest and of the oldest LiteTopics, a measurement asks whether their client is still there."""


class Backlogs:
    """Raises BrokerError when the broker cannot tell."""

    def __init__(self, key: Key, broker: Broker, gateways: Gateways, pods: PodCache, token: str) -> None:
        self._key = key
        self._broker = broker
        self._gateways = gateways
        self._pods = pods
        self._token = token
        self._lock = asyncio.Lock()
        self._samples: dict[Target, tuple[Sample, float]] = {}

    async def measure(self, names: Names, target: Target) -> Sample:
        async with self._lock:
            sample, at = self._samples.get(target, (None, 0.0))
            if sample is None or time.monotonic() - at > SHARED_SECONDS:
                sample = await (self._replies(names) if target == "Replies" else self._requests(names))
                self._samples[target] = (sample, time.monotonic())
                BACKLOG.labels(*self._key, target.lower()).set(sample.value.messages)
            return sample

    def forget(self) -> None:
        """Stops publishing its numbers."""
        for target in self._samples:
            BACKLOG.remove(*self._key, target.lower())
        self._samples.clear()

    async def locate(self, names: Names, culprits: Sequence[Culprit]) -> list[Culprit]:
        """The same with owner pod, node and client address, as far as they are known."""
        unknown = {culprit.session for culprit in culprits if culprit.session and not culprit.pod}
        owners = await self._broker.owners(names, unknown)
        return await asyncio.gather(*(self._locate(culprit, owners.get(culprit.session)) for culprit in culprits))

    async def _replies(self, names: Names) -> Sample:
        total, largest, oldest, existing = await self._broker.replies(names)
        by_age = sorted((*largest, *oldest), key=lambda waiting: waiting.age_seconds or 0.0, reverse=True)
        suspects = {w.name for w in (*largest[:SUSPECTS], *by_age[:SUSPECTS]) if w.messages and w.name in existing}
        owners = await self._broker.owners(names, suspects)
        ownerless = [name for name in suspects if not owners[name]]
        # A slow reader's session may have no subscriber while its replies wait: then only its gateway knows.
        addresses = self._pods.addresses(self._key)
        held = await asyncio.gather(*(self._gateways.session(addresses, self._token, name) for name in ownerless))
        abandoned = {name for name, holder in zip(ownerless, held, strict=True) if holder is None}
        return reply_sample(total, largest, oldest, existing, abandoned)

    async def _requests(self, names: Names) -> Sample:
        addresses = self._pods.addresses(self._key)
        partitions, sessions = await asyncio.gather(
            self._broker.requests(names), self._gateways.sessions(addresses, self._token, MAX_TOP)
        )
        return request_sample(partitions, sessions, MAX_TOP)

    async def _locate(self, culprit: Culprit, owner: str | None) -> Culprit:
        """`owner` by the broker's subscriptions, None when it was not asked."""
        pod, client = culprit.pod, culprit.client
        if owner is not None:
            addresses = self._pods.addresses(self._key)
            pod = owner
            asked = {pod: addresses[pod]} if pod in addresses else addresses
            if found := await self._gateways.session(asked, self._token, culprit.session):
                pod, client = found[0], found[1].client
        holder = self._pods.get(self._key, pod)
        return located(culprit, pod, holder.node if holder else "", client)
