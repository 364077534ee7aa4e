"""Decides which windows the network has to hear: those that are louder than the noise around them. Pure; one energy per
window of 32 ms, the same numbers on every machine."""

from __future__ import annotations

import numpy as np

from litevoice_contracts.conversation import QUIETEST_FLOOR
from litevoice_worker.audio import Samples

HANGOVER_WINDOWS = 31
"""The gate stays open for about a second after the last loud window."""
PRE_ROLL_WINDOWS = 20
"""When the gate opens, the network hears these first. It needs that long to get used to a place (ADR 9)."""

_LOUD = 1.8  # times the floor; in stationary noise a window's energy varies by less (white 1.2, pink 1.3, brown 1.6)
_RISE = 1.04  # per window: noise that begins is known after 6 s at most (by 38 dB)
_FALL = 0.2  # of the way, per window


class Gate:
    """An adaptive noise floor. It falls fast and rises slowly, so that between words it is the noise that counts.

    Attributes:
        floor: all that is remembered: the energy of the noise. What begins with the same floor decides the same.
    """

    __slots__ = ("floor",)

    def __init__(self, floor: float) -> None:
        self.floor = floor

    def loud(self, energy: float) -> bool:
        """A window of this energy may be speech."""
        return energy > _LOUD * self.floor

    def adapt(self, energy: float, *, speech: bool) -> None:
        """Takes a window into account; while there is `speech`, the floor does not rise."""
        if energy < self.floor:
            self.floor = max(QUIETEST_FLOOR, self.floor + (energy - self.floor) * _FALL)
        elif not speech:
            self.floor = min(energy, self.floor * _RISE)


def energies(windows: Samples) -> list[float]:
    """Of each row (one window of 32 ms at any rate): mean square of the samples' differences over a third of a
    millisecond. These differences leave out rumble and hum, which vary from window to window and are not speech. The
    sums are whole numbers below 2 ** 53, so they are exact in any order of summation."""
    lag = windows.shape[1] // 96
    wide = windows.astype(np.float64)
    difference = wide[:, lag:] - wide[:, :-lag]
    sums: list[float] = np.vecdot(difference, difference).tolist()
    length = difference.shape[1]
    return [value / length for value in sums]
