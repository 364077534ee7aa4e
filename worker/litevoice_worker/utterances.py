"""What becomes of a session's utterances: announced when they begin and when they end, transcribed meanwhile, then
responded to. While the recognizer works, the session goes on; transcripts come in the order of their items.

A worker that begins before utterances whose end is in the log hears them again, ends each where it ended, and says so
no second time.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Eagerness, Item, Mark, Recognized, SessionConfig, Untranscribed
from litevoice_worker.commands import Failed, Judged, Outcome, Transcribed
from litevoice_worker.conversation import made_id
from litevoice_worker.dialogue import Dialogue
from litevoice_worker.hearing import Ended, Found, Portion, Started, Utterance
from litevoice_worker.order import Numbered
from litevoice_worker.transcriptions import Transcription, joined

MAX_PARTS = 40
"""A longer utterance is committed, though the user speaks on."""
ENOUGH: dict[Eagerness, float] = {"": 0.0, "low": 0.7, "medium": 0.5, "auto": 0.5, "high": 0.3}
"""How probable it must be that the user has finished."""


def hear(dialogue: Dialogue, packets: list[Numbered], now: float) -> list[Numbered]:
    """Hears packets of audio; returns what has to be heard (again) before anything else."""
    place = dialogue.place
    if place.packet is not None:
        packets = [packet.after(place.packet_bytes) if packet.mark == place.packet else packet for packet in packets]
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
            case Started():
                dialogue.unheard = False
                tell_speech(dialogue)
            case Ended() as ended:
                tell_speech(dialogue, surely=ended.more)
                if _may_go_on(dialogue, ended):
                    dialogue.judge(ended)
                else:
                    _stopped(dialogue, ended, now, more=ended.more or _went_on(dialogue, ended))
                return ended.rest
    if dialogue.listener.open:
        tell_speech(dialogue)
    if portion is not None:
        dialogue.listen(portion)
        return []
    return _forget_silence(dialogue)


def _may_go_on(dialogue: Dialogue, ended: Ended) -> bool:
    """A turn detector is to say whether the user has finished; not after a cough that the client knows nothing of."""
    detection = dialogue.place.detection
    asked = detection is not None and bool(detection.eagerness) and not dialogue.listener.hushed
    return asked and bool(dialogue.cursor.open_turn) and not (ended.more or dialogue.again)


def _went_on(dialogue: Dialogue, ended: Ended) -> bool:
    """As a former worker's turn detector has said: the utterance ends later."""
    detection = dialogue.place.detection
    asked = detection is not None and bool(detection.eagerness)
    return asked and bool(dialogue.again) and ended.mark < dialogue.again[0].end


def judged(dialogue: Dialogue, result: Judged | Failed, now: float) -> None:
    """The turn detector has spoken. When it cannot, the silence is the end."""
    pause, detection = dialogue.judged(), dialogue.place.detection
    least = ENOUGH[detection.eagerness] if detection is not None else 0.0
    _stopped(dialogue, pause, now, more=isinstance(result, Judged) and not result.finished >= least)


def _stopped(dialogue: Dialogue, ended: Ended, now: float, *, more: bool) -> None:
    if more and dialogue.place.parts + 1 < MAX_PARTS:
        part = Untranscribed(0, ended.mark, language=dialogue.conversation.config.transcription_language)
        dialogue.transcribe(ended.utterance, part, ended.consumed, now, more=True)
        _close(dialogue)
    else:
        end(dialogue, ended.utterance, ended.mark, ended.consumed, now)


def pause(dialogue: Dialogue, mark: Mark, now: float) -> None:
    """Audio stopped at `mark`, and what comes later does not continue it: an open utterance ends, silence is needed for
    nothing."""
    if (utterance := dialogue.listener.commit()) is not None:
        end(dialogue, utterance, mark, None, now)
        return
    _forget_heard(dialogue, mark, dialogue.listener.audio_ms)


def end(dialogue: Dialogue, utterance: Utterance, mark: Mark, consumed: int | None, now: float) -> None:
    """The open utterance ended in packet `mark`, after `consumed` of its bytes (None: all)."""
    config = dialogue.conversation.config
    if dialogue.again and dialogue.again[0].end == mark:
        dialogue.transcribe(utterance, dialogue.again.pop(0), consumed, now)
        _close(dialogue)
        return
    detected = dialogue.place.detection is not None
    respond = detected and _is_answered(config)
    ended = Untranscribed(0, mark, respond, config.transcription_language)
    transcription = dialogue.transcribe(utterance, ended, consumed, now)
    if dialogue.cursor.open_turn or not detected:
        _tell_end(dialogue, transcription, detected=detected)
    _close(dialogue)


def _tell_end(dialogue: Dialogue, transcription: Transcription, *, detected: bool = True) -> None:
    turn, stopped, committed = _close_item(dialogue, transcription.ended_ms)
    transcription.ended = replace(transcription.ended, turn=turn)
    dialogue.publish([stopped, committed] if detected else [committed], snapshot=True)


def _close_item(dialogue: Dialogue, ended_ms: int) -> tuple[int, events.SpeechStopped, events.InputCommitted]:
    """The open utterance becomes an item of the conversation; returns its turn, and what the client is told."""
    turn, previous = dialogue.end_utterance(), dialogue.conversation.last_id
    item_id = made_id("item", dialogue.id, turn)
    if dialogue.cursor.idle_from_ms is not None:
        dialogue.fell_silent(ended_ms)
    dialogue.conversation.append(Item(item_id, "user", "", audio=True))
    return turn, events.SpeechStopped(item_id, ended_ms), events.InputCommitted(item_id, previous)


def _is_answered(config: SessionConfig) -> bool:
    """What is said begins a response by itself."""
    detection = config.turn_detection
    return detection is not None and detection.create_response and not config.transcription_only


def end_again(dialogue: Dialogue, unheard: Mark, now: float) -> bool:
    """Everything before packet `unheard` was heard: an utterance that a former worker has ended there ends, too. False
    if there is none."""
    if not dialogue.again or dialogue.again[0].end >= unheard:
        return False
    ended = dialogue.again[0]
    utterance = dialogue.listener.commit()
    if utterance is not None:
        end(dialogue, utterance, ended.end, None, now)
    else:
        dialogue.again.pop(0)
        message = "its audio is lost: it was not kept until it was understood"
        news = [*_not_understood(dialogue, ended.turn, message), dialogue.progress()]
        if owes := ended.respond and not dialogue.cursor.owed_turn:
            dialogue.owe(ended.turn)
        dialogue.publish([*news, *answer(dialogue, failure=message if owes else "")], snapshot=True)
    return True


def recognized(dialogue: Dialogue, transcription: Transcription, result: Transcribed | Failed) -> None:
    """The recognizer is done with an utterance, or has failed."""
    transcription.result = result
    _close(dialogue)


def tell_heard(dialogue: Dialogue) -> None:
    """What is recognized so far of the oldest utterance, if the client knows of it. The snapshot says what was told:
    whoever has it recognized again tells only what follows."""
    oldest = dialogue.transcriptions[0] if dialogue.transcriptions else None
    if oldest is None or oldest.more or not oldest.ended.turn or oldest.result is not None:
        return
    if heard := oldest.heard.strip():
        _tell_words(dialogue, oldest, joined(dialogue.cursor.recognized, heard))


def _tell_words(dialogue: Dialogue, transcription: Transcription, transcript: str) -> None:
    item_id = made_id("item", dialogue.id, transcription.ended.turn)
    if words := dialogue.new_words(transcription, transcript):
        dialogue.publish([events.InputTranscriptDelta(item_id, words)], snapshot=True)


def _close(dialogue: Dialogue) -> None:
    """What is recognized is told, in order."""
    while (done := dialogue.transcribed) is not None:
        if not (done.ended.turn or done.more) and done.result != Transcribed(done.job, ""):
            _tell_whole(dialogue, done)
        if done.ended.told and isinstance(done.result, Transcribed):
            _tell_words(dialogue, done, joined(dialogue.cursor.recognized, done.result.text))
        whole = dialogue.close_transcription()
        if done.more:
            dialogue.publish([dialogue.progress()], snapshot=True)
        elif done.ended.turn:
            _recognized(dialogue, done, whole)
        elif news := answer(dialogue):
            dialogue.publish([dialogue.progress(), *news], snapshot=True)  # it was only a cough that held it up
        else:
            dialogue.tell()  # a cough: nobody was told that it began


def _recognized(dialogue: Dialogue, done: Transcription, whole: Recognized) -> None:
    turn, respond = done.ended.turn, done.ended.respond
    item_id = made_id("item", dialogue.id, turn)
    dialogue.conversation.understood(item_id, whole.text)
    if whole.failure:
        news = _not_understood(dialogue, turn, whole.failure)
    else:
        previous = dialogue.conversation.before(item_id)
        news = [events.InputTranscribed(item_id, whole.text, whole.milliseconds / 1000, previous)]
    news.append(dialogue.progress())
    owes = respond and bool(not dialogue.cursor.owed_turn if whole.failure else whole.text)
    if owes:
        dialogue.owe(turn)
    news += answer(dialogue, asked_at=done.ended_at, failure=whole.failure if owes else "")
    dialogue.publish(news, snapshot=True)


def answer(dialogue: Dialogue, asked_at: float | None = None, failure: str = "") -> list[events.DownEvent]:
    """The response that is owed begins, unless the user goes on, who may add to what he has said. One to what was not
    understood (`failure`: why) has failed: the client waits for it."""
    turn = dialogue.cursor.owed_turn
    if not turn or _user_goes_on(dialogue):
        return []
    dialogue.owe(0)
    item = dialogue.conversation.find(made_id("item", dialogue.id, turn))
    understood = not failure and (item is None or bool(item.text))
    if dialogue.responses.in_band:
        return [already_active(None)] if understood else []
    if understood:
        said = dialogue.conversation.last_said_id
        return [dialogue.responses.begin(packets.CreateResponse(), turn, asked_at, after_item_id=said)]
    begun = dialogue.responses.begin(packets.CreateResponse(), turn)
    if not dialogue.responses.in_band:
        return [begun]
    failed = Outcome("failed", failure or "what was said was not understood")
    ended = dialogue.end_response(dialogue.responses.in_band, failed)
    return [begun, ended]  # in one message: it is not gone on with elsewhere


def _user_goes_on(dialogue: Dialogue) -> bool:
    """He speaks, or has spoken and is not understood yet, and speech interrupts a response."""
    goes_on = bool(dialogue.cursor.open_turn or dialogue.transcriptions or dialogue.again)
    return goes_on and _interrupts(dialogue)


def _not_understood(dialogue: Dialogue, turn: int, message: str) -> list[events.DownEvent]:
    item_id = made_id("item", dialogue.id, turn)
    return [events.TranscriptionFailed(item_id, message, dialogue.conversation.before(item_id))]


def give_up(dialogue: Dialogue, packet: packets.GiveUp, mark: Mark) -> None:
    """The open utterance, and all responses, end as failed: what becomes of them may be what kills workers. The next
    owner gives the same attempt up once more, when it does not know of that yet, and the client was told, perhaps by
    another worker."""
    told = 0 < packet.attempt <= dialogue.cursor.given_up
    if told and not (dialogue.busy or dialogue.cursor.open_turn):
        dialogue.drop_utterance(mark, packet.audio_ms)
        dialogue.publish([dialogue.progress()], snapshot=True)
        return
    message = f"the turn was given up: nothing came of {packet.attempts} attempts"
    failed = Outcome("failed", message)
    news: list[events.DownEvent] = [events.SessionError("turn_given_up", message)]
    news += [dialogue.end_response(response, failed) for response in list(dialogue.responses.out_of_band)]
    turn, detection = dialogue.cursor.open_turn, dialogue.conversation.config.turn_detection
    for ended in dialogue.give_up_transcriptions(packet.attempt):
        news += _not_understood(dialogue, ended.turn, message)
        turn = turn or (ended.turn if ended.respond else 0)
    dialogue.restart_listener(mark, dialogue.listener.audio_ms + packet.audio_ms)
    if dialogue.cursor.open_turn:
        news += _end_as_failed(dialogue, message)
    news.append(dialogue.progress())
    if turn and not dialogue.responses.in_band and detection is not None and detection.create_response:
        news.append(dialogue.responses.begin(packets.CreateResponse(), turn))  # the client waits for one
    if dialogue.responses.in_band:
        dialogue.finish_response(dialogue.responses.in_band, failed, before=news)
    else:
        dialogue.publish(news, snapshot=True)


def already_active(event_id: str | None) -> events.SessionError:
    return events.SessionError(
        "conversation_already_has_active_response",
        "a response is already active; cancel it or wait until it ends",
        event_id=event_id,
    )


def tell_speech(dialogue: Dialogue, *, surely: bool = False) -> None:
    """Tells that speech has begun, unless that is known, or an answer is spoken and it may (`surely`: it cannot) be a
    cough."""
    started_ms = dialogue.listener.started_ms
    if started_ms is None or dialogue.cursor.open_turn or dialogue.again:
        return  # in the last two cases it was told, and a response interrupted, by the worker before this one
    too_short = dialogue.listener.voiced_milliseconds < dialogue.interrupt_after_milliseconds
    if too_short and not surely and dialogue.responses.in_band and _interrupts(dialogue):
        return
    for transcription in dialogue.transcriptions:
        if not (transcription.ended.turn or transcription.more):
            _tell_whole(dialogue, transcription)
    _tell_start(dialogue, started_ms)


def _tell_whole(dialogue: Dialogue, transcription: Transcription) -> None:
    """It was no cough, or is followed by more."""
    _tell_start(dialogue, transcription.started_ms)
    _tell_end(dialogue, transcription)


def _tell_start(dialogue: Dialogue, audio_ms: int) -> None:
    """Speech began; a response under way is interrupted."""
    news = events.SpeechStarted(made_id("item", dialogue.id, dialogue.open_utterance()), audio_ms)
    if dialogue.responses.in_band and _interrupts(dialogue):
        dialogue.finish_response(dialogue.responses.in_band, Outcome("cancelled", "turn_detected"), before=[news])
    else:
        dialogue.publish([news])


def _interrupts(dialogue: Dialogue) -> bool:
    detection = dialogue.conversation.config.turn_detection
    return detection is not None and detection.interrupt_response


def _forget_silence(dialogue: Dialogue) -> list[Numbered]:
    """Moves the boundary to where a new utterance cannot reach any more, and has what is behind it heard afresh, so
    that this worker is in the state of one that begins at the boundary."""
    quiet = dialogue.listener.quiet()
    if quiet is None:
        return []
    _forget_heard(dialogue, quiet.mark, quiet.audio_ms)
    return quiet.rest


def _forget_heard(dialogue: Dialogue, mark: Mark, audio_ms: int) -> None:
    """It was silence, up to `mark`: of an utterance that a former worker has announced it is all there is so far."""
    dialogue.restart_listener(mark, audio_ms)
    dialogue.unheard = bool(dialogue.cursor.open_turn) and not dialogue.again
    dialogue.tell()


def end_unheard(dialogue: Dialogue) -> None:
    """A former worker has announced the open utterance, and nothing of it was kept: nobody else will end it."""
    message = "its audio is lost: it was not kept until its end"
    turn = dialogue.cursor.open_turn
    news = [*_end_as_failed(dialogue, message), dialogue.progress()]
    if _is_answered(dialogue.conversation.config):
        dialogue.owe(turn)
        news += answer(dialogue, failure=message)
    dialogue.publish(news, snapshot=True)


def _end_as_failed(dialogue: Dialogue, message: str) -> list[events.DownEvent]:
    """The open utterance, which nobody will understand."""
    turn, stopped, committed = _close_item(dialogue, dialogue.listener.audio_ms)
    return [stopped, committed, *_not_understood(dialogue, turn, message)]
