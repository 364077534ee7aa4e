"""What becomes of a session's utterances: announced when they begin, transcribed when they end, then responded to."""

from __future__ import annotations

from dataclasses import replace

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, Mark
from litevoice_worker.commands import Outcome
from litevoice_worker.conversation import made_id
from litevoice_worker.dialogue import Dialogue, Transcription
from litevoice_worker.hearing import Started, Utterance
from litevoice_worker.order import Numbered


def hear(dialogue: Dialogue, packet: Numbered, now: float) -> list[Numbered]:
    """Hears a packet of audio; returns what has to be heard (again) before anything else."""
    cursor = dialogue.cursor
    if packet.mark == cursor.packet:
        packet = replace(packet, offset=max(packet.offset, cursor.packet_bytes))
    heard = dialogue.listener.hear(packet)
    rest = heard.consumed_bytes < len(packet.audio)
    match heard.found:
        case Started(audio_ms):
            _started(dialogue, audio_ms)
        case Utterance() as utterance:
            detection = dialogue.conversation.config.turn_detection
            respond = detection is not None and detection.create_response
            dialogue.transcribe(utterance, packet.mark, heard.consumed_bytes if rest else None, respond, now)
        case None:
            return _forget_silence(dialogue)
    return [replace(packet, offset=heard.consumed_bytes)] if rest else []


def pause(dialogue: Dialogue, mark: Mark) -> None:
    """Audio that stopped in silence at `mark` is needed for nothing: what comes later does not continue it."""
    dialogue.restart_listener(mark, dialogue.listener.audio_ms)
    dialogue.tell(mark)


def transcribed(dialogue: Dialogue, transcription: Transcription, text: str) -> None:
    """The transcript is there; "" when nothing was understood."""
    news, item_id, previous = _close(dialogue, transcription, text)
    news += [
        events.InputTranscribed(item_id, text, transcription.utterance.seconds, previous),
        events.Progress(dialogue.boundary),
    ]
    if transcription.respond and dialogue.response:
        news.append(already_active(None))
    elif transcription.respond:
        wish = packets.CreateResponse()
        news.append(dialogue.begin_response(wish, transcription.turn, asked_at=transcription.ended_at))
    dialogue.publish(news, snapshot=True)


def not_transcribed(dialogue: Dialogue, transcription: Transcription, message: str) -> None:
    """The recognizer failed."""
    news, item_id, previous = _close(dialogue, transcription, "")
    news += [events.TranscriptionFailed(item_id, message, previous), events.Progress(dialogue.boundary)]
    if transcription.respond and not dialogue.response:
        # The client waits for a response: it gets one that has failed, rather than none.
        news.append(dialogue.begin_response(packets.CreateResponse(), transcription.turn))
        if dialogue.response:
            dialogue.response.fail(message)
    dialogue.publish(news, snapshot=True)


def already_active(event_id: str | None) -> events.SessionError:
    return events.SessionError(
        "conversation_already_has_active_response",
        "a response is already active; cancel it or wait until it ends",
        event_id=event_id,
    )


def _started(dialogue: Dialogue, audio_ms: int) -> None:
    """Speech began; a response under way is interrupted."""
    if dialogue.cursor.open_turn:
        return  # announced, and any response interrupted, by the worker before this one
    news = events.SpeechStarted(made_id("item", dialogue.id, dialogue.open_utterance()), audio_ms)
    detection = dialogue.conversation.config.turn_detection
    if dialogue.response and detection is not None and detection.interrupt_response:
        dialogue.finish_response(dialogue.response, Outcome("cancelled", "turn_detected"), before=[news])
    else:
        dialogue.publish([news])


def _forget_silence(dialogue: Dialogue) -> list[Numbered]:
    """Moves the boundary to where a new utterance cannot reach any more, and has what is behind it heard afresh, so
    that this worker is in the state of one that begins at the boundary."""
    quiet = dialogue.listener.quiet()
    if quiet is None:
        return []
    mark, audio_ms, again = quiet
    dialogue.restart_listener(mark, audio_ms)
    dialogue.tell(mark)
    return again


def _close(
    dialogue: Dialogue, transcription: Transcription, text: str
) -> tuple[list[events.DownEvent], str, str | None]:
    item_id, previous = made_id("item", dialogue.id, transcription.turn), dialogue.conversation.last_id
    detected = dialogue.conversation.config.turn_detection is not None
    dialogue.close_utterance(transcription, Item(item_id, "user", text, audio=True))
    news: list[events.DownEvent] = []
    if detected:
        news.append(events.SpeechStopped(item_id, transcription.utterance.audio_ms))
    news.append(events.InputCommitted(item_id, previous))
    return news, item_id, previous
