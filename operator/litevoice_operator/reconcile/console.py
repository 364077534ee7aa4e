"""What the console shows, looked up once for all who watch the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from litevoice_contracts.control import GatewayStatus, WorkerStatus
from litevoice_contracts.operator_api import MAX_LISTED, ConsolePod, ConsoleState, DrainRow, PartitionPage
from litevoice_operator.api.resource import Key
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.observe.console import alert_row, pod_row
from litevoice_operator.observe.pods import Pod, addresses
from litevoice_operator.reconcile.inquiries import Inquiries, Question, drain_rows
from litevoice_operator.reconcile.shared import Shared

LOOK_SECONDS = 2.0
BROKER_LOOK_SECONDS = 6.0
"""How often the brokers are asked about the partitions."""
SHOWN = 15
"""Sessions by each order."""
MAX_STREAMS = 20
_SEVERITY = ("critical", "warning", "info", "")
_ALERT_STATES = ("Firing", "Pending", "Inactive")


@dataclass(slots=True)
class _Look:
    """What somebody watches. `at`, `broker_at`: when it was looked at last, by the console's clock."""

    watching: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    at: float = float("-inf")
    broker_at: float = float("-inf")
    state: ConsoleState | None = None
    partitions: PartitionPage = field(default_factory=lambda: PartitionPage(0, []))


class TooMany(Exception):  # noqa: N818 - reads as what it is
    """As many watch as may."""


class Watch:
    """One who watches; to be used with `with`."""

    def __init__(self, console: Console, key: Key) -> None:
        self._console = console
        self._key = key

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._console.leave(self._key)

    async def state(self) -> ConsoleState:
        return await self._console.look(self._key)


class Console:
    """Bounded by MAX_STREAMS; nobody is asked anything while nobody watches."""

    def __init__(
        self, shared: Shared, inquiries: Inquiries, pod: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared = shared
        self._inquiries = inquiries
        self._pod = pod
        self._clock = clock
        self._looks: dict[Key, _Look] = {}

    def watch(self, namespace: str, gateway: str) -> Watch:
        """Raises TooMany."""
        if sum(look.watching for look in self._looks.values()) >= MAX_STREAMS:
            raise TooMany(f"{MAX_STREAMS} consoles are open already: close one")
        key = (namespace, gateway)
        self._looks.setdefault(key, _Look()).watching += 1
        return Watch(self, key)

    def leave(self, key: Key) -> None:
        look = self._looks[key]
        look.watching -= 1
        if not look.watching:
            del self._looks[key]

    async def look(self, key: Key) -> ConsoleState:
        look = self._looks[key]
        async with look.lock:
            if look.state is None or self._clock() - look.at >= LOOK_SECONDS / 2:
                look.state = await self._state(key, look)
                look.at = self._clock()
            return look.state

    async def _state(self, key: Key, look: _Look) -> ConsoleState:
        question, inquiries = Question(*key, limit=SHOWN), self._inquiries
        stalled, backlog, fleet, partitions = await asyncio.gather(
            inquiries.sessions(question_by(question, "stalled")),
            inquiries.sessions(question_by(question, "backlog")),
            self._fleet(key),
            self._partitions(key, look),
        )
        pods, drains = fleet
        views = self._shared.chosen(*key)
        troubles = [f"{'/'.join(name)}: {view.problem.message}" for name, view in views if view.problem]
        silent = [f"{pod} does not answer: its sessions are missing here" for pod in stalled.silent]
        alerts = [
            alert_row(name, shown.gateway, shown.target, shown.status)
            for name, shown in self._shared.alerts.items()
            if key[0] in ("", name[0]) and key[1] in ("", shown.gateway)
        ]
        alerts.sort(key=lambda alert: (_ALERT_STATES.index(alert.state), _SEVERITY.index(alert.severity), alert.name))
        return ConsoleState(
            self._pod,
            time.time(),
            ["/".join(name) for name, _ in views],
            pods[:MAX_LISTED],
            max(0, len(pods) - MAX_LISTED),
            stalled.total,
            [row for row in stalled.sessions if row.session.stalled_seconds >= 1],
            [row for row in backlog.sessions if row.session.pending_requests > 0],
            drains,
            partitions.partitions,
            alerts[:MAX_LISTED],
            [*silent, *sorted({*troubles, *partitions.unseen})],
        )

    async def _fleet(self, key: Key) -> tuple[list[ConsolePod], list[DrainRow]]:
        rows, drains = list[ConsolePod](), list[DrainRow]()
        for name, _ in self._shared.chosen(*key):
            pods = sorted(self._shared.pods.of(name), key=lambda pod: (pod.component, pod.name))
            gateways, workers = _of(pods, "gateway"), _of(pods, "worker")
            keys = derive_keys(self._shared.root_key, *name)
            asked = self._shared.gateways
            answers, theirs = await asyncio.gather(
                asked.statuses(addresses(gateways), keys.admin_token),
                asked.worker_statuses(addresses(workers), keys.worker_token),
            )
            told: dict[str, GatewayStatus | WorkerStatus] = {**answers, **theirs}
            rows += [pod_row(name, pod, told.get(pod.name)) for pod in pods]
            drains += drain_rows(name, gateways, answers, self._shared.pods.last_drains(name))
        return rows, drains

    async def _partitions(self, key: Key, look: _Look) -> PartitionPage:
        if self._clock() - look.broker_at >= BROKER_LOOK_SECONDS:
            look.partitions = await self._inquiries.partitions(Question(*key, limit=MAX_LISTED))
            look.broker_at = self._clock()
        return look.partitions


def question_by(question: Question, sort: str) -> Question:
    return Question(question.namespace, question.gateway, sort=sort, limit=question.limit)


def _of(pods: list[Pod], component: str) -> list[Pod]:
    return [pod for pod in pods if pod.component == component]
