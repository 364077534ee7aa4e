"""What a session asks of the world around it: the outputs of the sans-I/O state machine in `session.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from litevoice_contracts.envelopes import UpEnvelope

REPLACED = 4001
OVERLOAD = 1013
RESTART = 1012
TOO_BIG = 1009
NOT_ALLOWED = 1008
NORMAL = 1000

Outcome = Literal["moved", "completed", "forced"]


class Send(msgspec.Struct, frozen=True):
    """One message to the client, text (UTF-8) or binary."""

    data: bytes
    binary: bool


class Publish(msgspec.Struct, frozen=True):
    """One envelope to the session's partition, in order.

    Attributes:
        fresh: packets in it that were never sent before; their confirmation is reported back, with `fresh_bytes`.
        client_seq: the client's own number of the last of them that has one.
        at: when the first of them was read.
    """

    envelope: UpEnvelope
    fresh: int
    client_seq: int | None = None
    fresh_bytes: int = 0
    at: float = 0.0


class HandOver(msgspec.Struct, frozen=True):
    """One message to the session's own LiteTopic, for its next owner; the broker's answer is told by `handed_over`."""

    body: bytes


class AwaitDeparture(msgspec.Struct, frozen=True):
    """Packets were collected: call `depart` when the next bundle leaves for the session's partition.

    soon: somebody waits for an answer to them; see `Departures.wait`.
    """

    soon: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask the client for a sign of life; told by `client_lives`."""


@dataclass(frozen=True, slots=True)
class SendClose:
    """A WebSocket Close frame; nothing is sent after it, but the connection is read on."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the TCP connection."""


@dataclass(frozen=True, slots=True)
class PauseReading:
    """Stop reading the client's socket: TCP holds the client back."""


@dataclass(frozen=True, slots=True)
class ResumeReading:
    pass


@dataclass(frozen=True, slots=True)
class PauseReplies:
    """Leave the session's replies at the broker."""


@dataclass(frozen=True, slots=True)
class ResumeReplies:
    pass


@dataclass(frozen=True, slots=True)
class WakeReplies:
    """What is expected does not come: perhaps it waits at the broker, whose wake-up got lost."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Call `tick` at this time, even when no other tick is due."""

    at: float


Observation = Literal[
    "client_errors",
    "client_events",
    "closes",
    "dropped",
    "evictions",
    "given_up",
    "probes",
    "replays",
    "takeovers",
    "takeover_seconds",
]


class Observe(msgspec.Struct, frozen=True):
    """Something for the metrics, by the attribute of `Metrics` that counts it.

    Attributes:
        label: the value of the metric's one label, "" for a metric without.
        amount: to add to a counter, or the value that a histogram gets.
    """

    what: Observation
    label: str = ""
    amount: float = 1


@dataclass(frozen=True, slots=True)
class Lose:
    """So many packets were read, and go nowhere."""

    packets: int


@dataclass(frozen=True, slots=True)
class End:
    """The session is over here, and everything that was read of it has been handed to `Publish`.

    Attributes:
        release: unsubscribe its LiteTopic; False when somebody else owns it already.
        outcome: what a drain reports.
        unpublished: packets that were read and could not be published.
    """

    release: bool
    outcome: Outcome
    unpublished: int


Command = (
    Send
    | Publish
    | HandOver
    | AwaitDeparture
    | Ping
    | SendClose
    | Disconnect
    | PauseReading
    | ResumeReading
    | PauseReplies
    | ResumeReplies
    | WakeReplies
    | WakeAt
    | Observe
    | Lose
    | End
)
