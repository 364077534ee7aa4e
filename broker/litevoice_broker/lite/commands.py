"""What ownership wants done: calls to the broker, and news for the user."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from litevoice_broker.errors import BrokerError


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Evicts whoever is subscribed; `offset`: where delivery begins, the same for all of them."""

    names: tuple[str, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    """A full sync: exactly `names` from now on, over this `link` and no other. It evicts nobody, renews the lease, and
    brings back what expiry or a restart took."""

    names: tuple[str, ...]
    link: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Answered with what the broker lists, by name; a name that is left out: not known. `pause`: seconds to wait
    before."""

    names: tuple[str, ...]
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class AskOwn:
    """One question for all that this client is subscribed to, answered like `Ask`; who is beside it is not told."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the broker knows of a LiteTopic: the client ids of its subscribers; the position that its next message gets,
    None: not asked for."""

    subscribers: Collection[str]
    length: int | None = None


What = Subscribe | Unsubscribe | Replace | Ask | AskOwn


@dataclass(frozen=True, slots=True)
class Call:
    """To be made now, and answered with `answered(number, …)`. Calls do not wait for one another."""

    number: int
    what: What


@dataclass(frozen=True, slots=True)
class Finished:
    """A request of the user has ended."""

    request: int
    error: BrokerError | None


@dataclass(frozen=True, slots=True)
class Evicted:
    """Somebody else has it; it is forgotten here. `intercepted`: the broker may have listed us beside the new owner,
    and given us what was for that one."""

    name: str
    intercepted: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot go on: the broker refuses it, or its log was cut. It is forgotten here."""

    name: str
    error: BrokerError


@dataclass(frozen=True, slots=True)
class Healing:
    """A position is missing, and is fetched by claiming again."""

    name: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """Its claim is over, one way or the other: what came meanwhile may be acknowledged."""

    name: str


Command = Call | Finished | Evicted | Failed | Healing | Claimed
Answer = Mapping[str, Listed] | BrokerError | None


class Fate(Enum):
    """What becomes of a message that was received."""

    DELIVER = auto()
    """It is the next one: to the user, and acknowledged."""
    ACKNOWLEDGE = auto()
    """Seen before."""
    WAIT = auto()
    """Something before it is missing; it comes again."""
    KEEP = auto()
    """Stays un-acknowledged at the broker, for long."""
    HAND_BACK = auto()
    """Not ours: becomes visible at once, and the broker wakes the LiteTopic's real owner."""
