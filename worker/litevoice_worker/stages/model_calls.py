"""Calls of models at HTTP endpoints: who is asked for which session now, and what came of it. Sans I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args
from urllib.parse import urlsplit

from litevoice_worker.commands import StageContext

CalledStage = Literal["turn", "asr", "respond", "tts"]
ErrorKind = Literal["timeout", "unreachable", "unauthorized", "throttled", "refused", "failing", "broken", "paused"]
"""timeout: no answer, or no next piece of one, in time. unreachable: no connection, or one that was cut. unauthorized:
401, 403. throttled: 429. refused: another 4xx. failing: 5xx. broken: an answer that is none, or ends early. paused: not
asked, because it has failed too often."""
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)
Retry = Literal["again", "elsewhere"]
"""again: an endpoint that has failed at the same thing is asked once more; elsewhere: one that is not the preferred."""
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint as people and metrics name it. `name`: its address without scheme, user and query."""

    name: str
    model: str

    @staticmethod
    def of(base_url: str, model: str) -> Target:
        url = urlsplit(base_url)
        return Target((url.netloc.rpartition("@")[2] + url.path.rstrip("/"))[:MAX_NAME], model[:MAX_NAME])

    def __str__(self) -> str:
        return f"{self.name} ({self.model})"


class ModelObserver(Protocol):
    """Hears of every call."""

    def model_called(self, stage: CalledStage, target: Target, seconds: float) -> None:
        """It has answered; of a streamed answer, begun to."""

    def model_failed(self, stage: CalledStage, target: Target, kind: ErrorKind) -> None: ...

    def model_retried(self, stage: CalledStage, target: Target, how: Retry) -> None:
        """`target` is asked, and it was not the first."""

    def model_used(self, target: Target, read: int, written: int) -> None:
        """Tokens of a whole answer."""


@dataclass(slots=True, eq=False)
class Asking:
    """What a stage wants of a model, from the first request to the end of the answer.

    Attributes:
        target: who is asked, or answers, now; None before the first.
        tries: requests so far.
        failed: who has failed at it before; failure: how.
    """

    context: StageContext
    target: Target | None = None
    tries: int = 0
    failed: Target | None = None
    failure: str = ""
    asked: set[Target] = field(default_factory=set)


class ModelCalls:
    """Those of one stage. `targets`: its endpoints, the preferred one first."""

    def __init__(self, stage: CalledStage, targets: Sequence[Target]) -> None:
        self.stage = stage
        self.targets = targets
        self.observer: ModelObserver | None = None
        self._asking: dict[str, list[Asking]] = {}

    @contextmanager
    def asking(self, context: StageContext) -> Iterator[Asking]:
        made = Asking(context)
        session = self._asking.setdefault(context.session_id, [])
        session.append(made)
        try:
            yield made
        finally:
            session.remove(made)
            if not session and self._asking.get(context.session_id) is session:
                del self._asking[context.session_id]

    def of(self, session_id: str) -> Asking | None:
        """What a session has waited for longest."""
        session = self._asking.get(session_id)
        return session[0] if session else None

    def begin(self, asking: Asking, target: Target) -> None:
        if self.observer is not None:
            if target in asking.asked:
                self.observer.model_retried(self.stage, target, "again")
            elif target != self.targets[0]:
                self.observer.model_retried(self.stage, target, "elsewhere")
        asking.asked.add(target)
        asking.target = target
        asking.tries += 1

    def answered(self, target: Target, seconds: float) -> None:
        if self.observer is not None:
            self.observer.model_called(self.stage, target, seconds)

    def failed(self, asking: Asking, target: Target, kind: ErrorKind, message: str) -> None:
        asking.failed, asking.failure = target, message
        if self.observer is not None:
            self.observer.model_failed(self.stage, target, kind)

    def used(self, target: Target, read: int, written: int) -> None:
        if self.observer is not None:
            self.observer.model_used(target, read, written)


def calls_of(plugin: object) -> ModelCalls | None:
    """None for a plug-in that calls no endpoints, or does so in a process of its own."""
    calls = getattr(plugin, "calls", None)
    return calls if isinstance(calls, ModelCalls) else None
