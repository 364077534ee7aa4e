"""Which sessions leave this pod when, sans I/O: a pod that is drained is the case that all of them do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from litevoice_contracts.settings import LAST_CALL_SECONDS

Policy = Literal["Migrate", "Complete", "Auto"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A session that has not been told yet."""

    session_id: str
    in_turn: bool
    can_return: bool


@dataclass(frozen=True, slots=True)
class Move:
    """`at_edge` and `by` of `Session.drain`."""

    session_id: str
    at_edge: bool
    by: float


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Moves `sessions` sessions, or all when it is None. Times are monotonic seconds.

    A session that migrates closes at its turn's edge, `turn_wait_seconds` after it was told at the latest. One that
    completes is left alone until just before the timeout, then it migrates after all: those that come back at the same
    rate, or all of them would be taken over elsewhere at once.
    """

    started_at: float
    policy: Policy
    timeout_seconds: float
    turn_wait_seconds: float
    close_timeout_seconds: float
    rate_per_second: int
    sessions: int | None = None

    @property
    def deadline(self) -> float:
        """What is left then is cut."""
        return self.started_at + self.timeout_seconds

    @property
    def last_call(self) -> float:
        """Late enough to let sessions complete, early enough for the Close to be answered."""
        return max(self.started_at, self.deadline - self.close_timeout_seconds - LAST_CALL_SECONDS)

    def due(self, candidates: Iterable[Candidate], told: int, now: float) -> list[Move]:
        """Who is told now, after `told` others: sessions between turns first, they go without waiting."""
        room = self.allowed(now) - told
        if room <= 0:
            return []
        return [
            Move(candidate.session_id, self._migrates(candidate), self._by(candidate, number, now))
            for number, candidate in enumerate(
                sorted(candidates, key=lambda candidate: candidate.in_turn)[:room], start=told
            )
        ]

    def allowed(self, now: float) -> int:
        """How many sessions may have been told by `now`."""
        paced = 1 + int((now - self.started_at) * self.rate_per_second)
        return paced if self.sessions is None else min(paced, self.sessions)

    def _migrates(self, candidate: Candidate) -> bool:
        return self.policy == "Migrate" or (self.policy == "Auto" and candidate.can_return)

    def _by(self, candidate: Candidate, number: int, now: float) -> float:
        """`number`: so many were told before."""
        if self._migrates(candidate):
            return min(now + self.turn_wait_seconds, self.last_call)
        if candidate.can_return:
            return max(now, self.last_call - number / self.rate_per_second)
        return self.last_call
