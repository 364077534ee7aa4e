"""Who owns which LiteTopic: the takeover, its doubts and its heals. Sans I/O: what the user wants, what the broker
says and the clock go in, calls to the broker and news for the user come out.

The newest subscriber owns a LiteTopic. Three things make that hard:
- The broker's notice to a loser and its answers come on different streams: a notice may be older than the receiver's
  own last takeover. So a notice is a doubt, and the broker is asked who is subscribed.
- A full sync replaces all that this client is subscribed to. One that was on its way may put an evicted owner back
  beside the new one, so the broker may list both; and none may run beside a single change.
- Wake-ups, acknowledgements and, with a link, messages get lost. So what should have come is claimed again.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.commands import (
    Answer,
    Ask,
    Call,
    Command,
    Evicted,
    Fate,
    Finished,
    Healing,
    Replace,
    Subscribe,
    Unsubscribe,
)
from litevoice_broker.lite.order import VERIFY_SECONDS, PositionOrder, Verdict
from litevoice_broker.lite.topic import Claim, Heal, Leave, Look, Stage, Todo, Topic

CLAIM_ATTEMPTS = 4
CLAIM_RETRY_SECONDS = 0.1
HEALS_AT_ONCE = 32
RECENT_SECONDS = 5.0
"""What came so short a time before a link broke may have been followed by what the old proxy took for us, and lost."""
DOUBT_SECONDS = (0.2, 0.4)
"""Longer than a takeover takes (p99 101 ms); not the same for two that are in doubt about one another."""


@dataclass(slots=True)
class _FullSync:
    link: int
    requests: list[int]
    names: frozenset[str] | None = None
    """None while it waits for changes to end."""


@dataclass(slots=True)
class _Survey:
    """Who is subscribed to many, after a link was lost; `numbers`: of the wishes that it was asked for."""

    request: int
    link: int
    numbers: Mapping[str, int]
    heals: bool


class Ownership:
    """All LiteTopics of one client under one parent topic. Each input may change `take` and `wake_at`."""

    def __init__(self, me: str, pause: Callable[[float, float], float] = random.uniform) -> None:
        """`me`: the client's id; `pause`: a number of seconds between two."""
        self._me = me
        self._pause = pause
        self._numbers = count(1)  # of requests and calls
        self._topics: dict[str, Topic] = {}
        self._open: dict[int, int] = {}  # LiteTopics that a request waits for
        self._calls: dict[int, list[Topic] | _FullSync | _Survey] = {}
        self._out: list[Command] = []
        self._changes: list[tuple[Topic, int | None]] = []  # to be sent: subscribe at an offset, or None: unsubscribe
        self._alarms: list[tuple[float, int, Topic]] = []
        self._changing: set[Topic] = set()
        self._held: dict[Topic, None] = {}  # changes that wait for the full sync
        self._sync: _FullSync | None = None
        self._next_sync: _FullSync | None = None
        self._healing: set[Topic] = set()
        self._to_heal: dict[Topic, None] = {}  # in order
        self._link = 0  # that full syncs may use: who was evicted while there was none has been asked
        self._settled_link = 0

    # --- out

    def take(self) -> list[Command]:
        """What is to be done since the last time, in order."""
        merged: dict[int | None, list[Topic]] = {}
        for topic, offset in self._changes:
            if topic.fresh:
                merged.setdefault(offset, []).append(topic)
            else:
                self._send_change([topic], offset)
        for offset, topics in merged.items():
            self._send_change(topics, offset)
        self._changes.clear()
        out, self._out = self._out, []
        return out

    @property
    def wake_at(self) -> float | None:
        return self._alarms[0][0] if self._alarms else None

    @property
    def idle(self) -> bool:
        """Nothing is under way; what is only due later does not count."""
        return not self._calls and not any(topic.work or topic.retry_at for topic in self._topics.values())

    def __len__(self) -> int:
        return sum(topic.wanted for topic in self._topics.values())

    def get(self, name: str) -> Topic | None:
        """None when it is not owned."""
        topic = self._topics.get(name)
        return topic if topic is not None and topic.wanted else None

    # --- what the user wants; requests end with `Finished`

    def begin(self, names: Iterable[str], now: float) -> int:
        """For LiteTopics that are new, from position 0; owned ones stay as they are. All of them, or none when it
        fails."""
        request = next(self._numbers)
        new = [name for name in dict.fromkeys(names) if self.get(name) is None]
        for topic in [self._wish(name, 0, request, fresh=True) for name in new]:
            self._go_on(topic, now)
        if not new:
            self._out.append(Finished(request, None))
        return request

    def take_over(self, name: str, position: int, now: float) -> int:
        """Whoever owns it now. Not owned when it fails."""
        request = next(self._numbers)
        self._go_on(self._wish(name, position, request, fresh=False), now)
        return request

    def release(self, name: str, now: float) -> int | None:
        """None when there is nothing to wait for."""
        topic = self.get(name)
        if topic is None:
            return None
        request = next(self._numbers)
        self._lose(topic)
        self._wait_for(topic, request)
        self._go_on(topic, now)
        return request

    def cancel(self, request: int, now: float) -> None:
        """The user does not wait for its takeover any more, and does not want it; a resumed one is paused again."""
        for topic in [topic for topic in self._topics.values() if request in topic.requests]:
            if topic.taking:
                self._lose(topic)
                self._go_on(topic, now)
            elif topic.resuming:
                topic.resuming, topic.paused, topic.withheld = False, True, True

    def pause_delivery(self, name: str) -> None:
        topic = self.get(name)
        if topic is not None and not topic.paused:
            topic.paused = True
            topic.cancel_timers()

    def resume_delivery(self, name: str, now: float) -> int | None:
        """None when there is nothing to wait for; paused again when it fails."""
        topic = self.get(name)
        if topic is None or not topic.paused:
            return None
        topic.paused = False
        if not topic.withheld:
            return None
        topic.withheld, topic.resuming, topic.attempts = False, True, 0
        request = next(self._numbers)
        self._wait_for(topic, request)
        self._go_on(topic, now)
        return request

    # --- what the broker says

    def message(self, name: str, position: int, now: float) -> Fate:
        topic = self.get(name)
        if topic is None or topic.in_doubt:
            return Fate.HAND_BACK
        if topic.paused:
            topic.withheld = True
            return Fate.KEEP
        topic.last_message = now
        match topic.order.offer(position):
            case Verdict.DELIVER:
                return Fate.DELIVER
            case Verdict.DROP:
                return Fate.ACKNOWLEDGE
            case Verdict.WAIT:
                if topic.gap_at is None:
                    topic.gap_at = self._alarm(topic, now + topic.order.gap_wait_seconds())
                return Fate.WAIT

    def noticed(self, name: str, now: float) -> None:
        """The broker told us that somebody else has taken it over."""
        topic = self.get(name)
        if topic is not None and not topic.ignores_notices:
            topic.noticed = True
            self._go_on(topic, now)

    def heal(self, names: Collection[str], now: float, how: Heal = Heal.ASK) -> None:
        """Something of them may have got lost."""
        for name in names:
            topic = self.get(name)
            if topic is not None:
                topic.heal = topic.heal or how
                self._go_on(topic, now)

    def answered(self, number: int, answer: Answer, now: float) -> None:
        """A call's answer: an error; the subscribers for an `Ask`; None for done."""
        error = answer if isinstance(answer, BrokerError) else None
        known = answer if isinstance(answer, Mapping) else {}
        match self._calls.pop(number):
            case _FullSync() as sync:
                self._full_sync_done(sync, error, now)
            case _Survey() as survey:
                self._surveyed(survey, known, now)
            case topics:
                for topic in topics:
                    self._answered(topic, error, known, now)

    # --- link and clock

    def linked(self, link: int, now: float) -> int:
        """A new link, numbered upwards. Notices that came while there was none are lost, but the broker still knows who
        subscribed: it is asked before the first full sync over the new link, which could put us back."""
        request = next(self._numbers)
        if self._settled_link in (0, link):
            self._link = link
            self._full_sync(_FullSync(link, [request]))
        else:
            self._survey(
                _Survey(request, link, {t.name: t.number for t in self._topics.values() if t.wanted}, False), now
            )
        return request

    def settled(self, link: int, now: float) -> int:
        """Messages come over the new link. What came a moment before the last one broke is healed; the full sync may
        have put us beside an owner that has come since the question before it."""
        request = next(self._numbers)
        recent = {
            topic.name: topic.number
            for topic in self._topics.values()
            if topic.wanted
            and not topic.paused
            and not topic.ignores_notices
            and now - topic.last_message < RECENT_SECONDS
        }
        reconnected = self._settled_link not in (0, link)
        self._survey(_Survey(request, link, recent if reconnected else {}, True), now)
        return request

    def full_sync(self, link: int) -> int:
        """Tells the broker everything that is owned: what is about to be taken over for the first time is not told yet,
        because that would make the takeover's own notice look like an eviction."""
        request = next(self._numbers)
        if link != self._link:
            self._out.append(Finished(request, None))
        else:
            self._full_sync(_FullSync(link, [request]))
        return request

    def tick(self, now: float) -> None:
        """The clock alone; harmless at any time."""
        while self._alarms and self._alarms[0][0] <= now:
            topic = heapq.heappop(self._alarms)[2]
            if topic.retry_at is not None and topic.retry_at <= now:
                topic.retry_at = None
            if topic.gap_at is not None and topic.gap_at <= now:
                topic.gap_at = None
                if topic.order.gap:
                    self._out.append(Healing(topic.name))
                    topic.heal = topic.heal or Heal.ASK
            if topic.verify_at is not None and topic.verify_at <= now:
                self._verify(topic)
            match topic.work:
                case Look(stage=Stage.WAITING) as look if look.until <= now:
                    look.stage = Stage.ASKED_AGAIN
                    self._ask(topic)
            self._go_on(topic, now)

    # --- a LiteTopic's story: wished for, claimed, doubted, healed, left

    def _wish(self, name: str, position: int, request: int, *, fresh: bool) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, PositionOrder(position))
        if not topic.wanted:
            self._finish(topic)
        topic.wish(request, fresh=fresh)
        topic.order.restart(position)
        self._wait_for(topic, request)
        match topic.work:
            case Look(stage=Stage.WAITING):
                topic.work = None
            case Look(stage=Stage.STEPPING_OUT) if topic not in self._changing:  # held up by a full sync
                topic.work = None
        return topic

    def _go_on(self, topic: Topic, now: float) -> None:
        """Begins what comes next, when nothing is under way."""
        if topic.work is not None or topic.retry_at is not None:
            return
        todo = topic.todo
        healing = topic.wanted and not topic.for_user and not topic.noticed and todo is not Todo.NOTHING
        if healing and topic not in self._healing:
            if len(self._healing) >= HEALS_AT_ONCE:
                self._to_heal[topic] = None
                return
            self._healing.add(topic)
        if todo in (Todo.CLAIM, Todo.LEAVE) and self._sync is not None:
            self._held[topic] = None
            return
        match todo:
            case Todo.CLAIM:
                if healing:
                    topic.order.heals += 1
                topic.work = topic.claim()
                self._begin_change(topic, topic.work.steps.pop(0))
            case Todo.LEAVE:
                topic.work = Leave()
                self._begin_change(topic, None)
            case Todo.LOOK:
                topic.work = Look(topic.number, notice=topic.noticed)
                topic.noticed = False
                self._ask(topic)
            case Todo.FORGET:
                if self._topics.get(topic.name) is topic:
                    del self._topics[topic.name]
                self._finish(topic)
        if todo in (Todo.FORGET, Todo.NOTHING):
            if topic.paused:
                topic.heal = None
            self._healed(topic, now)

    def _answered(
        self, topic: Topic, error: BrokerError | None, known: Mapping[str, Collection[str]], now: float
    ) -> None:
        match topic.work:
            case Claim() as claim:
                current = topic.wanted and claim.number == topic.number
                if error is None and current and claim.steps:
                    self._changes.append((topic, claim.steps.pop(0)))
                    return
                self._changed(topic)
                if current and error is None:
                    self._claimed(topic, now)
                elif current and error is not None:
                    self._not_claimed(topic, error, now)
            case Leave():
                self._changed(topic)
                topic.subscribed = False  # if the broker could not be told now, the next full sync tells it
            case Look() as look:
                self._looked(topic, look, error, known, now)
        self._go_on(topic, now)

    def _claimed(self, topic: Topic, now: float) -> None:
        if topic.for_user:
            topic.verified = None if topic.fresh else 0
            topic.taking = topic.fresh = topic.resuming = False
            self._finish(topic)
        self._healed(topic, now)
        if topic.verified is not None and topic.verify_at is None and not topic.paused:
            if topic.verified < len(VERIFY_SECONDS):
                topic.verify_at = self._alarm(topic, now + VERIFY_SECONDS[topic.verified])
            else:
                topic.verified = None

    def _verify(self, topic: Topic) -> None:
        """The wake-up for what waits in the log can get lost while the last owner still acknowledges."""
        topic.verify_at = None
        if topic.verified is None or topic.order.delivered:
            topic.verified = None
        else:
            topic.verified += 1
            topic.heal = topic.heal or Heal.ASK

    def _not_claimed(self, topic: Topic, error: BrokerError, now: float) -> None:
        if not topic.for_user:
            topic.heal = Heal.ASK  # another try may come over another link, after an eviction nobody told us of
            topic.retry_at = self._alarm(topic, now + topic.order.gap_wait_seconds())
            return
        topic.attempts += 1
        if error.retryable and topic.attempts < CLAIM_ATTEMPTS:
            topic.retry_at = self._alarm(topic, now + CLAIM_RETRY_SECONDS * 2 ** (topic.attempts - 1))
            return
        if topic.resuming:
            topic.resuming, topic.paused, topic.withheld = False, True, True
            self._finish(topic, error)
            return
        failed = set(topic.requests)
        self._finish(topic, error)
        for other in [other for other in self._topics.values() if other is topic or failed & set(other.requests)]:
            self._lose(other)  # all of them, or none
            self._go_on(other, now)

    def _looked(
        self, topic: Topic, look: Look, error: BrokerError | None, known: Mapping[str, Collection[str]], now: float
    ) -> None:
        """Who is listed decides. Nobody: after a notice somebody is in the middle of a takeover, unless we have stepped
        out before and not claimed it again yet. Somebody beside us: they have nothing when only a full sync of theirs
        can have put them there. When a full sync of ours can have put us there, beside somebody or after a notice
        (RocketMQ 5.5.1 lists an evicted client that its full sync has put back, gives it nothing, and repeats the
        notice with each full sync), and when nobody is listed without a notice, it is decided by who is there when we
        have stepped out and whoever was taking over is done; if nobody is, it is ours to claim again."""
        subscribers = known.get(topic.name)
        if look.stage is Stage.STEPPING_OUT:
            self._changed(topic)
        if not topic.wanted or look.number != topic.number:
            topic.work = None
        elif look.stage is Stage.STEPPING_OUT and error is None:
            look.stage = Stage.WAITING
            look.until = self._alarm(topic, now + self._pause(*DOUBT_SECONDS))
        elif look.stage is Stage.STEPPING_OUT or subscribers is None:
            self._decided(topic, look, None)
        elif look.stage is Stage.ASKED_AGAIN:
            self._decided(topic, look, not subscribers)
        else:
            mine, others = self._me in subscribers, set(subscribers) - {self._me}
            if not mine and (others or (look.notice and topic.subscribed)):
                self._decided(topic, look, False)
            elif subscribers and not (topic.synced and (others or look.notice)):
                self._decided(topic, look, True)
            else:
                topic.subscribed = False  # else the next full sync puts us back
                topic.withheld = topic.paused
                look.stage = Stage.STEPPING_OUT
                if self._sync is None:
                    self._begin_change(topic, None)
                else:
                    self._held[topic] = None

    def _decided(self, topic: Topic, look: Look, ours: bool | None) -> None:
        """`ours` is None when nobody answered: after a notice it is believed, before a heal it is not."""
        topic.work = None
        if ours is False or (look.notice and not ours):
            self._evict(topic)
        elif not look.notice or not (topic.subscribed or topic.noticed):  # once, after the last notice of several
            topic.heal = Heal.CLAIM

    def _evict(self, topic: Topic) -> None:
        """Somebody else has it, and the broker has taken us out, or we have stepped out."""
        topic.subscribed = False
        self._lose(topic)
        self._out.append(Evicted(topic.name))

    def _lose(self, topic: Topic) -> None:
        """It is not ours from this moment; who waited for a takeover learns it."""
        topic.give_up()
        self._finish(topic)
        if self._sync is not None and self._sync.names is not None and topic.name in self._sync.names:
            topic.subscribed = True  # by the full sync that is on its way

    def _healed(self, topic: Topic, now: float) -> None:
        if topic in self._healing:
            self._healing.remove(topic)
            while self._to_heal and len(self._healing) < HEALS_AT_ONCE:
                following = next(iter(self._to_heal))
                del self._to_heal[following]
                self._go_on(following, now)

    # --- full syncs and surveys

    def _full_sync(self, sync: _FullSync) -> None:
        """Waits until no change is under way, and holds up new ones."""
        if self._sync is None:
            self._sync = sync
            self._begin_full_sync()
        elif self._next_sync is None and self._sync.names is None and self._sync.link == sync.link:
            self._sync.requests += sync.requests
        elif self._next_sync is None:
            self._next_sync = sync
        else:
            self._next_sync.link = sync.link
            self._next_sync.requests += sync.requests

    def _begin_full_sync(self) -> None:
        if self._sync is None or self._sync.names is not None or self._changing:
            return
        owned = [topic for topic in self._topics.values() if topic.wanted and topic.subscribed]
        for topic in owned:
            topic.synced = True
        names = tuple(topic.name for topic in owned)
        self._sync.names = frozenset(names)
        self._call(self._sync, Replace(names, self._sync.link))

    def _full_sync_done(self, sync: _FullSync, error: BrokerError | None, now: float) -> None:
        self._sync = None
        held, self._held = self._held, {}
        for topic in held:
            if isinstance(topic.work, Look) and topic.work.stage is Stage.STEPPING_OUT:
                self._begin_change(topic, None)
            else:
                self._go_on(topic, now)
        if self._next_sync is not None:
            following, self._next_sync = self._next_sync, None
            self._full_sync(following)
        self._out += [Finished(request, error) for request in sync.requests]

    def _survey(self, survey: _Survey, now: float) -> None:
        if survey.numbers:
            self._call(survey, Ask(tuple(survey.numbers)))
        else:
            self._surveyed(survey, {}, now)

    def _surveyed(self, survey: _Survey, known: Mapping[str, Collection[str]], now: float) -> None:
        """Ours if nobody else is listed. If somebody is listed beside us, a full sync has put one of us back."""
        for name, number in survey.numbers.items():
            topic, subscribers = self.get(name), set(known.get(name, ()))
            if topic is None or topic.number != number or topic.ignores_notices:
                continue
            if subscribers - {self._me} and self._me not in subscribers:
                self._evict(topic)
                self._go_on(topic, now)
            elif survey.heals:
                self.heal([name], now, Heal.ASK if subscribers - {self._me} else Heal.CLAIM)
        if survey.heals:
            self._settled_link = survey.link
            self._out.append(Finished(survey.request, None))
        else:
            self._link = survey.link
            self._full_sync(_FullSync(survey.link, [survey.request]))

    # --- small parts

    def _wait_for(self, topic: Topic, request: int) -> None:
        topic.requests.append(request)
        self._open[request] = self._open.get(request, 0) + 1

    def _finish(self, topic: Topic, error: BrokerError | None = None) -> None:
        """A request for several LiteTopics ends with the last of them, or with the first error."""
        for request in topic.requests:
            left = self._open.pop(request, 0) - 1
            if left > 0 and error is None:
                self._open[request] = left
            elif left >= 0:
                self._out.append(Finished(request, error))
        topic.requests = []

    def _begin_change(self, topic: Topic, offset: int | None) -> None:
        """No full sync may begin until `_changed`."""
        self._changing.add(topic)
        self._changes.append((topic, offset))

    def _changed(self, topic: Topic) -> None:
        """A change is done; a full sync may begin after the last one."""
        if not isinstance(topic.work, Look):
            topic.work = None
        self._changing.discard(topic)
        self._begin_full_sync()

    def _ask(self, topic: Topic) -> None:
        self._call([topic], Ask((topic.name,)))

    def _send_change(self, topics: list[Topic], offset: int | None) -> None:
        names = tuple(topic.name for topic in topics)
        self._call(topics, Unsubscribe(names) if offset is None else Subscribe(names, offset))

    def _call(self, target: list[Topic] | _FullSync | _Survey, what: Subscribe | Unsubscribe | Replace | Ask) -> None:
        number = next(self._numbers)
        self._calls[number] = target
        self._out.append(Call(number, what))

    def _alarm(self, topic: Topic, at: float) -> float:
        heapq.heappush(self._alarms, (at, next(self._numbers), topic))
        return at
