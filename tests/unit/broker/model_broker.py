"""A model of RocketMQ's LiteTopics in one Exclusive group, in virtual time: what `docs/rocketmq.md` and ADR 3 measured.

It is no kinder than the real broker where the takeover depends on it: `test_model_broker.py` states each trap in the
words of the integration test that shows it on RocketMQ. The calls are those of the lite client's shells, so that one
suite can run against both.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from litevoice_broker.lite.receiver import INVISIBLE_SECONDS
from litevoice_broker.receiving import BATCH_MESSAGES


class Clock:
    """Virtual time. What is due at the same moment runs in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), do))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.now, _, do = heapq.heappop(self._due)
            do()
        self.now = until


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was handed out; `batch` tells its receipt from that of a later redelivery."""

    name: str
    position: int
    batch: int


@dataclass(slots=True)
class _LiteTopic:
    length: int = 0
    committed: int = 0
    subscribers: list[str] = field(default_factory=list)
    batch: int = 0
    batch_end: int = 0
    unacknowledged: dict[int, float] = field(default_factory=dict)
    """Positions of the last batch, and when each becomes visible again: until then they block the LiteTopic."""


class ModelBroker:
    """`on_notice(client, name)`: a client is told to unsubscribe. `on_wake(client)`: its open poll has something.

    `lost_wake_ups`: how probable it is that a blocked LiteTopic's wake-up is lost until its next message (upstream
    issue 11191).
    """

    def __init__(
        self,
        clock: Clock,
        random: Random,
        *,
        on_notice: Callable[[str, str], None],
        on_wake: Callable[[str], None],
    ) -> None:
        self.lost_wake_ups = 0.0
        self._clock = clock
        self._random = random
        self._on_notice = on_notice
        self._on_wake = on_wake
        self._topics: dict[str, _LiteTopic] = {}
        self._events: dict[str, dict[str, None]] = {}

    # --- senders

    def send(self, name: str) -> int:
        """The position that the message got."""
        topic = self._topic(name)
        topic.length += 1
        self._wake(name)
        return topic.length - 1

    # --- subscriptions

    def subscribe(self, client: str, names: Iterable[str], offset: int) -> None:
        """PARTIAL_ADD with an offset. Every subscriber is told to leave, the caller included; the offset counts, and
        frees what is un-acknowledged, only when it is not the committed one."""
        for name in names:
            topic = self._topic(name)
            for subscriber in topic.subscribers:
                self._on_notice(subscriber, name)
            topic.subscribers = [client]
            if offset != topic.committed:
                topic.committed = offset
                topic.batch += 1
                topic.unacknowledged.clear()
            self._unblocked(name)

    def unsubscribe(self, client: str, names: Iterable[str]) -> None:
        """PARTIAL_REMOVE."""
        for name in names:
            self._leave(client, name)

    def replace(self, client: str, names: Collection[str]) -> None:
        """COMPLETE_ADD: evicts nobody, tells nobody, and puts an evicted client back. An open poll is not woken."""
        for name, topic in self._topics.items():
            if client in topic.subscribers and name not in names:
                self._leave(client, name)
        for name in names:
            if client not in self._topic(name).subscribers:
                self._topic(name).subscribers.append(client)
                self._events.setdefault(client, {})[name] = None

    def subscribers(self, name: str) -> list[str]:
        """Admin code 200076."""
        return list(self._topic(name).subscribers)

    def subscribed(self, client: str) -> list[str]:
        """Admin code 200077."""
        return [name for name, topic in self._topics.items() if client in topic.subscribers]

    def length(self, name: str) -> int:
        return self._topic(name).length

    # --- messages

    def poll(self, client: str) -> list[Received]:
        """What is there for the client, of each LiteTopic one batch; the next comes when all of it is acknowledged."""
        found: list[Received] = []
        for name in self._events.pop(client, {}):
            topic = self._topic(name)
            if client not in topic.subscribers or topic.unacknowledged:
                continue
            topic.batch += 1
            for position in range(topic.committed, min(topic.length, topic.committed + BATCH_MESSAGES)):
                found.append(Received(name, position, topic.batch))
                self._block(name, position, INVISIBLE_SECONDS)
                topic.batch_end = position + 1
        return found

    def acknowledge(self, message: Received) -> None:
        """Receipts of before a reset or of an earlier batch say nothing."""
        topic = self._topic(message.name)
        if message.batch == topic.batch and topic.unacknowledged.pop(message.position, None) is not None:
            topic.committed = min(topic.unacknowledged, default=topic.batch_end)
            self._look_at_block(message.name)

    def change_invisible(self, message: Received, seconds: float) -> None:
        topic = self._topic(message.name)
        if message.batch == topic.batch and message.position in topic.unacknowledged:
            self._block(message.name, message.position, seconds)

    # --- what happens to it

    def forget_client(self, client: str) -> None:
        """Its link is gone: so are its subscriptions; what it has not acknowledged still blocks."""
        for name in self._topics:
            self._leave(client, name)

    def restart(self) -> None:
        """Nothing sent is lost; subscriptions are, and a few acknowledgements."""
        self._events.clear()
        for topic in self._topics.values():
            topic.subscribers.clear()
            topic.unacknowledged.clear()
            topic.batch += 1
            topic.committed = max(0, topic.committed - self._random.randrange(3))

    def drop_subscriptions(self, name: str) -> None:
        """As the expiry of a LiteTopic does."""
        self._topic(name).subscribers.clear()

    # --- inside

    def _topic(self, name: str) -> _LiteTopic:
        return self._topics.setdefault(name, _LiteTopic())

    def _leave(self, client: str, name: str) -> None:
        topic = self._topic(name)
        if client in topic.subscribers:
            topic.subscribers.remove(client)

    def _block(self, name: str, position: int, seconds: float) -> None:
        self._topic(name).unacknowledged[position] = self._clock.now + seconds
        self._clock.after(seconds, lambda: self._look_at_block(name))

    def _look_at_block(self, name: str) -> None:
        topic = self._topic(name)
        if all(until <= self._clock.now for until in topic.unacknowledged.values()):
            topic.unacknowledged.clear()
            self._unblocked(name)

    def _unblocked(self, name: str) -> None:
        if self._random.random() >= self.lost_wake_ups:
            self._wake(name)

    def _wake(self, name: str) -> None:
        """One of the subscribers; several are listed only after a full sync put one back."""
        topic = self._topic(name)
        if topic.subscribers and topic.length > topic.committed:
            client = self._random.choice(topic.subscribers)
            self._events.setdefault(client, {})[name] = None
            self._on_wake(client)
