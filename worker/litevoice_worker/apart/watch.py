"""Decides what is wrong with the process of a plug-in, and remembers which failed. Pure: the clock is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from litevoice_contracts.control import FailingPlugin

Death = Literal["crashed", "hung", "grew"]

LOOK_SECONDS = 1.0
"""How often the worker looks; the process says as often that it lives."""
SILENT_LOOKS = 10
"""In so many looks in a row it said nothing: its event loop stands still. Counted in looks, not in seconds: when the
worker itself stood still, it has heard nobody."""
FAILING_SECONDS = 600.0
"""How long a plug-in counts as failing after its last death."""
KEPT_DEATHS = 100


class Watch:
    """Of one process. `limit_mebibytes`: what it may take."""

    def __init__(self, limit_mebibytes: int) -> None:
        self._limit = limit_mebibytes
        self._silent = 0

    def heard(self) -> None:
        self._silent = 0

    def look(self, resident_mebibytes: float) -> Death | None:
        """Why it is to be ended; once in LOOK_SECONDS."""
        self._silent += 1
        if self._silent > SILENT_LOOKS:
            return "hung"
        return "grew" if resident_mebibytes > self._limit else None


class Deaths:
    """Of the plug-ins of a worker.

    Attributes:
        on_death: told of each: stage, plug-in, how.
    """

    def __init__(self) -> None:
        self.on_death: Callable[[str, str, Death], None] = lambda *_: None
        self._deaths: dict[tuple[str, str], deque[tuple[float, Death]]] = {}

    def died(self, stage: str, plugin: str, how: Death, now: float) -> None:
        self._deaths.setdefault((stage, plugin), deque(maxlen=KEPT_DEATHS)).append((now, how))
        self.on_death(stage, plugin, how)

    def failing(self, now: float) -> list[FailingPlugin]:
        """Those that died lately, and how often they did."""
        found = []
        for (stage, plugin), deaths in self._deaths.items():
            while deaths and now - deaths[0][0] > FAILING_SECONDS:
                deaths.popleft()
            if deaths:
                at, how = deaths[-1]
                found.append(FailingPlugin(stage, plugin, how, len(deaths), round(now - at, 1)))
        return found
