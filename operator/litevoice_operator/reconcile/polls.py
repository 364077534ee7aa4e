"""One open question per pod: what pods said last is there without asking them; `decide.polling` says when it holds."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from litevoice_contracts.control import GatewayStatus, WorkerStatus
from litevoice_contracts.watching import told_at_once
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.polling import Poll, timeout_seconds
from litevoice_operator.metrics import STATUS_QUESTIONS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """A pod, and how it is asked: `Pod.address`, the token that it wants, and by how many sessions its number changes
    for it to be told at once."""

    address: str
    token: str = field(repr=False)
    kind: type[GatewayStatus | WorkerStatus]
    step: int


class _Watch:
    """One pod; `task` asks it until it is cancelled, or finds the pod too old."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.poll = Poll.begun(time.monotonic(), random.random())
        self.status: GatewayStatus | WorkerStatus | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def held(self) -> GatewayStatus | WorkerStatus | None:
        return self.status if self.poll.holds(time.monotonic()) else None


class Polls:
    """As many connections and tasks as there are pods. `on_news` is called with the VoiceGateway of a pod that had
    something to tell at once, or has fallen silent."""

    def __init__(self, gateways: Gateways, on_news: Callable[[Key], None] = lambda _: None) -> None:
        self._gateways = gateways
        self.on_news = on_news
        self._watches: dict[Key, dict[str, _Watch]] = {}

    @property
    def count(self) -> int:
        return sum(map(len, self._watches.values()))

    def keep(self, key: Key, pods: Mapping[str, Asked]) -> None:
        """Asks these pods (by name) of the VoiceGateway, and no others."""
        watches = self._watches.setdefault(key, {})
        for name in [name for name, watch in watches.items() if pods.get(name) != watch.asked]:
            self.drop(key, name)
        for name, asked in pods.items():
            if name not in watches:
                watch = watches[name] = _Watch(asked)
                watch.task = asyncio.create_task(self._run(key, watch), name=f"status of {key[0]}/{name}")

    def held(self, key: Key) -> dict[str, GatewayStatus | WorkerStatus]:
        """Pod name → its status, of those that would have told of a change."""
        return {name: held for name, watch in self._watches.get(key, {}).items() if (held := watch.held) is not None}

    def drop(self, key: Key, pod: str) -> None:
        """The pod is gone."""
        watch = self._watches.get(key, {}).pop(pod, None)
        if watch is not None and watch.task is not None:
            watch.task.cancel()

    def forget(self, key: Key) -> None:
        """The VoiceGateway is gone."""
        for pod in list(self._watches.get(key, {})):
            self.drop(key, pod)
        self._watches.pop(key, None)

    async def close(self) -> None:
        tasks = [watch.task for watches in self._watches.values() for watch in watches.values() if watch.task]
        for key in list(self._watches):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key, watch: _Watch) -> None:
        while not watch.poll.older:
            await asyncio.sleep(watch.poll.next_at - time.monotonic())
            if await self._ask(watch):
                self.on_news(key)

    async def _ask(self, watch: _Watch) -> bool:
        """It had something to tell at once, or is silent now."""
        asked, before, at = watch.asked, watch.poll, time.monotonic()
        question = before.question(self.count, asked.step, random.random())
        try:
            told = await self._gateways.watch(
                asked.address, asked.token, question, timeout_seconds(question), asked.kind
            )
        except Exception as error:  # whatever it is: a task that ended would never ask again, and nobody would see it
            told = None
            extra = {"address": asked.address, "error": f"{type(error).__name__}: {error}"}
            _log.warning("a question to a pod failed; will ask again", extra=extra)
        now = time.monotonic()
        if told is None:
            watch.poll, watch.status = before.silent(now, random.random()), None
            STATUS_QUESTIONS.labels("silent").inc()
            return bool(before.seen)
        watch.poll = before.answered(told.version, at, now)
        watch.status = told.status or watch.status
        STATUS_QUESTIONS.labels("older" if watch.poll.older else "changed" if told.status else "unchanged").inc()
        return bool(before.seen) and told_at_once(before.seen, told.version, asked.step)
