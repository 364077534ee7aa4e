"""A client that stops sending in mid-speech, because its microphone was muted: the silence that this implies is put in
the place of what it does not send, so that the turn ends, and every worker hears the same.

Sans I/O. Silence is implied where the client could send and we would have read it: what a slow network holds up, and
what waits because we do not read, is not silence. So the client is pinged, and must have answered in the pause: over a
link that is dead, its audio comes later, by another one.
"""

from __future__ import annotations

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, SessionConfig
from litevoice_contracts.packets import Silence

PAUSE_SECONDS = 5.0
"""Longer than networks hold up audio as a rule, and a connection that is lost is noticed."""
PROOF_SECONDS = 2.0
"""In a pause of so much the client is asked for a sign of life."""
STOOD_STILL_SECONDS = 2.0
"""Who is asked twice in a second and finds more time gone has stood still, and has not read or heard of anything."""
MARGIN_MILLISECONDS = 500


class Pause:
    """How long nothing came while it could have."""

    __slots__ = ("_alive", "_asked_at", "_done", "_seconds")

    def __init__(self, now: float) -> None:
        self._asked_at = now
        self.audio_came()

    def audio_came(self) -> None:
        self._seconds = 0.0
        self._alive = self._done = False

    def client_lives(self) -> None:
        """Something else came from it, the answer to a ping at least."""
        self._alive = self._seconds >= PROOF_SECONDS

    @property
    def wants_proof(self) -> bool:
        return self._seconds >= PROOF_SECONDS and not self._alive and not self._done

    def implied(self, now: float, config: SessionConfig, *, speaking: bool) -> list[Silence]:
        """What to put in, once for a pause. Asked about once a second; `speaking`: somebody speaks, and we read."""
        since, self._asked_at = now - self._asked_at, now
        if not speaking or config.turn_detection is None or since > STOOD_STILL_SECONDS:
            self.audio_came()
            return []
        self._seconds += since
        if self._done or not self._alive or self._seconds < PAUSE_SECONDS:
            return []
        self._done = True
        milliseconds = config.turn_detection.patience_ms + MARGIN_MILLISECONDS
        second = CODEC_BYTES_PER_SECOND[config.input_codec]
        whole, rest = divmod(milliseconds, 1000)
        return [Silence(second)] * whole + [Silence(second * rest // 1000 // 2 * 2)] * (rest > 0)
