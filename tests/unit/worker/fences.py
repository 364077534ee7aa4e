"""Workers that share partitions in virtual time: the real claims over a model of the fences.

As RocketMQ does (docs/rocketmq.md): a subscription evicts the others, who are told; a restart of the broker forgets
everybody, and each comes back with its own next full sync, which evicts nobody and tells nobody.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from litevoice_contracts.names import ClientId, Names
from litevoice_worker.claims import LOOK_SECONDS, Claims, Drop, Leave, Listed, Take

SYNC_SECONDS = 3.0
ANSWER_SECONDS = 0.02
TAKE_SECONDS = 0.1
LEAVE_SECONDS = 0.5
NOTICE_SECONDS = 0.01


@dataclass
class Process:
    """One worker. `subscribed`: what its channel would name in a full sync."""

    name: str
    claims: Claims
    me: ClientId
    members: frozenset[str]
    alive: bool = True
    frozen: bool = False
    announced: bool = False
    subscribed: set[str] = field(default_factory=set)
    pending: list[Callable[[], None]] = field(default_factory=list)
    took: list[tuple[float, int]] = field(default_factory=list)

    @property
    def owns(self) -> set[int]:
        return set(self.claims.held) if self.alive else set()


class World:
    """`down`: nobody is answered. Time goes on with `run`."""

    def __init__(self, names: Iterable[str], partitions: int = 4, seed: int = 1) -> None:
        self.now = 100.0
        self.partitions = partitions
        self.random = Random(seed)
        self.listed: dict[str, set[ClientId]] = {}
        self.down = False
        self.name_server_down = False
        self.processes: list[Process] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.members = frozenset(names)
        for name in self.members:
            self.start(name)

    # --- what a test does

    def start(self, name: str) -> Process:
        me = ClientId(name, "10.0.0.1", "worker-fence", str(next(self._numbers)))
        process = Process(name, Claims(me, self.partitions, self.now), me, self.members)
        self.processes.append(process)
        self._later(0.0, process, lambda: self._beat(process))
        self._later(0.0, process, lambda: self._look(process))
        self._later(self.random.uniform(0, SYNC_SECONDS), process, lambda: self._sync(process))
        return process

    def kill(self, process: Process) -> None:
        process.alive = False
        for holders in self.listed.values():
            holders.discard(process.me)

    def freeze(self, process: Process) -> None:
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """What waited for it happens now, in any order."""
        process.frozen = False
        waiting, process.pending = process.pending, []
        self.random.shuffle(waiting)
        for event in waiting:
            event()

    def restart_broker(self, seconds: float) -> None:
        self.down = True
        self.run(seconds)
        self.listed.clear()
        self.down = False

    def set_members(self, names: Iterable[str]) -> None:
        self.members = frozenset(names)
        for process in self.processes:
            if not process.frozen:
                process.members = self.members

    def run(self, seconds: float, watch: Callable[[], None] | None = None) -> None:
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
            if watch is not None:
                watch()
        self.now = until

    # --- what a test asks

    def owners(self, partition: int) -> list[str]:
        return [process.name for process in self.processes if partition in process.owns]

    @property
    def shared(self) -> bool:
        """Every partition has exactly one owner."""
        return all(len(self.owners(partition)) == 1 for partition in range(self.partitions))

    @property
    def doubly_owned(self) -> bool:
        return any(len(self.owners(partition)) > 1 for partition in range(self.partitions))

    # --- the processes

    def _later(self, seconds: float, process: Process, event: Callable[[], None]) -> None:
        def happen() -> None:
            if process.frozen:
                process.pending.append(event)
            elif process.alive:
                event()

        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), happen))

    def _beat(self, process: Process) -> None:
        process.claims.pulse(self.now)
        self._later(LOOK_SECONDS, process, lambda: self._beat(process))

    def _sync(self, process: Process) -> None:
        if not self.down:
            for name in process.subscribed:
                self.listed.setdefault(name, set()).add(process.me)
        self._later(SYNC_SECONDS, process, lambda: self._sync(process))

    def _look(self, process: Process) -> None:
        asked_at = self.now
        questions = process.claims.questions(process.members, asked_at)
        presence = Names.presence(process.name)
        if not self.down and presence not in process.subscribed and (not process.announced or process.claims.absent):
            self._subscribe(process, presence)
            process.announced = True
        answered = not self.down and not self.name_server_down
        listed = {name: frozenset(self.listed.get(name, ())) for name in questions} if answered else None
        self._later(ANSWER_SECONDS, process, lambda: self._looked(process, listed, asked_at))

    def _looked(self, process: Process, listed: Listed | None, asked_at: float) -> None:
        for action in process.claims.decide(listed, asked_at, self.now):
            partition = action.partition
            match action:
                case Take():
                    self._later(TAKE_SECONDS, process, lambda p=partition: self._take(process, p))  # type: ignore[misc]
                case Leave():
                    self._later(LEAVE_SECONDS, process, lambda p=partition: self._leave(process, p))  # type: ignore[misc]
                case Drop():
                    self._leave(process, partition)
        self._later(LOOK_SECONDS, process, lambda: self._look(process))

    def _take(self, process: Process, partition: int) -> None:
        if self.down:
            process.claims.ended(partition, self.now)
            return
        self._subscribe(process, Names.fence(partition))
        process.claims.taken(partition, self.now)
        process.took.append((self.now, partition))

    def _leave(self, process: Process, partition: int) -> None:
        process.subscribed.discard(Names.fence(partition))
        if not self.down:
            self.listed.get(Names.fence(partition), set()).discard(process.me)
        process.claims.ended(partition, self.now)

    def _subscribe(self, process: Process, name: str) -> None:
        others = self.listed.get(name, set()) - {process.me}
        process.subscribed.add(name)
        self.listed[name] = {process.me}
        for other in self.processes:
            if other.me in others:
                self._later(NOTICE_SECONDS, other, lambda who=other: self._notice(who, name))  # type: ignore[misc]

    def _notice(self, process: Process, name: str) -> None:
        process.subscribed.discard(name)
        for partition in range(self.partitions):
            if Names.fence(partition) == name:
                process.claims.lost(partition, self.now)
