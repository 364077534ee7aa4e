"""What becomes of a session's utterances: announced when they begin, transcribed when they end, then responded to."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, Mark
from litevoice_worker.commands import Outcome
from litevoice_worker.conversation import made_id
from litevoice_worker.dialogue import Dialogue, Transcription
from litevoice_worker.hearing import Ended, Found, Portion, Started
from litevoice_worker.order import Numbered


def hear(dialogue: Dialogue, packets: list[Numbered], now: float) -> list[Numbered]:
    """Hears packets of audio; returns what has to be heard (again) before anything else."""
    cursor = dialogue.cursor
    if cursor.packet is not None:
        packets = [packet.after(cursor.packet_bytes) if packet.mark == cursor.packet else packet for packet in packets]
    found, portion = dialogue.listener.hear(packets)
    return _heard(dialogue, found, portion, now)


def listened(dialogue: Dialogue, probabilities: Sequence[float], now: float) -> list[Numbered]:
    """The network has heard its portion; returns what has to be heard (again) before anything else."""
    dialogue.listened()
    found, portion = dialogue.listener.heard(probabilities)
    return _heard(dialogue, found, portion, now)


def _heard(dialogue: Dialogue, found: list[Found], portion: Portion | None, now: float) -> list[Numbered]:
    for event in found:
        match event:
            case Started(audio_ms):
                _started(dialogue, audio_ms)
            case Ended(utterance, mark, consumed, rest):
                detection = dialogue.conversation.config.turn_detection
                respond = detection is not None and detection.create_response
                dialogue.transcribe(utterance, mark, consumed, respond, now)
                return rest
    if portion is not None:
        dialogue.listen(portion)
        return []
    return _forget_silence(dialogue)


def pause(dialogue: Dialogue, mark: Mark) -> None:
    """Audio that stopped in silence at `mark` is needed for nothing: what comes later does not continue it."""
    dialogue.restart_listener(mark, dialogue.listener.audio_ms)
    dialogue.tell()


def transcribed(dialogue: Dialogue, transcription: Transcription, text: str) -> None:
    """The transcript is there; "" when nothing was understood."""
    news, item_id, previous = _close(dialogue, transcription, text)
    news += [
        events.InputTranscribed(item_id, text, transcription.utterance.seconds, previous),
        dialogue.progress(),
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
    news += [events.TranscriptionFailed(item_id, message, previous), dialogue.progress()]
    if transcription.respond and not dialogue.response:
        # The client waits for a response: it gets one that has failed, rather than none.
        news.append(dialogue.begin_response(packets.CreateResponse(), transcription.turn))
        if dialogue.response:
            dialogue.response.fail(message)
    dialogue.publish(news, snapshot=True)


def give_up(dialogue: Dialogue, packet: packets.GiveUp, mark: Mark) -> None:
    """The open utterance, and the response, end as failed: what becomes of them may be what kills workers."""
    message = f"the turn was given up: nothing came of {packet.attempts} attempts"
    news: list[events.DownEvent] = [events.SessionError("turn_given_up", message)]
    turn, detection = dialogue.cursor.open_turn, dialogue.conversation.config.turn_detection
    dialogue.drop_utterance(mark, packet.audio_ms)
    if turn:
        item_id, previous = made_id("item", dialogue.id, turn), dialogue.conversation.last_id
        dialogue.conversation.append(Item(item_id, "user", "", audio=True))
        news += [
            events.SpeechStopped(item_id, dialogue.cursor.audio_ms),
            events.InputCommitted(item_id, previous),
            events.TranscriptionFailed(item_id, message, previous),
        ]
    news.append(dialogue.progress())
    if turn and not dialogue.response and detection is not None and detection.create_response:
        news.append(dialogue.begin_response(packets.CreateResponse(), turn))  # the client waits for one
    if dialogue.response:
        dialogue.finish_response(dialogue.response, Outcome("failed", message), before=news)
    else:
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
    dialogue.restart_listener(quiet.mark, quiet.audio_ms)
    dialogue.tell()
    return quiet.rest


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
