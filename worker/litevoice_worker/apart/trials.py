"""Who was in a process of a plug-in that died is given to the next one in turn, so that its death tells whose it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

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

    def end(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._trials is not None:
            trials, self._trials = self._trials, None
            trials.next()


class Trials:
    """One after another, who was in its process for the shortest time first: most things that kill do so at once. Those
    that are asked for the first time wait for nobody."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._under_way = False

    @asynccontextmanager
    async def trial(self, age: float) -> AsyncGenerator[Trial]:
        """Of what its process died of or beside, `age` seconds after it had got it."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append((age, next(self._numbers), turn))
        if not self._under_way:
            self._under_way = True
            loop.call_later(GATHER_SECONDS, self.next)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.next()  # it had its turn, and does not take it
            raise
        trial = Trial(self, age)
        try:
            yield trial
        finally:
            trial.end()

    def next(self) -> None:
        """The one before is over."""
        self._waiting = [entry for entry in self._waiting if not entry[2].done()]
        self._under_way = bool(self._waiting)
        if self._waiting:
            first = min(self._waiting, key=lambda entry: entry[:2])
            self._waiting.remove(first)
            first[2].set_result(None)
