"""When a full sync may run, and who is asked before and after the first one over a new link. Sans I/O.

A full sync replaces all that this client is subscribed to. So none may run beside a single change; and one that follows
a lost link could put us back beside an owner that has come since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.lite.commands import Ask, Listed, Replace
from litevoice_broker.lite.topic import Heal, Topic

RECENT_SECONDS = 5.0
"""What came so short a time before a link broke may have been followed by what the old proxy took for us, and lost."""
ASKED_AT_ONCE = 100
"""LiteTopics whose subscribers are asked for at a time; 5,000 take 1.5 to 2 s."""
ASKED_PER_SECOND, SETTLED_PER_SECOND = 2000, 500
"""At most, of one client, before the first full sync over a link and after it."""


@dataclass(slots=True)
class _FullSync:
    """`requests` end with it; `call` is None while it waits for changes to end."""

    link: int
    requests: list[int]
    call: Replace | None = None
    seen_waiting: bool = False


class Postponed(BrokerUnavailable):
    """A full sync that gave way."""


class Gate:
    """Lets changes through, or one full sync: it waits until no change is under way, and holds up new ones. Not for
    long (`stuck`): one call that the broker does not answer must not hold up every new session."""

    def __init__(self) -> None:
        self._changing: set[Topic] = set()
        self._held: dict[Topic, None] = {}  # in order
        self._sync: _FullSync | None = None
        self._next: _FullSync | None = None

    def enter(self, topic: Topic) -> bool:
        """Whether its change may begin now; if not, `reopen` returns it."""
        if self._sync is None:
            self._changing.add(topic)
        else:
            self._held[topic] = None
        return self._sync is None

    def leave(self, topic: Topic) -> None:
        """Its change is done."""
        self._changing.discard(topic)

    def holds(self, topic: Topic) -> bool:
        return topic in self._held

    def names(self, topic: Topic) -> bool:
        """A full sync that names it is on its way."""
        return self._sync is not None and self._sync.call is not None and topic.name in self._sync.call.names

    def request(self, request: int, link: int) -> None:
        """A full sync, or a part in one that has not begun."""
        if self._sync is None:
            self._sync = _FullSync(link, [request])
        elif self._next is None and self._sync.call is None and self._sync.link == link:
            self._sync.requests.append(request)
        elif self._next is None:
            self._next = _FullSync(link, [request])
        else:
            self._next.link = link
            self._next.requests.append(request)

    def begin(self, topics: Iterable[Topic]) -> Replace | None:
        """The full sync that can run now. It names only what a change has subscribed before: else a takeover's own
        notice would look like an eviction."""
        if self._sync is None or self._sync.call is not None or self._changing:
            return None
        owned = [topic for topic in topics if topic.wanted and topic.subscribed]
        for topic in owned:
            topic.synced = True
        self._sync.call = Replace(tuple(topic.name for topic in owned), self._sync.link)
        return self._sync.call

    def stuck(self) -> bool:
        """Whether the full sync that waits has been waiting at the last call already."""
        if self._sync is None or self._sync.call is not None:
            return False
        seen, self._sync.seen_waiting = self._sync.seen_waiting, True
        return seen

    def reopen(self) -> tuple[list[int], list[Topic]]:
        """A full sync is done, or gives way: the requests that end with it; what it held up, and goes before the next
        (`shut`)."""
        requests, held = self._sync.requests if self._sync is not None else [], list(self._held)
        self._sync, self._held = None, {}
        return requests, held

    def postpone(self) -> tuple[list[int], list[Topic]]:
        """Nothing that waits comes to its turn: like `reopen`, but a full sync that is on its way goes on."""
        later, self._next = self._next.requests if self._next is not None else [], None
        if self._sync is None or self._sync.call is not None:
            return later, []
        requests, held = self.reopen()
        return requests + later, held

    def shut(self) -> None:
        self._sync, self._next = self._next, None


@dataclass(slots=True)
class Survey:
    """Who is subscribed to what, after a link was lost.

    Before the new link's first full sync one question tells what the broker still lists us for; all others are asked
    for one by one, because it could put us back beside an owner that has come since. What comes after it (`settles`)
    has time: that somebody came between question and full sync is rare, and a gap in the messages tells it as well.

    `numbers`: of the wishes that it is about; `left`: whose subscribers are not asked for yet; `asked`: that are.
    """

    request: int
    link: int
    numbers: Mapping[str, int]
    settles: bool
    recent: Collection[str] = ()
    left: list[str] = field(default_factory=list)
    asked: Collection[str] = ()
    is_alone: bool = False
    remembers: bool = False
    """The broker has not been away: it lists us for everything that is ours."""
    old: bool = False
    """This process has stood still since it began: the full sync that would follow must be asked for anew."""

    @classmethod
    def alone(cls, request: int, link: int, topics: Iterable[Topic]) -> Survey:
        """No full sync follows: the link was there, but nobody listened."""
        survey = cls.before_full_sync(request, link, topics)
        survey.is_alone = True
        return survey

    @classmethod
    def before_full_sync(cls, request: int, link: int, topics: Iterable[Topic]) -> Survey:
        """Notices that came while there was no link are lost, but the broker still knows who subscribed."""
        return cls(request, link, {topic.name: topic.number for topic in topics if topic.wanted}, False)

    @classmethod
    def after_full_sync(cls, request: int, link: int, topics: Iterable[Topic], lost_at: float) -> Survey:
        """What came a moment before the last link broke (`lost_at`), or later, is healed. And the full sync may have
        put us beside one who has come since the question before it, and could evict nobody then."""
        owned = [t for t in topics if t.wanted and not t.paused and not t.ignores_notices]
        recent = {topic.name for topic in owned if lost_at - topic.last_message < RECENT_SECONDS}
        others = [topic.name for topic in owned if topic.name not in recent]
        return cls(request, link, {topic.name: topic.number for topic in owned}, True, recent, others)

    def ask(self, pause: Callable[[float, float], float]) -> Ask | None:
        """The next question, if any: first, and at once, for all that is recent, then for some at a time. `pause`: a
        number of seconds between two; gateways that lost the same broker do not ask it all at once."""
        if self.recent and not self.asked:
            self.asked = tuple(sorted(self.recent))
            return Ask(tuple(self.asked))
        self.asked, self.left = tuple(self.left[:ASKED_AT_ONCE]), self.left[ASKED_AT_ONCE:]
        per_second = SETTLED_PER_SECOND if self.settles else ASKED_PER_SECOND
        return Ask(tuple(self.asked), pause(0.0, 2 * len(self.asked) / per_second)) if self.asked else None

    def verdicts(
        self, me: str, topics: Mapping[str, Topic], known: Mapping[str, Listed]
    ) -> Iterator[tuple[Topic, Heal | None]]:
        """What of the asked is to be healed, and how; None: evicted. Ours if nobody else is listed; if somebody is
        listed beside us, a full sync has put one of us back. If nobody at all is, whoever has taken it has left since,
        as far as the broker remembers; if it has forgotten us, only the log can tell. When nobody answers, the others
        are not asked for any more, and what is to be healed asks by itself."""
        if not known:
            self.left = []
        for name in self.asked:
            topic, listed = topics.get(name), known.get(name)
            subscribers = listed.subscribers if listed is not None else ()
            if topic is None or not topic.wanted or topic.number != self.numbers[name] or topic.ignores_notices:
                continue
            others = set(subscribers) - {me}
            nobody = self.remembers and name in known and not subscribers
            if (nobody and topic.should_be_listed) or (others and me not in subscribers):
                topic.synced &= self.settles or self.is_alone  # else the full sync that follows takes us out
                yield topic, None
            elif self.is_alone and listed is not None and not subscribers:
                topic.unlisted = listed.length
                more = (listed.length or 0) > topic.order.next_position
                if more and topic.should_be_listed and not topic.yields:
                    yield topic, Heal.VERIFY  # who has had it may have acknowledged that: it does not come by itself
            elif self.settles and (others or name in self.recent):
                yield topic, Heal.ASK if others or listed is None else Heal.CLAIM
