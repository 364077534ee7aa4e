"""The LiteTopics of one parent topic in one Exclusive group, as RocketMQ 5.5.0 keeps them; see docs/rocketmq.md, ADR 3.

No kinder than the real broker where a takeover depends on it: `tests/unit/broker/test_model_broker.py` states the
traps, of a smaller model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from random import Random

BATCH_MESSAGES = 32


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was handed out; `batch` tells its receipt from that of a later redelivery."""

    name: str
    position: int
    batch: int
    body: bytes


@dataclass(slots=True)
class LiteTopic:
    bodies: list[bytes] = field(default_factory=list)
    committed: int = 0
    subscribers: list[str] = field(default_factory=list)
    batch: int = 0
    batch_end: int = 0
    last_send: float = 0.0
    unacknowledged: dict[int, float] = field(default_factory=dict)
    """Positions of the last batch, and when each becomes visible again: until then they block the LiteTopic."""


class LiteTopics:
    """`on_notice(client, name)`: a client is told to unsubscribe. `on_wake(client)`: its open polls have something.
    `after(seconds, do)` is the broker's own clock.

    `lost_wake_ups`: how probable it is that a blocked LiteTopic's wake-up is lost until its next message (upstream
    issue 11191).
    """

    def __init__(
        self,
        random: Random,
        now: Callable[[], float],
        after: Callable[[float, Callable[[], None]], None],
        *,
        on_notice: Callable[[str, str], None],
        on_wake: Callable[[str], None],
    ) -> None:
        self.lost_wake_ups = 0.0
        self.topics: dict[str, LiteTopic] = {}
        self._random = random
        self._now = now
        self._after = after
        self._on_notice = on_notice
        self._on_wake = on_wake
        self._events: dict[str, dict[str, None]] = {}
        self._listed: dict[str, dict[str, None]] = {}
        """LiteTopics by subscriber."""

    # --- senders

    def send(self, name: str, body: bytes) -> int:
        """The position that the message got."""
        topic = self._topic(name)
        topic.bodies.append(body)
        topic.last_send = self._now()
        self._wake(name)
        return len(topic.bodies) - 1

    # --- subscriptions

    def subscribe(self, client: str, names: Iterable[str], offset: int | None) -> None:
        """PARTIAL_ADD. Every subscriber is told to leave, the caller included; an offset counts, and frees what is
        un-acknowledged, only when it is not the committed one."""
        for name in names:
            topic = self._topic(name)
            for subscriber in list(topic.subscribers):
                self._on_notice(subscriber, name)
                self._leave(subscriber, name)
            self._join(client, name)
            if offset is not None and offset != topic.committed:
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
        wanted = set(names)
        for name in list(self._listed.get(client, ())):
            if name not in wanted:
                self._leave(client, name)
        for name in names:
            if name not in self._listed.get(client, ()):
                self._join(client, name)
                self._events.setdefault(client, {})[name] = None

    def subscribers(self, name: str) -> list[str]:
        """Admin code 200076."""
        return list(self.topics[name].subscribers) if name in self.topics else []

    def subscribed(self, client: str) -> list[str]:
        """Admin code 200077."""
        return list(self._listed.get(client, ()))

    def length(self, name: str) -> int:
        return len(self.topics[name].bodies) if name in self.topics else 0

    def dispatch(self, client: str) -> None:
        """Admin code 200079."""
        for name in list(self._listed.get(client, ())):
            topic = self.topics[name]
            if len(topic.bodies) > topic.committed:
                self._events.setdefault(client, {})[name] = None
        if self._events.get(client):
            self._on_wake(client)

    # --- messages

    def poll(self, client: str, invisible: float) -> list[Received]:
        """What is there for the client, of each LiteTopic one batch; the next comes when all of it is acknowledged."""
        found: list[Received] = []
        events = self._events.get(client, {})
        while events and len(found) < BATCH_MESSAGES:
            name = next(iter(events))
            del events[name]
            topic = self._topic(name)
            if client not in topic.subscribers or topic.unacknowledged:
                continue
            topic.batch += 1
            end = min(len(topic.bodies), topic.committed + BATCH_MESSAGES - len(found))
            for position in range(topic.committed, end):
                found.append(Received(name, position, topic.batch, topic.bodies[position]))
                self._block(name, position, invisible)
                topic.batch_end = position + 1
        return found

    def acknowledge(self, name: str, position: int, batch: int) -> bool:
        """Receipts of before a reset or of an earlier batch say nothing."""
        topic = self._topic(name)
        known = batch == topic.batch and topic.unacknowledged.pop(position, None) is not None
        if known:
            topic.committed = min(topic.unacknowledged, default=topic.batch_end)
            self._look_at_block(name)
        return known

    def change_invisible(self, name: str, position: int, batch: int, seconds: float) -> bool:
        topic = self._topic(name)
        known = batch == topic.batch and position in topic.unacknowledged
        if known:
            self._block(name, position, seconds)
        return known

    # --- what happens to it

    def forget_client(self, client: str) -> None:
        """Its link is gone: so are its subscriptions; what it has not acknowledged still blocks."""
        for name in list(self._listed.get(client, ())):
            self._leave(client, name)
        self._events.pop(client, None)

    def restart(self) -> None:
        """Nothing sent is lost; subscriptions are, and a few acknowledgements."""
        self._events.clear()
        self._listed.clear()
        for topic in self.topics.values():
            topic.subscribers.clear()
            topic.unacknowledged.clear()
            topic.batch += 1
            topic.committed = max(0, topic.committed - self._random.randrange(3))

    def expire(self, older_than: float) -> list[str]:
        """LiteTopics whose last message is so old vanish with their subscription; who sends again begins at 0."""
        gone = [name for name, topic in self.topics.items() if topic.bodies and topic.last_send < older_than]
        for name in gone:
            for client in list(self.topics[name].subscribers):
                self._leave(client, name)
            del self.topics[name]
        return gone

    # --- inside

    def _topic(self, name: str) -> LiteTopic:
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = LiteTopic(last_send=self._now())
        return topic

    def _join(self, client: str, name: str) -> None:
        topic = self._topic(name)
        if client not in topic.subscribers:
            topic.subscribers.append(client)
            self._listed.setdefault(client, {})[name] = None

    def _leave(self, client: str, name: str) -> None:
        topic = self._topic(name)
        if client in topic.subscribers:
            topic.subscribers.remove(client)
            self._listed.get(client, {}).pop(name, None)

    def _block(self, name: str, position: int, seconds: float) -> None:
        self._topic(name).unacknowledged[position] = self._now() + seconds
        self._after(seconds, lambda: self._look_at_block(name))

    def _look_at_block(self, name: str) -> None:
        topic = self._topic(name)
        if all(until <= self._now() for until in topic.unacknowledged.values()):
            topic.unacknowledged.clear()
            self._unblocked(name)

    def _unblocked(self, name: str) -> None:
        if not self.lost_wake_ups or self._random.random() >= self.lost_wake_ups:
            self._wake(name)

    def _wake(self, name: str) -> None:
        """One of the subscribers; several are listed only after a full sync put one back."""
        topic = self._topic(name)
        if topic.subscribers and len(topic.bodies) > topic.committed:
            one = topic.subscribers[0] if len(topic.subscribers) == 1 else self._random.choice(topic.subscribers)
            self._events.setdefault(one, {})[name] = None
            self._on_wake(one)
