"""What becomes of a session's utterances: announced when they begin, transcribed when they end, then an answer begins.

The other half of the state machine, beside `client_events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Cursor, Item, Mark
from litevoice_worker.conversation import made_id
from litevoice_worker.listening import Utterance
from litevoice_worker.reply import Finish
from litevoice_worker.steps import Transcribe

if TYPE_CHECKING:
    from litevoice_worker.turn import Session


@dataclass(frozen=True, slots=True)
class Opened:
    """An utterance that is being transcribed, and where the session will stand when that is done."""

    job: int
    turn: int
    utterance: Utterance
    detected: bool
    respond: bool
    mark: Mark
    cursor: Cursor
    ended_at: float


def started(session: Session, audio_ms: int) -> None:
    """Speech began; a response under way is interrupted."""
    if session.cursor.open_turn:
        return  # announced, and any response interrupted, by the worker before this one
    session.turn += 1
    session.cursor = replace(session.cursor, open_turn=session.turn)
    news = events.SpeechStarted(made_id("item", session.id, session.turn), audio_ms)
    detection = session.conversation.config.turn_detection
    if session.answer and detection is not None and detection.interrupt_response:
        session.finish(Finish("cancelled", "turn_detected"), before=[news])
    else:
        session.publish([news])


def ended(session: Session, utterance: Utterance, mark: Mark, consumed: int | None, respond: bool, now: float) -> None:
    """The utterance ends in packet `mark`, after `consumed` of its bytes (None: all of them)."""
    config = session.conversation.config
    turn = session.cursor.open_turn
    if not turn:
        session.turn += 1
        turn = session.turn
    cursor = replace(session.cursor, audio_ms=utterance.audio_ms, open_turn=0, packet=None, packet_bytes=0)
    if consumed is not None:
        cursor = replace(cursor, packet=mark, packet_bytes=consumed)
        mark = Mark(mark.epoch, mark.seq - 1)
    session.outlet.quiet_since = max(session.outlet.quiet_since, now)
    job = session.outlet.new_job()
    session.opened = Opened(job, turn, utterance, config.turn_detection is not None, respond, mark, cursor, now)
    session.outlet.command(Transcribe(job, utterance.samples, config.transcription_language))


def understood(session: Session, opened: Opened, text: str) -> None:
    """The transcript is there; "" when nothing was understood."""
    news, item_id, previous = _close(session, opened, text)
    news += [
        events.InputTranscribed(item_id, text, opened.utterance.seconds, previous),
        events.Progress(session.boundary),
    ]
    if opened.respond and session.answer:
        news.append(already_active(None))
    elif opened.respond:
        news.append(session.begin_response(packets.CreateResponse(), opened.turn, asked_at=opened.ended_at))
    session.publish(news, snapshot=True)


def not_understood(session: Session, opened: Opened, message: str) -> None:
    """The recognizer failed."""
    news, item_id, previous = _close(session, opened, "")
    news += [events.TranscriptionFailed(item_id, message, previous), events.Progress(session.boundary)]
    if opened.respond and not session.answer:
        # The client waits for an answer: it gets one that has failed, rather than none.
        news.append(session.begin_response(packets.CreateResponse(), opened.turn))
        if session.answer:
            session.answer.fail(message)
    session.publish(news, snapshot=True)


def already_active(event_id: str | None) -> events.SessionError:
    return events.SessionError(
        "conversation_already_has_active_response",
        "a response is active: cancel it or wait for its end",
        event_id=event_id,
    )


def _close(session: Session, opened: Opened, text: str) -> tuple[list[events.DownEvent], str, str | None]:
    item_id, previous = made_id("item", session.id, opened.turn), session.conversation.last_id
    session.conversation.append(Item(item_id, "user", text, audio=True))
    session.opened = None
    session.cursor = opened.cursor
    session.restart_listener(opened.mark, opened.utterance.audio_ms)
    news: list[events.DownEvent] = []
    if opened.detected:
        news.append(events.SpeechStopped(item_id, opened.utterance.audio_ms))
    news.append(events.InputCommitted(item_id, previous))
    return news, item_id, previous
