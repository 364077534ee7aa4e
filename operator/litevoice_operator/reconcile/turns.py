"""Gives fleets their turns to be rolled; an operator that has just started goes on with those that have begun."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_operator.api.resource import Key
from litevoice_operator.decide.scale import Load
from litevoice_operator.decide.turns import Asking, asking, turns


class Turns:
    """Of all fleets of the operator; bounded by their number."""

    def __init__(self, at_a_time: int) -> None:
        self._at_a_time = at_a_time
        self._fleets: dict[Key, Asking] = {}
        self._has: frozenset[Key] = frozenset()

    def ask(self, key: Key, pods: Sequence[Load], now: float) -> bool:
        """Whether it may replace what is outdated now; `pods`: its own."""
        asks = asking(key, self._fleets.get(key), key in self._has, pods, now)
        if asks is None:
            self.forget(key)
            return True
        self._fleets[key] = asks
        self._has = turns(self._fleets.values(), self._at_a_time, now)
        return key in self._has

    def forget(self, key: Key) -> None:
        self._fleets.pop(key, None)
