"""What this worker tells gateways beside replies: which partitions it reads and how far behind it is, which sessions
are at work, and which packets are settled. Sans I/O; collected, and sent about once a second to each gateway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from litevoice_contracts.news import PartitionNews, SessionNews, WorkerNews
from litevoice_worker.commands import Tell

NEWS_SECONDS = 1.0
GATEWAY_SECONDS = 30.0
"""A gateway that has sent nothing for this long, and has no session at work here, is told nothing more."""


@dataclass(frozen=True, slots=True)
class Load:
    """How the worker as a whole is doing.

    Attributes:
        full: there is no room for another session.
        busy: the share of its CPU in use, 0 to 1.
        unheard_seconds: how long the network will take for the audio that waits.
    """

    full: bool = False
    busy: float = 0.0
    unheard_seconds: float = 0.0


@dataclass(slots=True)
class _Gateway:
    heard: float
    partitions: dict[int, float] = field(default_factory=dict)
    settled: dict[str, Tell] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)


class News:
    """`now` is monotonic seconds. Bounded by the sessions in memory: of each only the latest progress is kept."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._gateways: dict[str, _Gateway] = {}

    def arrived(self, gateway: str, partition: int, behind_seconds: float, now: float) -> None:
        """A bundle of `gateway` was applied, that long after it was sent."""
        known = self._gateways.get(gateway)
        if known is None:
            known = self._gateways[gateway] = _Gateway(now)
        known.heard = now
        known.partitions[partition] = behind_seconds

    def settled(self, gateway: str, session_id: str, told: Tell) -> None:
        """The session's owner need not keep these packets any longer."""
        if (known := self._gateways.get(gateway)) is not None:
            known.settled[session_id] = told

    def refused(self, gateway: str, session_id: str) -> None:
        """There is no room for the session here."""
        if (known := self._gateways.get(gateway)) is not None:
            known.refused.add(session_id)

    def lost(self, partition: int) -> None:
        """Another worker has taken it: what this one has read of it meanwhile is to be asked about once more."""
        for known in self._gateways.values():
            if known.partitions.pop(partition, None) is not None:
                known.lost.add(partition)

    def keep_partitions(self, owned: Collection[int]) -> None:
        """This worker reads no others now."""
        for known in self._gateways.values():
            known.partitions = {number: behind for number, behind in known.partitions.items() if number in owned}

    def take(self, at_work: Iterable[tuple[str, str]], load: Load, now: float) -> list[tuple[str, WorkerNews]]:
        """What to send now, by gateway; `at_work`: gateway and session id of what its owner waits for."""
        working: dict[str, set[str]] = {}
        for gateway, session_id in at_work:
            working.setdefault(gateway, set()).add(session_id)
        for gateway in [name for name, known in self._gateways.items() if now - known.heard >= GATEWAY_SECONDS]:
            if gateway not in working:
                del self._gateways[gateway]
        told = []
        for gateway, known in self._gateways.items():
            sessions = [
                SessionNews(session_id, tell.progress, attempt=tell.attempt, after=tell.after)
                for session_id, tell in known.settled.items()
            ]
            busy = working.get(gateway, set()) - known.settled.keys()
            sessions += [SessionNews(session_id) for session_id in sorted(busy)]
            sessions += [SessionNews(session_id, refused=True) for session_id in sorted(known.refused)]
            lost = sorted(known.lost)
            known.settled, known.refused, known.lost = {}, set(), set()
            partitions = [
                PartitionNews(number, behind + load.unheard_seconds)
                for number, behind in sorted(known.partitions.items())
            ]
            if partitions or sessions or lost:
                news = WorkerNews(self._worker, partitions, sessions, load.full, load.busy, lost=lost)
                told.append((gateway, news))
        return told
