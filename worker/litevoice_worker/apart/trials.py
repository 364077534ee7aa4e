"""Who was in a process of a plug-in that died is given to the next one in turn, so that its death tells whose it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

GATHER_SECONDS = 0.05
"""All who were in a process that died ask within this time."""
MARGIN_SECONDS = 0.5
LONGEST_SECONDS = 10.0
"""A trial takes no longer."""


class Trial:
    """Lasts until what is tried ends, or has lived a little longer than it had when its process died."""

    def __init__(self, trials: Trials, age: float) -> None:
        self._trials: Trials | None = trials
        self._seconds = min(age, LONGEST_SECONDS) + MARGIN_SECONDS
        self._timer: asyncio.TimerHandle | None = None

    def begun(self) -> None:
        """The process has got it."""
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.end)

    @property
    def under_way(self) -> bool:
        return self._timer is not None and self._trials is not None

    def end(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._trials is not None:
            trials, self._trials = self._trials, None
            trials.next()


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    age: float
    number: int
    alone: bool = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)


class Trials:
    """One after another, who was in its process for the shortest time first: most things that kill do so at once. When
    that one has not killed it, the next two are tried together, then four: most deaths are nobody's. Whose last trial
    it is is tried alone, and what dies beside it has not killed it. Those that are asked for the first time wait for
    nobody."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._under_way = 0
        self._together = 1  # how many may be tried next
        self._alone: Trial | None = None  # the last one that was

    def died(self) -> Trial | None:
        """The process, whoever was in it; whose trial tells of what, None: nobody's alone."""
        self._together = 1
        return self._alone if self._alone is not None and self._alone.under_way else None

    @asynccontextmanager
    async def trial(self, age: float, *, alone: bool = False) -> AsyncGenerator[Trial]:
        """Of what its process died of or beside, `age` seconds after it had got it."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(_Waiting(age, next(self._numbers), alone, turn))
        if not self._under_way:
            self._under_way = 1
            loop.call_later(GATHER_SECONDS, self.next)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.next()  # it had its turn, and does not take it
            raise
        trial = Trial(self, age)
        if alone:
            self._alone = trial
        try:
            yield trial
        finally:
            trial.end()

    def next(self) -> None:
        """One is over."""
        self._under_way -= 1
        if self._under_way:
            return
        self._waiting = sorted(entry for entry in self._waiting if not entry.turn.done())
        first = self._waiting[:1]
        if first and not first[0].alone:
            first = [entry for entry in self._waiting if not entry.alone][: self._together]
        self._together = 2 * self._together if first else 1
        self._under_way = len(first)
        for entry in first:
            self._waiting.remove(entry)
            entry.turn.set_result(None)
