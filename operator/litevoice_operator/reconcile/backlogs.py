"""Measures the backlogs of one VoiceGateway, once for all its alerts: a measurement scans all offsets at the broker."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from litevoice_contracts.addresses import is_from
from litevoice_contracts.control import MAX_LISTED_SESSIONS, GatewayStatus, SessionInfo, WorkerStatus
from litevoice_contracts.names import Names
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.backlog_alert import Target
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.budget import look_factor
from litevoice_operator.metrics import BACKLOG
from litevoice_operator.observe.backlogs import (
    Load,
    Sample,
    in_question,
    renewed,
    reply_sample,
    request_sample,
    turn_sample,
)
from litevoice_operator.observe.pods import should_answer
from litevoice_operator.reconcile.pod_cache import PodCache

SHARED_SECONDS = 2.0
"""A measurement is shared by all who ask within this time,"""
LISTED_SECONDS = 20.0
"""While no request waits, gateways are asked for their sessions only to remember who served them, so much apart; with
many VoiceGateways less often."""
MAX_SEEN = 50_000
"""Sessions of which is remembered who served them: some 20 MB."""
WALK_FACTOR = 50.0
"""The broker walks over all replies once in so many times as long as its walks took: 2 % of a core at most, of all
VoiceGateways together that are at the same brokers. In between it is asked about single sessions,"""
ASKED_WALK_FACTOR = 20.0
"""The same while somebody asks what is wrong: 5 %."""
MAX_SLOW, MAX_LOOKED_AT = 200, 50
"""so many of each gateway's whose clients read too slowly, and so many that were the worst."""
WAIT_FOR_WALK_SECONDS = 0.5


class Seen(NamedTuple):
    """Who served a session when it was last seen. `node`, `client`: "" not known."""

    pod: str
    node: str
    client: str


class Walks:
    """How long brokers took, at last, for all replies of each VoiceGateway: bounded by their number."""

    def __init__(self) -> None:
        self._seconds: dict[Key, tuple[frozenset[str], float]] = {}

    def took(self, key: Key, name_server: str, seconds: float) -> float:
        """Of all whose name servers are the same, this one among them; ``host:port[;host:port…]``, in any order."""
        at = frozenset(name_server.split(";"))
        self._seconds[key] = at, seconds
        return sum(took for there, took in self._seconds.values() if there & at)

    def forget(self, key: Key) -> None:
        self._seconds.pop(key, None)


class Backlogs:
    """Raises BrokerError when the broker cannot tell. `held`: what pods have said that tell of each change at once.
    `fleets`: VoiceGateways of the cluster.

    Attributes:
        broker: of this VoiceGateway, for other questions.
        seen: session → who served it, of the latest MAX_SEEN.
    """

    def __init__(
        self, key: Key, broker: Broker, gateways: Gateways, pods: PodCache, token: str, walks: Walks | None = None,
        held: Callable[[], Mapping[str, GatewayStatus | WorkerStatus]] = dict, fleets: Callable[[], int] = lambda: 1,
    ) -> None:  # fmt: skip
        self._key = key
        self.broker = self._broker = broker
        self._gateways = gateways
        self._pods = pods
        self._token = token
        self._walks = walks or Walks()
        self._held = held
        self._fleets = fleets
        self._lock = asyncio.Lock()
        self._samples: dict[Target, tuple[Sample, float]] = {}
        """And until when each may be shared (monotonic seconds)."""
        self._listed_until = 0.0
        self._walked_at, self._walk_seconds = -math.inf, 0.0
        """When the broker has walked over all replies (monotonic), and what walks count for."""
        self._published: set[str] = set()
        self.seen: dict[str, Seen] = {}

    @property
    def draining(self) -> bool:
        """Sessions move: a gateway is ending, or was told to drain before it does. One that is empty moves none."""
        told = (status for status in self._held().values() if isinstance(status, GatewayStatus))
        return self._pods.draining(self._key) or any(status.drain.state == "draining" for status in told)

    async def measure(self, names: Names, target: Target) -> Sample:
        """Publishes the number, too."""
        sample = await self.look(names, target)
        self._published.add(target)
        BACKLOG.labels(*self._key, target.lower()).set(sample.value.messages)
        return sample

    async def look(self, names: Names, target: Target, walk_factor: float = WALK_FACTOR) -> Sample:
        async with self._lock:
            began = time.monotonic()
            sample, shared_until = self._samples.get(target, (None, 0.0))
            if sample is None or began > shared_until:
                if target != "Replies":
                    sample = await self._measured(names, target)
                elif sample is None or began > self._walk_after(walk_factor):
                    sample = reply_sample(*await self._broker.replies(names))
                    now = time.monotonic()
                    self._walked_at = now
                    self._walk_seconds = self._walks.took(self._key, self._broker.name_server, now - began)
                else:
                    sample = await self._between(names, sample)
                self._samples[target] = sample, time.monotonic() + SHARED_SECONDS
            return sample

    def _walk_after(self, factor: float = WALK_FACTOR) -> float:
        """When the broker may walk again (monotonic seconds)."""
        return self._walked_at + factor * self._walk_seconds

    def next_in(self, target: Target, pause_seconds: float) -> float:
        """Seconds until who has just looked should look again: after `pause_seconds`, when there is something new, or
        when the broker may walk, if that is only a little later."""
        now = time.monotonic()
        _, shared_until = self._samples.get(target, (None, 0.0))
        walk_in = self._walk_after() - now
        if target == "Replies" and pause_seconds < walk_in <= pause_seconds + WAIT_FOR_WALK_SECONDS:
            return walk_in
        return max(pause_seconds, shared_until - now)

    def saw(self, pod: str, clients: Mapping[str, str]) -> None:
        """At that pod: session → its client, "" where that was not said."""
        found = self._pods.get(self._key, pod)
        node = found.node if found else ""
        for session, client in clients.items():
            before = self.seen.pop(session, None)
            known = before.client if before is not None and before.pod == pod else ""
            self.seen[session] = Seen(pod, node, client or known)
        for session in list(islice(self.seen, max(0, len(self.seen) - MAX_SEEN))):
            del self.seen[session]

    def last_seen(self, client: str, pods: Collection[str]) -> list[tuple[str, Seen]]:
        """Sessions that these pods had of the client (its address, with or without port), the latest first."""
        return [
            (session, seen)
            for session, seen in reversed(self.seen.items())
            if seen.pod in pods and is_from(seen.client, client)
        ]

    def unpublish(self, target: str) -> None:
        """Nobody watches it any more."""
        if target in self._published:
            self._published.discard(target)
            BACKLOG.remove(*self._key, target.lower())

    def forget(self) -> None:
        """Stops publishing its numbers."""
        for target in list(self._published):
            self.unpublish(target)
        self._samples.clear()
        self._walks.forget(self._key)

    async def locate(self, names: Names, loads: Sequence[Load]) -> list[Load]:
        """The same with owner, pod, node and client address, as far as they are known."""
        unknown = {load.session for load in loads if load.session and load.owner is None}
        subscribers = await self._broker.owners(names, unknown)
        return await asyncio.gather(*(self._locate(load, subscribers.get(load.session, "")) for load in loads))

    async def _between(self, names: Names, sample: Sample) -> Sample:
        """Two walks: gateways know first whose client does not read. Who has said that all of its clients do is not
        asked; it tells of a change at once."""
        held = self._held()
        asked = {
            name: address
            for name, address in self._pods.addresses(self._key).items()
            if not (isinstance(status := held.get(name), GatewayStatus) and status.slow_readers == 0)
        }
        listed = await self._gateways.sessions(asked, self._token, "replies", MAX_SLOW)
        self._saw(listed)
        slow = [session.session_id for sessions in listed.values() for session in sessions if not session.reading]
        return renewed(sample, await self._broker.replies_of(names, in_question(sample, slow, MAX_LOOKED_AT)))

    async def _measured(self, names: Names, target: Target) -> Sample:
        addresses = self._pods.addresses(self._key)
        if target == "Requests":
            partitions = await self._broker.requests(names)
            if not any(waiting.messages for waiting in partitions) and time.monotonic() < self._listed_until:
                return request_sample(partitions, {})
            self._listed_until = time.monotonic() + LISTED_SECONDS * look_factor(self._fleets())
            sessions = await self._gateways.sessions(addresses, self._token, "requests", MAX_LISTED_SESSIONS)
            self._saw(sessions)
            return request_sample(partitions, sessions, self._silent(addresses, sessions))
        sessions = await self._gateways.sessions(addresses, self._token, "stalled", MAX_LISTED_SESSIONS)
        self._saw(sessions)
        return turn_sample(names.partitions, sessions, self._silent(addresses, sessions))

    def _silent(self, addresses: Mapping[str, str], answers: Mapping[str, object]) -> list[str]:
        return sorted(name for name in addresses.keys() - answers.keys() if self._should_answer(name))

    def _saw(self, listed: Mapping[str, Sequence[SessionInfo]]) -> None:
        for pod, sessions in listed.items():
            self.saw(pod, {session.session_id: session.client for session in sessions})

    def _should_answer(self, name: str) -> bool:
        pod = self._pods.get(self._key, name)
        return pod is not None and should_answer(pod)

    async def _locate(self, load: Load, subscriber: str) -> Load:
        """`subscriber`: the pod that the broker names as the owner; it may be frozen, or gone for a moment. A slow
        reader's session may have none: then only its gateway knows."""
        if load.session and load.owner is None:
            addresses = self._pods.addresses(self._key)
            asked = {subscriber: addresses[subscriber]} if subscriber in addresses else addresses
            holder = await self._gateways.session(asked, self._token, load.session)
            if holder.session is None and holder.all_answered and asked is not addresses:
                others = {name: address for name, address in addresses.items() if name != subscriber}
                holder = await self._gateways.session(others, self._token, load.session)
            if holder.session is not None:
                load = load.held_by("Held", holder.pod, holder.session.client)
            elif holder.all_answered:
                load = load.held_by("Orphaned")
            else:
                load = load.held_by("Unknown", subscriber)
        pod = self._pods.get(self._key, load.pod)
        return replace(load, node=pod.node) if pod else load
