"""The LiteTopics of one parent topic in one Exclusive group, as RocketMQ 5.5.0 keeps them; see docs/rocketmq.md, ADR 3.

`tests/conformance` asks this model and RocketMQ the same questions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from random import Random

from tests.simulation.model.written import OFFSETS_SECONDS, Writing, Written

BATCH_MESSAGES = 32


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was handed out; `batch` tells its receipt from that of a later redelivery."""

    name: str
    position: int
    batch: int
    body: bytes
    message_id: str
    born_at: float


class LiteTopic:
    def __init__(self, writing: Writing) -> None:
        self.bodies: list[bytes] = []
        self.ids: list[str] = []
        self.born: list[float] = []
        """Of the messages, as their senders gave them."""
        self.stored: list[float] = []
        self.offset = Written(writing, OFFSETS_SECONDS, -1)
        """The committed position; -1: nobody has ever consumed."""
        self.was_reset = False
        """Until the next poll no acknowledgement commits anything."""
        self.subscribers: list[str] = []
        self.claims: list[tuple[float, str]] = []
        """Who has subscribed by itself, not with a full sync, and when."""
        self.put_back: list[tuple[float, str]] = []
        """Whom a full sync of its own has put beside somebody, and when."""
        self.batch = 0
        """0: there is none, since a reset or a restart. What is acknowledged then is taken at its word."""
        self.batch_end = 0
        self.attempt = ""
        self.last_send = writing.now()
        self.unacknowledged: dict[int, float] = {}
        """Positions of the last batch, and when each becomes visible again: until then they block the LiteTopic."""

    def blocked(self, now: float) -> bool:
        return any(until > now for until in self.unacknowledged.values())

    @property
    def committed(self) -> int:
        return self.offset.value

    @property
    def lag(self) -> int:
        """What has been sent and not acknowledged, of what anybody ever consumed."""
        return len(self.bodies) - self.committed if self.committed >= 0 else 0


class LiteTopics:
    """`on_notice(client, name)`: a client is told to unsubscribe. `on_wake(client)`: its open polls have something.
    `after(seconds, do)` is the broker's own clock.

    `lost_wake_ups`: how probable it is that a blocked LiteTopic's wake-up is lost until its next message (upstream
    issue 11191).
    """

    def __init__(
        self,
        random: Random,
        writing: Writing,
        after: Callable[[float, Callable[[], None]], None],
        *,
        on_notice: Callable[[str, str], None],
        on_wake: Callable[[str], None],
    ) -> None:
        self.lost_wake_ups = 0.0
        self.topics: dict[str, LiteTopic] = {}
        self._random = random
        self._writing = writing
        self._now = writing.now
        self._after = after
        self._on_notice = on_notice
        self._on_wake = on_wake
        self._events: dict[str, dict[str, None]] = {}
        self._listed: dict[str, dict[str, None]] = {}
        """LiteTopics by subscriber."""
        self._batches = 0

    # --- senders

    def send(self, name: str, body: bytes, message_id: str = "", born_at: float = 0.0) -> int:
        """The position that the message got. A repeated one gets another."""
        topic = self._topic(name)
        topic.bodies.append(body)
        topic.ids.append(message_id)
        topic.born.append(born_at)
        topic.stored.append(self._now())
        topic.last_send = self._now()
        self._wake(name)
        return len(topic.bodies) - 1

    # --- subscriptions

    def subscribe(self, client: str, names: Iterable[str], offset: int | None) -> None:
        """PARTIAL_ADD. Every subscriber is told to leave, the caller included, which is then listed by LiteTopic, but
        no longer by client. An offset counts, and frees what is un-acknowledged, only when it is not the committed one.
        """
        own = self._listed.setdefault(client, {})
        for name in names:
            topic = self._topic(name)
            own[name] = None
            for subscriber in list(topic.subscribers):
                self._forget_listed(subscriber, name)
                self._on_notice(subscriber, name)
                topic.subscribers.remove(subscriber)
            if offset is not None and offset != topic.committed:
                topic.offset.value, topic.was_reset = offset, True
                topic.batch = 0
                topic.unacknowledged.clear()
            topic.subscribers.append(client)
            topic.claims.append((self._now(), client))
            if topic.bodies:
                self._unblocked(name)

    def unsubscribe(self, client: str, names: Iterable[str]) -> None:
        """PARTIAL_REMOVE."""
        for name in names:
            self._leave(client, name)

    def replace(self, client: str, names: Collection[str]) -> None:
        """COMPLETE_ADD: evicts nobody, tells nobody, and puts an evicted client back."""
        own, wanted = self._listed.setdefault(client, {}), set(names)
        for name in list(own):
            if name not in wanted:
                self._leave(client, name)
        for name in names:
            topic = self._topic(name)
            own[name] = None
            if client not in topic.subscribers:
                if topic.subscribers:
                    topic.put_back.append((self._now(), client))
                topic.subscribers.append(client)
                if topic.bodies:
                    self._unblocked(name)

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

    def poll(self, client: str, invisible: float, attempt: str = "") -> list[Received]:
        """What is there for the client, of each LiteTopic one batch; the next comes when all of it is acknowledged, or
        to the same attempt.

        What was dispatched to the client comes to it, even if it has left or was evicted since.
        """
        found: list[Received] = []
        events, now = self._events.get(client, {}), self._now()
        while events and len(found) < BATCH_MESSAGES:
            name = next(iter(events))
            del events[name]
            topic = self._topic(name)
            if topic.blocked(now) and topic.attempt != attempt:
                continue
            topic.was_reset = False
            topic.offset.value = min(max(topic.committed, 0), len(topic.bodies))
            end = min(len(topic.bodies), topic.committed + BATCH_MESSAGES - len(found))
            if topic.committed == end:
                continue
            self._batches += 1
            topic.batch, topic.batch_end, topic.attempt = self._batches, end, attempt
            topic.unacknowledged = dict.fromkeys(range(topic.committed, end), now + invisible)
            for position in range(topic.committed, end):
                body, message_id, born_at = topic.bodies[position], topic.ids[position], topic.born[position]
                found.append(Received(name, position, topic.batch, body, message_id, born_at))
            self._after(invisible, lambda name=name: self._look_at_block(name))  # type: ignore[misc]
        return found

    def acknowledge(self, name: str, position: int, batch: int) -> None:
        """Receipts of before a reset or of an earlier batch do nothing; without any batch, they commit."""
        topic = self._topic(name)
        if position < topic.committed:
            return
        if not topic.batch:
            committed = position + 1
        elif batch == topic.batch:
            topic.unacknowledged.pop(position, None)
            committed = min(topic.unacknowledged, default=topic.batch_end)
        else:
            return
        if not topic.was_reset:
            topic.offset.value = committed
        self._look_at_block(name)

    def change_invisible(self, name: str, position: int, batch: int, seconds: float) -> None:
        topic = self._topic(name)
        if batch == topic.batch and position in topic.unacknowledged:
            topic.unacknowledged[position] = self._now() + seconds
            self._after(seconds, lambda: self._look_at_block(name))

    # --- what happens to it

    def forget_client(self, client: str) -> None:
        """Its link is gone: so are the subscriptions that are listed for it; what it has not acknowledged still blocks,
        and what it was to fetch is dispatched to others."""
        own = self._listed.pop(client, None)
        if own is None:
            return
        for name in own:
            if client in self._topic(name).subscribers:
                self._topic(name).subscribers.remove(client)
        for name in self._events.pop(client, {}):
            self._wake(name)

    def restart(self) -> None:
        """Nothing sent is lost; subscriptions and blocks are, and the acknowledgements of the last seconds."""
        self._events.clear()
        self._listed.clear()
        for topic in self.topics.values():
            topic.subscribers.clear()
            topic.unacknowledged.clear()
            topic.batch, topic.was_reset = 0, False
            topic.offset.killed()

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
            topic = self.topics[name] = LiteTopic(self._writing)
        return topic

    def _leave(self, client: str, name: str) -> None:
        topic = self._topic(name)
        self._listed.get(client, {}).pop(name, None)
        if client in topic.subscribers:
            topic.subscribers.remove(client)

    def _forget_listed(self, client: str, name: str) -> None:
        own = self._listed.get(client)
        if own is not None:
            own.pop(name, None)
            if not own:
                del self._listed[client]

    def _look_at_block(self, name: str) -> None:
        if not self._topic(name).blocked(self._now()):
            self._unblocked(name)

    def _unblocked(self, name: str) -> None:
        if not self.lost_wake_ups or self._random.random() >= self.lost_wake_ups:
            self._wake(name)

    def _wake(self, name: str) -> None:
        """One of the subscribers; several are listed only after a full sync put one back."""
        subscribers = self._topic(name).subscribers
        if subscribers:
            one = subscribers[0] if len(subscribers) == 1 else self._random.choice(subscribers)
            self._events.setdefault(one, {})[name] = None
            self._on_wake(one)
