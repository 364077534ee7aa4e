"""Questions for a pod's status that are answered when there is something to tell, as both sides read them. Pure.

`STATUS_PATH?seen=VERSION&wait=SECONDS&step=SESSIONS`: VERSION is the ETag of the last answer. Answered at once with a
status while that differs in what decisions hang on, or in STEP sessions or more; else when the wait is over: with a
status if anything in it is different, with 304 and no body if nothing is. Without `wait` nothing is waited for. A pod
of an early release knows none of these: its answers have no ETag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from litevoice_contracts.control import GatewayStatus, WorkerStatus
from litevoice_contracts.errors import InvalidField

LOOK_SECONDS = 0.25
"""A pod that is waited for looks so often whether it has something to tell."""
MAX_WAIT_SECONDS = 60
MAX_WAITING = 4
"""Questions that a pod lets wait at a time; the next one is answered at once. One is an operator's; another one's, that
has just ended, may not be over yet."""
_MAX_DIGITS = 6

Outcome = Literal["changed", "unchanged"]


class Marks(NamedTuple):
    """What of a status is told at once: `facts` when they change, `sessions` when they do by a step."""

    facts: tuple[object, ...]
    sessions: int


@dataclass(frozen=True, slots=True)
class Question:
    """`seen`: version of the status that who asks has; "" for none. `step`: sessions, at least 1."""

    seen: str = ""
    wait_seconds: int = 0
    step: int = 1

    @property
    def query(self) -> dict[str, str]:
        return {"seen": self.seen, "wait": str(self.wait_seconds), "step": str(self.step)}


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: JSON; b"" when nothing has changed."""

    version: str
    body: bytes

    @property
    def outcome(self) -> Outcome:
        return "changed" if self.body else "unchanged"


def gateway_marks(status: GatewayStatus) -> Marks:
    return marks_of_gateway(
        status.ready, status.reason, status.drain.state, status.max_sessions, status.sessions, status.slow_readers
    )


def marks_of_gateway(
    ready: bool, reason: str, drain: str, max_sessions: int, sessions: int, slow_readers: int
) -> Marks:
    """The same without a whole status, which takes a look at each session."""
    return Marks((ready, reason, drain, max_sessions, slow_readers > 0), sessions)


def worker_marks(status: WorkerStatus) -> Marks:
    failing = tuple((one.stage, one.plugin, one.how, one.deaths) for one in status.failing)
    return Marks((status.ready, status.reason, status.max_sessions, tuple(status.partitions), failing), status.sessions)


def told_at_once(seen: str, version: str, step: int) -> bool:
    """Of two versions; also of one that no pod gave out."""
    before, now = _read(seen), _read(version)
    return before is None or now is None or before.facts != now.facts or abs(before.sessions - now.sessions) >= step


def read_question(query: Mapping[str, str]) -> Question:
    """Raises InvalidField."""
    return Question(
        seen=query.get("seen", ""),
        wait_seconds=_whole(query, "wait", 0, MAX_WAIT_SECONDS),
        step=_whole(query, "step", 1, 10**_MAX_DIGITS - 1),
    )


def answer(question: Question, status: GatewayStatus | WorkerStatus, marks: Marks) -> Answer:
    body = msgspec.json.encode(status)
    version = _version(marks, body)
    return Answer(version, b"" if version == question.seen else body)


class Waiting:
    """Lets questions wait, a few at a time. `clock`: seconds; `sleep`: as asyncio's."""

    def __init__(
        self, marks: Callable[[], Marks], clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self._marks = marks
        self._clock = clock
        self._sleep = sleep
        self._ended = False
        self.count = 0

    def end(self) -> None:
        """Nothing waits any more."""
        self._ended = True

    async def wait(self, question: Question, gone: Callable[[], bool]) -> None:
        """Until there is something to tell, or who asks is `gone`."""
        if self.count >= MAX_WAITING:
            return
        self.count += 1
        until = self._clock() + question.wait_seconds
        try:
            while (left := until - self._clock()) > 0 and not (
                self._ended or gone() or told_at_once(question.seen, _version(self._marks(), b""), question.step)
            ):
                await self._sleep(min(LOOK_SECONDS, left))
        finally:
            self.count -= 1


def _version(marks: Marks, body: bytes) -> str:
    return f"{_digest(repr(marks.facts).encode())}.{marks.sessions}.{_digest(body)}"


def _read(version: str) -> Marks | None:
    facts, _, rest = version.partition(".")
    sessions, _, _ = rest.partition(".")
    known = sessions.isascii() and sessions.isdigit() and len(sessions) <= _MAX_DIGITS
    return Marks((facts,), int(sessions)) if known else None


def _digest(of: bytes) -> str:
    return hashlib.blake2b(of, digest_size=8).hexdigest()


def _whole(query: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = query.get(name, str(least))
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and least <= int(text) <= most):
        raise InvalidField(name, f"a whole number from {least} to {most}, got {text[:20]!r}")
    return int(text)
