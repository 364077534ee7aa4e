"""When each pod is asked for its status, and whether what it said last still holds. Pure: time and luck come in.

One question per pod is open at a time; the pod answers when it has something to tell, or when the wait is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from litevoice_contracts.watching import MAX_WAIT_SECONDS, Question
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec

ANSWERS_PER_SECOND = 17
"""While pods have no news, all of them together answer so often at most; up to MOST_WAIT_SECONDS."""
LEAST_WAIT_SECONDS, MOST_WAIT_SECONDS = 10, 60
APART_SECONDS = 2.0
"""From one question to the next of a pod that always has something to tell."""
LATE_SECONDS = 2.0
"""An answer may come so long after the wait: then the pod is silent."""
RETRY_SECONDS = 10.0
"""From a question without an answer to the next, on average."""
HOLDS_SECONDS = MOST_WAIT_SECONDS + LATE_SECONDS + APART_SECONDS + 2.0
"""Longer than from one answer to the next. Beyond it, nobody looks after the pod any more."""
STEP_PERCENT = 5
"""Of the sessions that a pod is meant to hold: a change by so many is told at once."""

assert MOST_WAIT_SECONDS <= MAX_WAIT_SECONDS


def wait_seconds(pods: int) -> float:
    """For up to 170 pods as often as they were asked before there were such questions."""
    return min(float(MOST_WAIT_SECONDS), max(float(LEAST_WAIT_SECONDS), pods / ANSWERS_PER_SECOND))


def gateway_step(spec: VoiceGatewaySpec) -> int:
    """Sessions of a gateway."""
    meant = spec.session.max_per_pod
    if spec.autoscaling is not None:
        meant = min(meant, spec.autoscaling.sessions_per_pod)
    return max(1, meant * STEP_PERCENT // 100)


def worker_step(spec: VoiceGatewaySpec) -> int:
    """Sessions of a worker."""
    return max(1, spec.workers.max_sessions * STEP_PERCENT // 100)


@dataclass(frozen=True, slots=True)
class Poll:
    """One pod. Times in seconds, on the clock of `now`; `luck`: 0 to 1, another one each time, so that pods which were
    begun together are not asked together for ever.

    Attributes:
        seen: version of its status that is held; "" while none is.
        heard_at: when it has answered last; next_at: when it is asked next.
        older: its release knows no such questions; it is not asked again.
    """

    next_at: float
    seen: str = ""
    heard_at: float = 0.0
    older: bool = False

    @classmethod
    def begun(cls, now: float, luck: float) -> Poll:
        return cls(now + luck * LEAST_WAIT_SECONDS)

    def question(self, pods: int, step: int, luck: float) -> Question:
        """`pods`: that are asked like this one."""
        wait = round(wait_seconds(pods) * (0.8 + 0.2 * luck)) if self.seen else 0
        return Question(self.seen, wait, step)

    def answered(self, version: str, asked_at: float, now: float) -> Poll:
        """`version`: "" from a pod of an early release."""
        if not version:
            return replace(self, seen="", older=True)
        return Poll(max(now, asked_at + APART_SECONDS), version, now)

    def silent(self, now: float, luck: float) -> Poll:
        """Nothing came in time, or nothing that can be read."""
        return Poll(now + RETRY_SECONDS * (0.5 + luck))

    def holds(self, now: float) -> bool:
        """What it said last is still so, or it would have said."""
        return bool(self.seen) and now - self.heard_at <= HOLDS_SECONDS


def timeout_seconds(question: Question) -> float:
    return question.wait_seconds + LATE_SECONDS
