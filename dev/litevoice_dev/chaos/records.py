"""What happened, as callers and watchers wrote it down: what the checker judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OUR_PARTS = ("gateways", "workers")
"""RocketMQ's processes fill the memory that they are given, which is bounded, in their first minutes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One server event as the client got it: when (time.monotonic()), over its how-manieth connection."""

    at: float
    connection: int
    event_id: str
    type: str


@dataclass(slots=True)
class Answer:
    """One response. `audio`: digest of all its audio; `question`: the one that it says that it answers, or, to somebody
    who speaks, the last one that was spoken when it began."""

    response_id: str
    question: int | None = None
    text: str = ""
    audio: str = ""
    status: str = ""


@dataclass(slots=True)
class Asked:
    """One question of the script.

    Attributes:
        first_mark, last_mark: the audio packets that it was spoken in, with those that tell that it is over; equal for
            a typed one.
        resent: it was sent again after a lost connection, as nothing had confirmed it.
        done_at: when the end of the answer came; None when none came.
        heard: types of all events from the question to the end of its answer, repeated ones in a row once.
    """

    question: int
    asked_at: float
    first_mark: int = 0
    last_mark: int = 0
    resent: bool = False
    done_at: float | None = None
    heard: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cut:
    """A connection that ended before the call did. `code` is None when no Close came; `sent`: audio packets by then."""

    at: float
    code: int | None
    sent: int

    @property
    def planned(self) -> bool:
        """The gateway said goodbye and took everything that had been sent."""
        return self.code == 1012


@dataclass(slots=True)
class Call:
    """One session from the caller's side.

    Attributes:
        caller: number of the caller, who makes several calls.
        acknowledged: the caller keeps what the broker has not confirmed and sends it again over its next connection.
        sent: audio packets; packet n was sent at `sent_at[n]`.
        refused: how often a gateway did not take the connection.
        problems: what must not happen, in words.
        gave_up: what the caller hung up for after it had waited too long, in words.
    """

    caller: int
    speaking: bool
    acknowledged: bool = False
    session_id: str = ""
    seen: list[Seen] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    gave_up: str = ""

    @property
    def sent(self) -> int:
        return len(self.sent_at)

    def answer_to(self, number: int) -> list[Answer]:
        """The responses to the question asked `number`-th."""
        return [answer for answer in self.answers if answer.question == number]


@dataclass(frozen=True, slots=True)
class Visit:
    """A short session of the churn: when it began, what came of it, and after how many seconds."""

    at: float
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault as it was carried out. `back_at`: when its target worked again."""

    kind: str
    what: str
    began: float
    back_at: float


@dataclass(frozen=True, slots=True)
class Owners:
    """Who says at a moment that it holds what. Who did not answer is not in it.

    Attributes:
        gateways: gateway → its sessions.
        workers: worker → how many partitions it owns.
    """

    at: float
    gateways: Mapping[str, frozenset[str]]
    workers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Use:
    """What the processes hold. `memory`: MiB by part, `descriptors` likewise, of RocketMQ only sockets; `subscriptions`
    and `lite_topics` at the brokers, -1 when these did not answer."""

    memory: Mapping[str, float]
    descriptors: Mapping[str, int]
    subscriptions: int
    lite_topics: int
