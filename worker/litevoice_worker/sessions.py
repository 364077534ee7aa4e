"""The sessions in this worker's memory: bounded. One that is idle makes room; while none is, new ones are refused."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from litevoice_contracts import metrics as names
from litevoice_contracts.control import WorkerSession
from litevoice_contracts.envelopes import DownEnvelope
from litevoice_worker.commands import Count
from litevoice_worker.metrics import Metrics
from litevoice_worker.runner import SessionRunner

logger = logging.getLogger(__name__)

ACTIVE_SECONDS = 10.0
"""A session that was heard of this recently is not forgotten to make room: forgetting one that goes on only moves the
work to a replay."""
IDLE_SECONDS = 120.0
"""A session that sent nothing for this long is forgotten; it can be replayed."""


class NoRoom(Exception):  # noqa: N818 - reads as what it is
    """As many sessions as the worker may have are active."""


@dataclass(frozen=True, slots=True)
class _Entry:
    runner: SessionRunner
    partition: int


class Sessions:
    """Registry. `make` builds the runner of a new session; `say` publishes to a session's log, or fails unheard."""

    def __init__(
        self,
        limit: int,
        make: Callable[[str], SessionRunner],
        metrics: Metrics,
        say: Callable[[str, DownEnvelope], None],
    ) -> None:
        self._limit = limit
        metrics.capacity.set(limit)
        self._make = make
        self._metrics = metrics
        self._say = say
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def get(self, session_id: str, partition: int) -> SessionRunner:
        """The session's runner, made if there is none. Raises NoRoom."""
        entry = self._entries.get(session_id)
        if entry is None:
            self._make_room()
            entry = _Entry(self._make(session_id), partition)
            self._entries[session_id] = entry
            self._metrics.sessions.set(len(self._entries))
        self._entries.move_to_end(session_id)
        return entry.runner

    def __len__(self) -> int:
        return len(self._entries)

    def report(self, session_id: str) -> WorkerSession | None:
        """Where a session stands; None when it is not in memory."""
        entry = self._entries.get(session_id)
        return entry.runner.report(entry.partition) if entry is not None else None

    def at_work(self) -> Iterator[tuple[str, str]]:
        """Gateway and id of each session whose owner waits for something."""
        for session_id, entry in self._entries.items():
            if entry.runner.machine.at_work:
                yield entry.runner.gateway, session_id

    def forget(self, session_id: str) -> None:
        """Ends a session at once; its owner replays it when it goes on."""
        entry = self._entries.pop(session_id, None)
        if entry is not None:
            entry.runner.close()
            self._metrics.sessions.set(len(self._entries))

    def start_anew(self, session_id: str) -> None:
        """A session's machine has failed: another one takes its place, and tells the owner when it asks."""
        entry = self._entries.get(session_id)
        if entry is not None:
            entry.runner.close()
            self._entries[session_id] = _Entry(self._make(session_id), entry.partition)
            self._entries[session_id].runner.machine.failed()

    def forget_idle(self, now: float) -> None:
        """Forgets sessions that have been silent for IDLE_SECONDS; `now` in loop time."""
        for session_id, entry in list(self._entries.items()):
            if entry.runner.machine.idle and now - entry.runner.last_active >= IDLE_SECONDS:
                self.forget(session_id)

    def forget_partition(self, partition: int) -> None:
        """Another worker took the partition: nothing more may be published for its sessions, except that we live."""
        for session_id in self._of(partition):
            last = self._entries[session_id].runner.machine.displaced()
            self.forget(session_id)
            if last is not None:
                self._say(session_id, last)

    async def hand_over(self, partition: int) -> None:
        """The partition is about to be released: asks the owners of unfinished turns to send them again."""
        ids = self._of(partition)
        abandoning = (self._entries[session_id].runner.abandon() for session_id in ids)
        for session_id, ended in zip(ids, await asyncio.gather(*abandoning, return_exceptions=True), strict=True):
            if isinstance(ended, Exception):  # its own text may hold content
                error = type(ended).__name__
                logger.error("a session could not be handed over", extra={"session": session_id, "error": error})
            self.forget(session_id)

    def _of(self, partition: int) -> list[str]:
        return [session_id for session_id, entry in self._entries.items() if entry.partition == partition]

    def _make_room(self) -> None:
        if len(self._entries) < self._limit:
            return
        now = asyncio.get_running_loop().time()
        for session_id, entry in self._entries.items():  # the least recently used first
            if now - entry.runner.last_active < ACTIVE_SECONDS:
                break
            if entry.runner.machine.idle:
                self.forget(session_id)
                self._metrics.count(Count(names.WORKER_DROPPED, "sessions"))
                return
        self._metrics.count(Count(names.WORKER_DROPPED, "refused_envelopes"))
        raise NoRoom

    @property
    def full(self) -> bool:
        """As many sessions as there may be are in memory."""
        return len(self._entries) >= self._limit
