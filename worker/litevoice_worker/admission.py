"""Decides what a session does with an envelope: begin from its snapshot, apply it, or ask the owner to send more.

Pure. A snapshot is only begun from when nothing can be missing before the envelope and nobody else can have applied it
already; in every other case a TurnReplay costs one round trip and is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from litevoice_contracts.conversation import Mark
from litevoice_contracts.envelopes import UpEnvelope
from litevoice_contracts.packets import EpochEnd

Decision = Literal["begin", "apply", "ask", "drop"]
ASK_AGAIN_SECONDS = 2.0
"""A TurnReplay that brought nothing is repeated after so long, when packets still come."""


@dataclass(slots=True)
class Admission:
    """What decides about the next envelope.

    Attributes:
        known: the session's state is in memory and complete up to the next packet.
        attempt: of the newest replay that was honoured.
        asked: (attempt, time) of the TurnReplay that is not answered yet.
    """

    known: bool = False
    attempt: int = 0
    asked: tuple[int, float] | None = None

    def decide(self, envelope: UpEnvelope, next_packet: Mark, now: float, *, uncertain: bool) -> Decision:
        """`next_packet` is the one expected next; `uncertain`: a former owner may have applied this envelope."""
        if self.asked is not None:
            attempt, asked_at = self.asked
            if envelope.snapshot is not None and envelope.attempt > attempt:
                return "ask" if uncertain else "begin"
            if self.known and envelope.epoch == next_packet.epoch and envelope.seq <= next_packet.seq:
                return "apply"  # what was missing has come after all, or was there before
            return "ask" if now - asked_at >= ASK_AGAIN_SECONDS else "drop"
        if not self.known and all(isinstance(packet, EpochEnd) for packet in envelope.packets) and envelope.packets:
            return "drop"  # an owner that leaves has nothing to ask for
        if not self.known:
            return "begin" if not uncertain and _begins_cleanly(envelope) else "ask"
        if envelope.attempt > self.attempt:
            return "begin" if envelope.snapshot is not None else "ask"
        return "apply"

    def begun(self, envelope: UpEnvelope) -> None:
        self.known, self.asked = True, None
        self.attempt = envelope.attempt

    def ask(self, envelope: UpEnvelope, now: float) -> None:
        self.asked = (envelope.attempt, now)
        if not self.known:
            self.attempt = envelope.attempt


def _begins_cleanly(envelope: UpEnvelope) -> bool:
    snapshot = envelope.snapshot
    if snapshot is None or (snapshot.pending is not None and envelope.resume is None):
        return False  # a response is under way, only a replay tells how far it has come
    return envelope.seq == 0 or snapshot.boundary == Mark(envelope.epoch, envelope.seq - 1)
