"""What is known of one LiteTopic that this client owns, takes over or leaves, and what is to be done with it next.

No I/O and no clock: `ownership` keeps it, and has the broker told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from litevoice_broker.lite.order import PositionOrder, other_position


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

    ASK = auto()
    """First ask whose it is: to the broker a heal looks like any takeover, and the newest wins."""
    CLAIM = auto()
    """It is known that nobody else has it."""


@dataclass(slots=True)
class Claim:
    """One attempt to become the owner. `number`: of the user's wish it serves; `steps`: offsets that are still to be
    subscribed at, None where to unsubscribe."""

    number: int
    steps: list[int | None]


class Stage(Enum):
    ASKED = auto()
    STEPPING_OUT = auto()
    WAITING = auto()
    """Until whoever else was taking over is done."""
    ASKED_AGAIN = auto()


@dataclass(slots=True)
class Look:
    """A question whose the LiteTopic is; `notice`: because the broker said that it is somebody else's."""

    number: int
    notice: bool
    stage: Stage = Stage.ASKED
    until: float = 0.0


@dataclass(slots=True)
class Leave:
    """An unsubscribe call is under way."""


@dataclass(slots=True, eq=False)
class Topic:
    """`number` counts the user's wishes over all LiteTopics: an answer to a question from before the last one says
    nothing."""

    name: str
    order: PositionOrder
    number: int = 0
    wanted: bool = True
    """The user wants it, and nobody has taken it from us."""
    taking: bool = False
    """The user's takeover is not done yet."""
    fresh: bool = False
    """It is new: nobody can own it and nothing waits in it, so one subscription is enough."""
    resuming: bool = False
    paused: bool = False
    withheld: bool = False
    """Something came while paused and waits at the broker."""
    subscribed: bool = False
    """The broker may know us as subscriber."""
    synced: bool = False
    """A full sync has named it since its last claim, and may have put us back beside a newer owner."""
    noticed: bool = False
    """The broker said that somebody else has taken it over: now, or before our last takeover."""
    heal: Heal | None = None
    work: Claim | Look | Leave | None = None
    attempts: int = 0
    requests: list[int] = field(default_factory=list)
    """The user's, which end with the next claim or, when it is not wanted any more, with leaving."""
    last_message: float = 0.0
    gap_at: float | None = None
    verify_at: float | None = None
    verified: int | None = None
    """How often a takeover that brought nothing was repeated; None: nothing is to be verified."""
    retry_at: float | None = None

    @property
    def todo(self) -> Todo:
        if not self.wanted:
            return Todo.LEAVE if self.subscribed else Todo.FORGET
        if self.taking or self.resuming:
            return Todo.CLAIM
        if self.noticed:
            return Todo.LOOK
        if self.heal is None or self.paused:
            return Todo.NOTHING
        return Todo.LOOK if self.heal is Heal.ASK else Todo.CLAIM

    @property
    def for_user(self) -> bool:
        """The claim under way is one that the user waits for."""
        return self.taking or self.resuming

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

    def claim(self) -> Claim:
        """Two resets, the first to another offset: the broker ignores a reset to the committed offset and leaves the
        LiteTopic blocked behind the last owner's un-acknowledged message. Before each of them this client is not
        subscribed, because the broker tells *every* subscriber of the group to leave, the caller included, and such a
        notice could not be told from a real eviction."""
        position = self.order.next_position
        self.order.restart()
        steps: list[int | None] = [position] if self.fresh else [other_position(position), None, position]
        if self.subscribed or self.fresh:
            steps.insert(0, None)
        self.heal = None
        self.subscribed, self.synced = True, False
        return Claim(self.number, steps)

    def wish(self, number: int, *, fresh: bool) -> None:
        """The user wants to own it from the next position on, whatever was before."""
        self.give_up()
        self.number, self.wanted, self.taking, self.fresh = number, True, True, fresh
        self.attempts = 0

    def give_up(self) -> None:
        """Not ours any more."""
        self.wanted = self.taking = self.fresh = self.resuming = False
        self.paused = self.withheld = self.noticed = False
        self.heal = self.retry_at = None
        self.cancel_timers()

    def cancel_timers(self) -> None:
        self.gap_at = self.verify_at = self.verified = None
