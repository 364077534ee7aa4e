"""Decides from speech probabilities where an utterance begins and ends. Pure; one probability per 32 ms window."""

from __future__ import annotations

import math
from typing import Literal

from litevoice_contracts.conversation import TurnDetection

SAMPLE_RATE = 16_000
WINDOW_SAMPLES = 512
WINDOW_MILLISECONDS = 32
START_WINDOWS = 2
"""How many voiced windows in a row begin an utterance: a single one is often a click."""
_HYSTERESIS = 0.15  # silero's own: speech goes on until the probability is this far below the threshold


class Endpointer:
    """Where speech begins and ends.

    Attributes:
        speaking: an utterance is open.
        voiced: windows of speech in it, also once it has ended.
    """

    __slots__ = (
        "_patience_windows",
        "_run",
        "_silence_windows",
        "_start_threshold",
        "_stop_threshold",
        "speaking",
        "voiced",
    )

    def __init__(self, detection: TurnDetection) -> None:
        self.speaking = False
        self._start_threshold = detection.threshold
        self._stop_threshold = max(detection.threshold - _HYSTERESIS, 0.01)
        self._silence_windows = max(1, math.ceil(detection.silence_duration_ms / WINDOW_MILLISECONDS))
        self._patience_windows = 0
        self._run = self.voiced = 0

    def go_on(self, patience_milliseconds: int) -> None:
        """Begins in an utterance that is open: so much silence ends it as long as nobody speaks on."""
        self.speaking = True
        self._patience_windows = math.ceil(patience_milliseconds / WINDOW_MILLISECONDS)

    def feed(self, probability: float) -> Literal["started", "stopped", None]:
        """The window's effect: the utterance began START_WINDOWS windows ago, ended with this window, or neither."""
        if not self.speaking:
            self._run = self._run + 1 if probability >= self._start_threshold else 0
            if self._run < START_WINDOWS:
                return None
            self.speaking, self._run, self.voiced = True, 0, START_WINDOWS
            return "started"
        self._run = self._run + 1 if probability < self._stop_threshold else 0
        self.voiced += probability >= self._start_threshold
        if self._run < (self._silence_windows if self.voiced >= START_WINDOWS else self._patience_windows):
            return None
        self.speaking, self._run = False, 0
        return "stopped"
