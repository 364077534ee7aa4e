"""One LiteTopic that this client owns, takes over or leaves: what is known of it, what an event means to it, and what
is to be done with it next. No I/O: `ownership` keeps it, and has the broker told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.commands import Fate, Listed
from litevoice_broker.lite.order import VERIFY_SECONDS, PositionOrder, Verdict, other_position

FIRST_SECONDS = 0.1
"""How long a takeover waits for what its first step hands out. It takes milliseconds, and on a busy machine tens of
them; nothing comes if the log is empty or cut, or if the last owner had acknowledged up to there and not further."""
CLAIM_ATTEMPTS = 4
CLAIM_RETRY_SECONDS = 0.1
HEALS_IN_VAIN = 12
"""A position that does not come after so many heals, in about 45 s, is gone: the log was cut."""
QUESTIONS, ASK_AGAIN_SECONDS = 5, 0.5
"""After a link or the broker was lost, somebody else may have what a heal would take from him, and no notice tells. So
it is asked so often, so far apart, before silence counts as leave; an answer is waited for 2 s."""
HEALS_REFUSED = 6
"""A heal that the broker refuses for good (a quota, a right that was taken away) is tried again so often, in 6 s."""


class Todo(Enum):
    """What comes next for a LiteTopic that nothing is under way for."""

    CLAIM = auto()
    """Subscribe: this client is the only subscriber then, and delivery begins at the next position."""
    LOOK = auto()
    """Ask the broker whose it is."""
    LEAVE = auto()
    """Unsubscribe."""
    FORGET = auto()
    NOTHING = auto()


class Heal(Enum):
    """A message may have got lost on the way to us: the LiteTopic is claimed again at the next position."""

    VERIFY = auto()
    """Perhaps nothing: like `ASK`, but not if all that its log has has come, and nobody else is there."""
    ASK = auto()
    """First ask whose it is: to the broker a heal looks like any takeover, and the newest wins."""
    CLAIM = auto()
    """It is known that nobody else has it."""


@dataclass(slots=True)
class Claim:
    """One attempt to become the owner.

    A poll that is under way when the last reset removes the block blocks the LiteTopic anew when it ends, for as long
    as its messages are invisible. So what the first subscription hands out is waited for, and acknowledged when the
    claim is over: behind it no other poll gets anything.

    Attributes:
        number: of the user's wish it serves.
        steps: offsets that are still to be subscribed at, None where to unsubscribe.
        first: the position that the first subscription hands out; None: nothing to wait for.
        until: for so long at most; None before the subscription is answered.
        told: an attempt before it, at the same takeover, has told everybody else to leave.
        old: this process has stood still since it began.
    """

    number: int
    steps: list[int | None]
    first: int | None = None
    until: float | None = None
    told: bool = False
    old: bool = False

    def awaits_first(self, now: float) -> bool:
        """Whether the next step has to wait, `until` then; asked again, it has waited."""
        if self.first is None or len(self.steps) != 2:
            return False
        if self.until is None:
            self.until = now + FIRST_SECONDS
            return True
        self.first = self.until = None
        return False

    def came(self, position: int) -> bool:
        """Whether the next step waits for this message."""
        if position != self.first or len(self.steps) > 2:
            return False
        waits = self.until is not None
        self.first = self.until = None
        return waits

    def has_told(self, *, failed: bool = False) -> bool:
        """Its first subscription has told everybody else to leave. `failed`: the step before the next one."""
        return self.told or len(self.steps) < (2 if failed else 3)


class Stage(Enum):
    ASKED = auto()
    STEPPING_OUT = auto()
    WAITING = auto()
    """Until whoever else was taking over is done."""
    ASKED_AGAIN = auto()


@dataclass(slots=True)
class Look:
    """A question whose the LiteTopic is; `notice`: because the broker said that it is somebody else's; `old`: this
    process has stood still since it was asked, and somebody may have come after the answer; `missed`: the broker did
    not list us before we stepped out, which is no wonder where it has forgotten us."""

    number: int
    notice: bool
    stage: Stage = Stage.ASKED
    until: float = 0.0
    old: bool = False
    missed: bool = False

    def has_waited(self, now: float) -> bool:
        """It is time to ask again."""
        if self.stage is not Stage.WAITING or self.until > now:
            return False
        self.stage, self.old = Stage.ASKED_AGAIN, False
        return True


@dataclass(slots=True)
class Leave:
    """An unsubscribe call is under way."""


@dataclass(slots=True, eq=False)
class Topic:
    """`number` counts the user's wishes over all LiteTopics: an answer to a question from before the last one says
    nothing."""

    name: str
    order: PositionOrder = field(default_factory=lambda: PositionOrder(0))
    number: int = 0
    wanted: bool = True
    """The user wants it, and nobody has taken it from us."""
    taking: bool = False
    """The user's takeover is not done yet."""
    fresh: bool = False
    """It is new: nobody can own it and nothing waits in it, so one subscription is enough."""
    resuming: bool = False
    paused: bool = False
    yields: bool = False
    """The user takes what comes, but nothing is claimed again: a heal asks, and leaves if somebody else is there."""
    withheld: bool = False
    """Something came while paused and waits at the broker."""
    subscribed: bool = False
    """The broker may know us as subscriber."""
    synced: bool = False
    """A full sync has named it since its last claim, and may have put us back beside a newer owner."""
    claimed_in: int | None = None
    """How often broker or link had been lost when its last claim began."""
    noticed: bool = False
    """The broker said that somebody else has taken it over: now, or before our last takeover."""
    heal: Heal | None = None
    unanswered: int = 0
    """Questions before a heal, since the last answer or claim."""
    asks_first: bool = False
    """Its takeover was broken off, and may come too late: only if nobody else is there it begins again."""
    work: Claim | Look | Leave | None = None
    attempts: int = 0
    told: bool = False
    """One of them that failed, or was broken off, had told everybody else to leave."""
    refused: int = 0
    """Heals since the last claim that worked; what may succeed later does not count."""
    requests: list[int] = field(default_factory=list)
    """The user's, which end with the next claim or, when it is not wanted any more, with leaving."""
    last_message: float = 0.0
    gap_at: float | None = None
    verify_at: float | None = None
    verified: int | None = None
    """How often a takeover that brought nothing was looked at; None: nothing is to be verified."""
    retry_at: float | None = None
    alarm_at: float | None = None
    """When the clock is looked at next for it."""
    unlisted: int | None = None
    """After we stood still, a broker that has forgotten us listed nobody: so long was its log then."""

    @property
    def todo(self) -> Todo:
        if not self.wanted:
            return Todo.LEAVE if self.subscribed else Todo.FORGET
        if self.for_user:
            return Todo.LOOK if self.asks_first else Todo.CLAIM
        if self.noticed:
            return Todo.LOOK
        if self.heal is None or self.paused:
            return Todo.NOTHING
        return Todo.LOOK if self.heal is not Heal.CLAIM or self.yields else Todo.CLAIM

    @property
    def for_user(self) -> bool:
        """The claim under way is one that the user waits for."""
        return self.taking or self.resuming

    @property
    def wake_at(self) -> float | None:
        """When it wants to be looked at next."""
        match self.work:
            case Look(stage=Stage.WAITING, until=until) | Claim(until=until):
                pass
            case _:
                until = None
        return min((at for at in (self.gap_at, self.verify_at, self.retry_at, until) if at is not None), default=None)

    # --- the user wants it

    def wish(self, number: int, position: int, *, fresh: bool) -> None:
        """To own it from `position` on, whatever was before."""
        self.give_up()
        self.number, self.wanted, self.taking, self.fresh = number, True, True, fresh
        self.attempts, self.told = 0, False
        self.order.restart(position)

    # --- claimed

    def claim(self) -> Claim:
        """Two resets, the first to another offset: the broker ignores a reset to the committed offset and leaves the
        LiteTopic blocked behind the last owner's un-acknowledged message. Before each of them this client is not
        subscribed, because the broker tells *every* subscriber of the group to leave, the caller included, and such a
        notice could not be told from a real eviction."""
        position = self.order.next_position
        self.order.restart()
        first = other_position(position)
        steps: list[int | None] = [position] if self.fresh else [first, None, position]
        if self.subscribed or self.fresh:
            steps.insert(0, None)
        self.heal, self.unanswered = None, 0
        self.subscribed, self.synced = True, False
        return Claim(self.number, steps, first if not self.fresh and first < position else None, told=self.told)

    def claimed(self, now: float) -> None:
        """The wake-up for what waits in the log can get lost while the last owner still acknowledges: that something
        comes is verified."""
        self.refused, self.told = 0, False
        if self.for_user:
            self.verified = None if self.fresh else 0
            self.taking = self.fresh = self.resuming = False
        self._verify_later(now)

    def _verify_later(self, now: float) -> None:
        if self.verified is not None and self.verify_at is None and not self.paused:
            if self.verified < len(VERIFY_SECONDS):
                self.verify_at = now + VERIFY_SECONDS[self.verified]
            else:
                self.verified = None

    def stood_still(self) -> None:
        """What is known of it has grown old."""
        match self.work:
            case Claim() | Look() as work:
                work.old = not self.fresh
            case _:
                self.asks_first |= self.resuming or (self.taking and self.told)
        self.asks_anew()

    def is_overtaken(self, claim: Claim, *, failed: bool = False) -> bool:
        """Somebody else may have taken over, while we stood still or because we are told so, and a claim must not take
        that back: a heal, or a resumption, of what was ours already; a takeover only when it has told everybody to
        leave, because until then whoever is listed may have been there before it."""
        if self.taking:
            return claim.old and claim.has_told(failed=failed)
        return claim.old or self.noticed

    def break_off(self, claim: Claim) -> None:
        """Before its next step. Whose it is will be asked, and only then is it healed, or taken over."""
        self.subscribed = claim.steps[0] is None
        self.told = claim.has_told()
        self.claimed_in = None
        self.asks_first = self.for_user
        self.heal = Heal.CLAIM if self.noticed else Heal.ASK

    def asks_anew(self) -> None:
        """What was known has grown old while a heal was held up, or we stood still: somebody may have come since."""
        if self.heal is Heal.CLAIM:
            self.heal = Heal.ASK

    def gives_up(self, claim: Claim, error: BrokerError, now: float) -> bool:
        """A claim failed; unless it is given up, it will be tried again."""
        self.asks_first = self.for_user and self.is_overtaken(claim, failed=True)
        self.told = claim.has_told(failed=True) and not self.fresh
        if not self.for_user:
            self.heal = Heal.ASK  # another try may come over another link, after an eviction nobody told us of
            self.retry_at = now + self.order.gap_wait_seconds()
            self.refused += not error.retryable
            return self.refused >= HEALS_REFUSED
        self.attempts += 1
        if not error.retryable or self.attempts >= CLAIM_ATTEMPTS:
            return True
        self.retry_at = now + CLAIM_RETRY_SECONDS * 2 ** (self.attempts - 1)
        return False

    # --- messages, and what of them got lost

    def offer(self, position: int, now: float) -> Fate:
        if self.in_doubt:
            return Fate.HAND_BACK
        if self.paused:
            self.withheld = True
            return Fate.KEEP
        self.last_message = now
        match self.order.offer(position):
            case Verdict.DELIVER:
                return Fate.DELIVER
            case Verdict.DROP:
                return Fate.ACKNOWLEDGE
            case Verdict.WAIT:
                if self.gap_at is None:
                    self.gap_at = now + self.order.gap_wait_seconds()
                return Fate.WAIT

    def gap_lasts(self, now: float, busy_until: float) -> bool:
        """What the clock means to it; whether a position that is missing did not come by itself. Until `busy_until`
        more waits than comes: that nothing has come yet says nothing."""
        lasts = nothing_came = False
        if self.retry_at is not None and self.retry_at <= now:
            self.retry_at = None
        if self.gap_at is not None and self.gap_at <= now:
            self.gap_at, lasts = None, self.order.gap
        if self.verify_at is not None and self.verify_at <= now < busy_until and not self.order.delivered:
            self.verify_at = busy_until
        elif self.verify_at is not None and self.verify_at <= now:
            self.verify_at, nothing_came = None, not self.order.delivered
            self.verified = self.verified + 1 if self.verified is not None and nothing_came else None
        if lasts or nothing_came:
            self.wants_heal(Heal.ASK if lasts else Heal.VERIFY)
        return lasts

    def wants_heal(self, how: Heal) -> None:
        """What is due already stays as it is, unless nothing is known to have got lost."""
        if self.heal in (None, Heal.VERIFY):
            self.heal = how

    def lacks_nothing(self, look: Look, listed: Listed, me: str) -> bool:
        """Nothing has come because there is nothing, and nobody else is there: a heal would fetch nothing, and could
        undo a takeover that is on its way."""
        if self.heal is not Heal.VERIFY or look.notice or look.stage is not Stage.ASKED:
            return False
        nothing_waits = listed.length is not None and listed.length <= self.order.next_position
        return nothing_waits and set(listed.subscribers) == {me}

    def keeps_waiting(self, now: float) -> None:
        """For the first message since its takeover."""
        self.work = self.heal = None
        self._verify_later(now)

    @property
    def is_cut(self) -> bool:
        """What comes next in its log will never come."""
        return self.order.gap and self.order.heals >= HEALS_IN_VAIN

    def resume(self) -> bool:
        """Whether something was withheld, and is claimed again."""
        if not self.paused:
            return False
        withheld, self.paused, self.withheld = self.withheld, False, False
        if withheld:
            self.resuming, self.attempts = True, 0
        return withheld

    def pause_again(self) -> None:
        """It could not be resumed."""
        self.resuming, self.paused, self.withheld = False, True, True

    # --- in doubt

    @property
    def ignores_notices(self) -> bool:
        """A takeover has not come to its last step: a notice belongs to what it overrides."""
        if not self.taking or self.fresh:
            return False
        return not (isinstance(self.work, Claim) and self.work.number == self.number and not self.work.steps)

    @property
    def in_doubt(self) -> bool:
        """A notice is not looked into yet: what comes may be somebody else's."""
        return self.noticed or (isinstance(self.work, Look) and self.work.notice)

    @property
    def should_be_listed(self) -> bool:
        """If it is ours. Not while it is claimed, which steps out by itself; but while it is asked whose it is, before
        we step out: once we have, the answer from before counts."""
        if isinstance(self.work, Look):
            return self.subscribed or self.work.missed
        return self.work is None

    def whose(self, look: Look, subscribers: Collection[str], me: str) -> bool | None:
        """Who is listed decides whether it is ours. Nobody: after a notice somebody is in the middle of a takeover,
        unless we have stepped out before and not claimed it again yet. Somebody beside us: they have nothing when only
        a full sync of theirs can have put them there.

        None: by who is there when we have stepped out and whoever was taking over is done; if nobody is, it is ours to
        claim again. So when a full sync of ours can have put us there, beside somebody or after a notice (RocketMQ
        5.5.1 lists an evicted client that its full sync has put back, gives it nothing, and repeats the notice with
        each full sync), and when nobody is listed without a notice."""
        if look.stage is Stage.ASKED_AGAIN:
            return not subscribers
        mine, others = me in subscribers, set(subscribers) - {me}
        if not mine and (others or (look.notice and self.subscribed)):
            return False
        if subscribers and not (self.synced and (others or look.notice)):
            return True
        return None

    def keeps(self, look: Look, ours: bool | None, now: float, *, lost: bool) -> bool:
        """`ours` is None when nobody answered: after a notice it is believed, before a heal it is not, unless link or
        broker were `lost` since its last claim: then it is asked again first."""
        self.work, self.asks_first = None, look.old and self.for_user
        if ours is False or (look.notice and not ours):
            return False
        self.unanswered = self.unanswered + 1 if ours is None else 0
        if lost and 0 < self.unanswered < QUESTIONS and not self.for_user and not self.yields:
            self.heal, self.retry_at = Heal.ASK, now + ASK_AGAIN_SECONDS
            return True
        if not look.notice or not (self.subscribed or self.noticed):  # once, after the last notice of several
            self.heal = None if self.yields else Heal.CLAIM
        if look.old:
            self.asks_anew()
        return True

    # --- left

    def give_up(self) -> None:
        """Not ours any more."""
        self.wanted = self.taking = self.fresh = self.resuming = False
        self.paused = self.yields = self.withheld = self.noticed = self.asks_first = False
        self.heal = self.retry_at = self.unlisted = None
        self.cancel_timers()

    def cancel_timers(self) -> None:
        self.gap_at = self.verify_at = self.verified = None
