"""What a session's dialogue remembers of utterances while the recognizer has them, and of where its listener began."""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_contracts.conversation import Mark, Recognized, TurnDetection, Untranscribed
from litevoice_worker.commands import Failed, Transcribed

MAX_UNTRANSCRIBED = 4
"""Utterances of a session that the recognizer has at a time; nothing more is heard until it is done with the first."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the listener began afresh: who begins there hears the same; the fields are those of Snapshot and Cursor."""

    mark: Mark | None
    audio_ms: int
    noise_floor: float
    packet: Mark | None
    packet_bytes: int
    detection: TurnDetection | None
    parts: int = 0
    """How many parts of the open utterance come before."""


@dataclass(slots=True)
class Transcription:
    """An utterance that the recognizer has.

    Attributes:
        ended: as it stands in the snapshot; its turn is 0 while the client was told nothing of it.
        begin: from where on its audio is needed.
        started_ms, ended_ms: in the session's audio.
        more: it is a part of an utterance, and not the last one.
        heard: what the recognizer has said of it so far.
        result: None until the recognizer is done.
    """

    job: int
    ended: Untranscribed
    begin: Place
    started_ms: int
    ended_ms: int
    seconds: float
    size: int
    ended_at: float
    more: bool = False
    heard: str = ""
    result: Transcribed | Failed | None = None


def joined(before: Recognized | None, text: str) -> str:
    """The transcript of an utterance of which parts were recognized before."""
    return " ".join(part for part in (before.text if before is not None else "", text) if part)


def alike(rules: TurnDetection | None, others: TurnDetection | None) -> bool:
    """They differ at most in what follows from what is heard."""
    if rules is None or others is None:
        return rules is others
    heard = (rules.threshold, rules.prefix_padding_ms, rules.silence_duration_ms, rules.patience_ms)
    return heard == (others.threshold, others.prefix_padding_ms, others.silence_duration_ms, others.patience_ms)
