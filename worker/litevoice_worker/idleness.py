"""The user says nothing for `idle_timeout_ms` after he has heard an answer, or has spoken himself: he gets another one.

What counts is the session's audio, so that a worker that follows counts on; only while none comes it is the clock,
which begins anew with each worker.
"""

from __future__ import annotations

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item
from litevoice_worker.conversation import made_id
from litevoice_worker.dialogue import Dialogue

MUTE_SECONDS = 2.0
"""When no audio has come for so long, none is on its way."""


def timed_out(dialogue: Dialogue, now: float, last_audio: float) -> bool:
    """He has been silent for as long as he may be."""
    due_ms, wakes = _due_ms(dialogue), wake_at(dialogue, last_audio)
    return due_ms is not None and (dialogue.listener.audio_ms >= due_ms or (wakes is not None and now >= wakes))


def wake_at(dialogue: Dialogue, last_audio: float) -> float | None:
    """When that is to be looked at though no audio comes; None for never."""
    if _due_ms(dialogue) is None:
        return None
    return max(dialogue.idle_since + _timeout_ms(dialogue) / 1000, last_audio + MUTE_SECONDS)


def time_out(dialogue: Dialogue, now: float) -> None:
    """His silence becomes an item of its own, and is answered."""
    since_ms, due_ms = dialogue.cursor.idle_from_ms, _due_ms(dialogue)
    assert since_ms is not None
    assert due_ms is not None
    turn, previous = dialogue.begin_turn(), dialogue.conversation.last_id
    item_id = made_id("item", dialogue.id, turn)
    dialogue.conversation.append(Item(item_id, "user", "", audio=True))
    news: list[events.DownEvent] = [
        events.InputTimedOut(item_id, since_ms, due_ms),
        events.InputCommitted(item_id, previous),
        events.InputTranscribed(item_id, "", 0.0, previous),
        dialogue.responses.begin(packets.CreateResponse(), turn, now),
    ]
    dialogue.publish(news, snapshot=True)


def _due_ms(dialogue: Dialogue) -> int | None:
    """In the session's audio; None when it is not his turn, or may be silent."""
    cursor = dialogue.cursor
    timeout_ms, since_ms = _timeout_ms(dialogue), cursor.idle_from_ms
    speaks = dialogue.listener.open or cursor.open_turn or cursor.owed_turn
    awaited = dialogue.responses.in_band or dialogue.transcriptions or dialogue.again
    if not timeout_ms or since_ms is None or speaks or awaited:
        return None
    return since_ms + timeout_ms


def _timeout_ms(dialogue: Dialogue) -> int:
    config = dialogue.conversation.config
    return 0 if config.turn_detection is None or config.transcription_only else config.turn_detection.idle_timeout_ms
