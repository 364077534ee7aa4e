"""Who owns which LiteTopic: the takeover, its doubts and its heals. Sans I/O: what the user wants, what the broker
says and the clock go in, calls to the broker and news for the user come out. `topic` has the story of one of them.

The newest subscriber owns a LiteTopic. Three things make that hard:
- The broker's notice to a loser and its answers come on different streams: a notice may be older than the receiver's
  own last takeover. So a notice is a doubt, and the broker is asked who is subscribed.
- A full sync that was on its way may put an evicted owner back beside the new one, so the broker may list both.
- Wake-ups, acknowledgements and, with a link, messages get lost. So what should have come is claimed again.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Collection, Iterable, Mapping

from litevoice_broker.errors import BrokerError
from litevoice_broker.lite import commands as do
from litevoice_broker.lite.changes import Change, Changes
from litevoice_broker.lite.full_sync import Gate, Postponed, Survey
from litevoice_broker.lite.links import STOOD_STILL, Links
from litevoice_broker.lite.outlet import Outlet
from litevoice_broker.lite.requests import Requests
from litevoice_broker.lite.topic import Claim, Heal, Leave, Look, Stage, Todo, Topic

HEALS_AT_ONCE = 32
BUSY_SECONDS = 1.0
DOUBT_SECONDS = (0.2, 0.4)
"""Longer than a takeover takes (p99 101 ms); not the same for two that are in doubt about one another."""


class Ownership:
    """All LiteTopics of one client under one parent topic. Each input may change `take` and `wake_at`; the `links` have
    inputs of their own."""

    def __init__(self, me: str, pause: Callable[[float, float], float] = random.uniform) -> None:
        """`me`: the client's id; `pause`: a number of seconds between two."""
        self._me = me
        self._pause = pause
        self._topics: dict[str, Topic] = {}
        self._requests = Requests()
        self._outlet = Outlet()
        self._changes = Changes()
        self._alarms: list[tuple[float, int, Topic]] = []
        self._gate = Gate()
        self._busy_until = 0.0
        self._healing: set[Topic] = set()
        self._to_heal: dict[Topic, None] = {}  # in order
        self.links = Links(me, self._topics, self._gate, self._outlet, pause)

    # --- out

    def take(self) -> list[do.Command]:
        """What is to be done since the last time."""
        for change in self._changes.begin():
            self._outlet.call(change, change.what)
        return self._outlet.take()

    @property
    def wake_at(self) -> float | None:
        return self._alarms[0][0] if self._alarms else None

    @property
    def idle(self) -> bool:
        """Nothing is under way; what is only due later does not count."""
        return not self._outlet.calls and not any(topic.work or topic.retry_at for topic in self._topics.values())

    def __len__(self) -> int:
        return sum(topic.wanted for topic in self._topics.values())

    def get(self, name: str) -> Topic | None:
        """None when it is not owned."""
        topic = self._topics.get(name)
        return topic if topic is not None and topic.wanted else None

    # --- what the user wants; requests end with `Finished`

    def begin(self, names: Iterable[str], now: float) -> int:
        """For LiteTopics that are new, from position 0; owned ones stay as they are. All of them, or none."""
        request = self._outlet.number()
        for topic in [self.get(name) or self._wish(name, 0, request, fresh=True) for name in dict.fromkeys(names)]:
            if topic.taking:
                self._wait_for(topic, request, now)
        if request not in self._requests:
            self._outlet.finish(request)
        return request

    def take_over(self, name: str, position: int, now: float) -> int:
        """Whoever owns it now. Not owned when it fails."""
        request = self._outlet.number()
        return self._wait_for(self._wish(name, position, request, fresh=False), request, now)

    def release(self, name: str, now: float) -> int | None:
        """None when there is nothing to wait for."""
        topic = self.get(name)
        if topic is None:
            return None
        self._lose(topic)
        return self._wait_for(topic, self._outlet.number(), now)

    def cancel(self, request: int, now: float) -> None:
        """The user does not wait for its takeover any more, and does not want it; a resumed one is paused again."""
        for topic in self._requests.topics(request):
            if topic.taking:
                self._lose(topic)
                self._go_on(topic, now)
            elif topic.resuming:
                topic.pause_again()

    def yield_to_others(self, name: str, now: float) -> None:
        """A takeover that is not done goes no further: its last step would come after somebody else's."""
        topic = self.get(name)
        if topic is not None and topic.taking and not topic.fresh:
            self._lose(topic)
            self._go_on(topic, now)
        elif topic is not None:
            topic.yields = True

    def pause_delivery(self, name: str) -> None:
        topic = self.get(name)
        if topic is not None and not topic.paused:
            topic.paused = True
            topic.cancel_timers()

    def resume_delivery(self, name: str, now: float) -> int | None:
        """None when there is nothing to wait for; paused again when it fails."""
        topic = self.get(name)
        return self._wait_for(topic, self._outlet.number(), now) if topic is not None and topic.resume() else None

    # --- what the broker says

    def message(self, name: str, position: int, now: float) -> do.Fate:
        topic = self.get(name)
        fate = topic.offer(position, now) if topic is not None else do.Fate.HAND_BACK
        if topic is not None and fate is do.Fate.WAIT:
            self._set_alarm(topic)
        if topic is not None and isinstance(topic.work, Claim) and topic.work.came(position):
            self._answered(topic, None, now)
        return fate

    def claiming(self, name: str) -> bool:
        """Its claim is not over: `Claimed` will tell."""
        topic = self.get(name)
        return topic is not None and isinstance(topic.work, Claim)

    def busy(self, now: float) -> None:
        """The broker handed out as much as it can at once: more waits."""
        self._busy_until = now + BUSY_SECONDS

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
                topic.wants_heal(how)
                self._go_on(topic, now)

    def answered(self, number: int, answer: do.Answer, now: float) -> None:
        """A call's answer: an error; the subscribers for an `Ask`; None for done."""
        match self._outlet.calls.pop(number):
            case Gate():
                self._full_sync_done(answer, now)
            case Survey() as survey:
                self._surveyed(survey, answer, now)
            case Change() as change:
                self._changes.end(change)
                if isinstance(answer, BrokerError) and answer.retryable:
                    self.links.lost(now)
                for topic in change.topics:
                    self._answered(topic, answer, now)
            case topics:
                for topic in topics:
                    self._answered(topic, answer, now)

    # --- the clock, and standing still

    def stood_still(self, now: float) -> None:
        """This process did: whoever was taking over may have been overtaken meanwhile. What is still ours is asked
        before the next full sync, also when one has waited since before: that one fails."""
        for topic in self._topics.values():
            topic.stood_still()
        for call in self._outlet.calls.values():
            if isinstance(call, Survey):
                call.old = True
        requests, held = self._gate.postpone()
        for topic, step in self._changes.take_back():
            if isinstance(topic.work, Claim):
                topic.work.steps.insert(0, step)
                self._answered(topic, None, now)
            else:
                self._changes.add(topic, step)
        self._go_on_after(requests, held, Postponed(STOOD_STILL), now)

    def give_way(self, now: float) -> None:
        """To be called now and then: a full sync that has waited since the last time lets new changes through, and
        fails with Postponed."""
        if self._gate.stuck():
            self._reopen(Postponed("a subscription change has no answer yet"), now)

    def tick(self, now: float) -> None:
        """The clock alone; harmless at any time."""
        while self._alarms and self._alarms[0][0] <= now:
            topic = heapq.heappop(self._alarms)[2]
            topic.alarm_at = None
            if topic.gap_lasts(now, self._busy_until):
                if topic.is_cut:
                    self._fail(topic, BrokerError(f"position {topic.order.next_position} does not come"))
                else:
                    self._outlet.tell(do.Healing(topic.name))
            match topic.work:
                case Look() as look if look.has_waited(now):
                    self._outlet.call([topic], do.Ask((topic.name,)))
                case Claim(until=float(until)) if until <= now:
                    self._answered(topic, None, now)
            self._go_on(topic, now)

    # --- a LiteTopic: wished for, claimed, doubted, healed, left

    def _wish(self, name: str, position: int, request: int, *, fresh: bool) -> Topic:
        topic = self._topics.setdefault(name, Topic(name))
        if not topic.wanted:
            self._finish(topic)
        topic.wish(request, position, fresh=fresh)
        match topic.work:
            case Look(stage=stage) if stage is Stage.WAITING or self._gate.holds(topic):
                topic.work = None
        return topic

    def _go_on(self, topic: Topic, now: float) -> None:
        """Begins what comes next, when nothing is under way."""
        self._set_alarm(topic)
        if topic.work is not None or topic.retry_at is not None:
            return
        todo = topic.todo
        healing = topic.wanted and not topic.for_user and not topic.noticed and todo is not Todo.NOTHING
        if healing and topic not in self._healing:
            if len(self._healing) >= HEALS_AT_ONCE:
                self._to_heal[topic] = None
                return
            self._healing.add(topic)
        if todo in (Todo.CLAIM, Todo.LEAVE) and not self._gate.enter(topic):
            return
        match todo:
            case Todo.CLAIM:
                if healing:
                    topic.order.heals += 1
                topic.work, topic.claimed_in = topic.claim(), self.links.losses
                self._changes.add(topic, topic.work.steps.pop(0))
            case Todo.LEAVE:
                topic.work = Leave()
                self._changes.add(topic, None)
            case Todo.LOOK:
                topic.work = Look(topic.number, notice=topic.noticed)
                topic.noticed = False
                self._outlet.call([topic], do.Ask((topic.name,)))
            case Todo.FORGET:
                if self._topics.get(topic.name) is topic:
                    del self._topics[topic.name]
                self._finish(topic)
        if todo in (Todo.FORGET, Todo.NOTHING):
            if topic.paused:
                topic.heal = None
            self._healed(topic, now)

    def _answered(self, topic: Topic, answer: do.Answer, now: float) -> None:
        error = answer if isinstance(answer, BrokerError) else None
        match topic.work:
            case Claim() as claim:
                current = topic.wanted and claim.number == topic.number
                goes_on = error is None and current and claim.steps
                if goes_on and not topic.is_overtaken(claim):
                    if claim.awaits_first(now):
                        self._set_alarm(topic)
                    else:
                        self._changes.add(topic, claim.steps.pop(0))
                    return
                self._changed(topic)
                if error is not None:
                    topic.claimed_in = None
                if goes_on:
                    topic.break_off(claim)
                    self._healed(topic, now)
                elif current and error is None:
                    if topic.for_user:
                        self._finish(topic)
                    topic.claimed(now)
                    self._healed(topic, now)
                elif current and error is not None and topic.for_user:
                    if topic.gives_up(claim, error, now):
                        self._give_up(topic, error, now)
                elif current and error is not None:
                    if topic.gives_up(claim, error, now):
                        self._fail(topic, error)
                    self._healed(topic, now)  # until it tries again, others heal
            case Leave():
                self._changed(topic)
                topic.subscribed = False  # if the broker could not be told now, the next full sync tells it
            case Look() as look:
                self._looked(topic, look, answer, now)
        self._go_on(topic, now)

    def _give_up(self, topic: Topic, error: BrokerError, now: float) -> None:
        together = self._requests.with_others(topic)
        self._finish(topic, error)
        if topic.resuming:
            topic.pause_again()
            return
        for other in together:  # all of them, or none
            self._lose(other)
            self._go_on(other, now)

    def _looked(self, topic: Topic, look: Look, answer: do.Answer, now: float) -> None:
        stepped_out = look.stage is Stage.STEPPING_OUT
        listed = answer.get(topic.name) if isinstance(answer, Mapping) else None
        ours = topic.whose(look, listed.subscribers, self._me) if listed is not None else None
        if stepped_out:
            self._changed(topic)
        if not topic.wanted or look.number != topic.number:
            topic.work = None
        elif stepped_out and not isinstance(answer, BrokerError):
            look.stage, look.until = Stage.WAITING, now + self._pause(*DOUBT_SECONDS)
        elif listed is not None and ours is None:
            look.missed = topic.subscribed and not listed.subscribers and topic.heal is not Heal.VERIFY
            topic.subscribed = topic.synced = False  # else the next full sync puts us back
            topic.withheld = topic.paused
            look.stage = Stage.STEPPING_OUT
            self._step_out(topic)
        elif listed is not None and topic.lacks_nothing(look, listed, self._me):
            topic.keeps_waiting(now)
        elif not topic.keeps(look, ours, now, lost=topic.claimed_in != self.links.losses):
            self._evict(topic, intercepted=look.stage is not Stage.ASKED)

    def _step_out(self, topic: Topic) -> None:
        if self._gate.enter(topic):
            self._changes.add(topic, None)

    def _fail(self, topic: Topic, error: BrokerError) -> None:
        """It cannot go on."""
        self._lose(topic)
        self._outlet.tell(do.Failed(topic.name, error))

    def _evict(self, topic: Topic, *, intercepted: bool = False) -> None:
        """Somebody else has it, and the broker has taken us out, or we have stepped out (`intercepted`)."""
        topic.subscribed = topic.synced  # by a full sync that came after what we know
        self._lose(topic)
        self._outlet.tell(do.Evicted(topic.name, intercepted))

    def _lose(self, topic: Topic) -> None:
        """It is not ours from this moment; who waited for a takeover learns it."""
        topic.give_up()
        self._finish(topic)
        if self._gate.names(topic):
            topic.subscribed = True

    def _healed(self, topic: Topic, now: float) -> None:
        if topic in self._healing:
            self._healing.remove(topic)
            while self._to_heal and len(self._healing) < HEALS_AT_ONCE:
                self._to_heal.pop(following := next(iter(self._to_heal)))
                self._go_on(following, now)

    def _changed(self, topic: Topic) -> None:
        """A change is done; a full sync may begin after the last one."""
        if isinstance(topic.work, Claim):
            self._outlet.tell(do.Claimed(topic.name))
        if not isinstance(topic.work, Look):
            topic.work = None
        self._gate.leave(topic)
        self.links.begin_full_sync()

    # --- what follows from surveys and full syncs

    def _surveyed(self, survey: Survey, answer: do.Answer, now: float) -> None:
        if not self.links.goes_on(survey):
            return
        for topic, heal in self.links.verdicts(survey, answer):
            if heal is not None:
                topic.wants_heal(heal)
            else:
                self._evict(topic)
            self._go_on(topic, now)
        self.links.ask_on(survey)

    def _full_sync_done(self, answer: do.Answer, now: float) -> None:
        began = self.links.sync_began
        error = answer if isinstance(answer, BrokerError) else None
        self._reopen(error, now)
        self.links.full_sync_done(began, error, now)

    def _reopen(self, error: BrokerError | None, now: float) -> None:
        """What the full sync has held up goes on, then the next full sync."""
        requests, held = self._gate.reopen()
        self._go_on_after(requests, held, error, now)
        self._gate.shut()
        self.links.begin_full_sync()

    def _go_on_after(self, requests: list[int], held: list[Topic], error: BrokerError | None, now: float) -> None:
        for topic in held:
            if isinstance(topic.work, Look) and topic.work.stage is Stage.STEPPING_OUT:
                self._step_out(topic)
            else:
                topic.asks_anew()
                self._go_on(topic, now)
        for request in requests:
            self._outlet.finish(request, error)

    def _wait_for(self, topic: Topic, request: int, now: float) -> int:
        self._requests.wait(topic, request)
        self._go_on(topic, now)
        return request

    def _finish(self, topic: Topic, error: BrokerError | None = None) -> None:
        ended = self._requests.end(topic, failed=error is not None)
        for request in ended:
            self._outlet.finish(request, error)

    def _set_alarm(self, topic: Topic) -> None:
        """Also when it has one that is later; an earlier one does no harm."""
        at = topic.wake_at
        if at is not None and (topic.alarm_at is None or at < topic.alarm_at):
            topic.alarm_at = at
            heapq.heappush(self._alarms, (at, self._outlet.number(), topic))
