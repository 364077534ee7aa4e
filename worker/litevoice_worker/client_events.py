"""What a client's own events do to its session's dialogue: everything that arrives in packets, except audio."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import ROOT, Mark
from litevoice_worker import utterances
from litevoice_worker.commands import Outcome
from litevoice_worker.conversation import TooLarge
from litevoice_worker.dialogue import Dialogue
from litevoice_worker.heard import truncated
from litevoice_worker.order import Numbered

MAX_OUT_OF_BAND = 4
"""Responses of one session beside the conversation's."""
_CANCELLED = Outcome("cancelled", "client_cancelled")


def apply(dialogue: Dialogue, numbered: Numbered, now: float) -> None:
    """Publishes what becomes of a packet that is not audio, with the snapshot after it, at one position."""
    mark = numbered.mark
    if not dialogue.take_effect(mark):
        _hear_again(dialogue, numbered)
        return
    match numbered.packet:
        case packets.Commit(event_id):
            _commit(dialogue, event_id, mark, now)
        case packets.Clear():
            dialogue.drop_utterance(mark)
            news = [events.InputCleared(), dialogue.progress(), *utterances.answer(dialogue)]
            dialogue.publish(news, snapshot=True)
        case packets.Update() as packet:
            _update(dialogue, packet, mark)
        case packets.CreateItem() as packet:
            _create_item(dialogue, packet, mark)
        case packets.DeleteItem() as packet:
            _delete_item(dialogue, packet, mark)
        case packets.RetrieveItem() as packet:
            _retrieve_item(dialogue, packet, mark)
        case packets.TruncateItem() as packet:
            _truncate_item(dialogue, packet, mark)
        case packets.CreateResponse() as packet:
            _create_response(dialogue, packet, mark)
        case packets.CancelResponse() as packet:
            _cancel(dialogue, packet, mark)
        case packets.GiveUp() as packet:
            utterances.give_up(dialogue, packet, mark)
        case _:
            _settled(dialogue, mark)


def _hear_again(dialogue: Dialogue, numbered: Numbered) -> None:
    """It has taken effect, but the audio around it is heard again, and it decides how."""
    match numbered.packet:
        case packets.Clear():
            dialogue.restart_listener(numbered.mark, dialogue.listener.audio_ms)
        case packets.Update(config) if dialogue.conversation.takes(config):
            dialogue.change_rules(config.turn_detection, numbered.mark)
        case _:
            pass


def _settled(dialogue: Dialogue, mark: Mark) -> list[events.DownEvent]:
    """A client event moves the boundary, unless there is audio before it that may be needed."""
    if not dialogue.listener.empty:
        return []
    dialogue.settle(mark)
    return [dialogue.progress()]


def _publish(dialogue: Dialogue, news: Sequence[events.DownEvent], mark: Mark) -> None:
    dialogue.publish([*news, *_settled(dialogue, mark)], snapshot=True)


def _commit(dialogue: Dialogue, event_id: str | None, mark: Mark, now: float) -> None:
    utterance = dialogue.listener.commit()
    if utterance is None:
        message = "the input audio buffer holds less than 100 ms of speech"
        _publish(dialogue, [events.SessionError("input_audio_buffer_commit_empty", message, event_id=event_id)], mark)
    else:
        utterances.tell_speech(dialogue, surely=True)
        utterances.end(dialogue, utterance, mark, None, now)


def _update(dialogue: Dialogue, packet: packets.Update, mark: Mark) -> None:
    new = packet.config
    try:
        dialogue.conversation.configure(new)
    except TooLarge as error:
        _publish(dialogue, [events.SessionError("session_too_large", str(error), "session", packet.event_id)], mark)
        return
    dialogue.change_rules(new.turn_detection, mark)
    _publish(dialogue, [events.SessionUpdated(packet.not_applied)], mark)


def _create_item(dialogue: Dialogue, packet: packets.CreateItem, mark: Mark) -> None:
    conversation, item, previous = dialogue.conversation, packet.item, packet.previous_item_id
    event: events.DownEvent
    if conversation.find(item.id) is not None:
        message = f"Error adding item: an item with id '{item.id}' already exists."
        event = events.SessionError("item_create_duplicate_item_id", message, "item.id", packet.event_id)
    elif previous not in (None, ROOT) and conversation.find(previous) is None:
        event = _unknown_item("adding", "item_create_invalid_previous_item_id", previous, packet.event_id)
        event = replace(event, param="previous_item_id")
    elif item.kind == "function_call_output" and not conversation.has_call(item.call_id):
        message = f"Tool call ID '{item.call_id}' not found in conversation."
        event = events.SessionError("invalid_tool_call_id", message, "item.call_id", packet.event_id)
    elif not conversation.fits(item):
        message = "the item exceeds the size limit of a conversation"
        event = events.SessionError("item_too_large", message, "item", packet.event_id)
    else:
        after = previous or conversation.last_id or ROOT
        conversation.insert(item, after)
        event = events.ItemCreated(item, None if after == ROOT else after)
    _publish(dialogue, [event], mark)


def _delete_item(dialogue: Dialogue, packet: packets.DeleteItem, mark: Mark) -> None:
    """An answer that is under way ends first. What the user said and nobody has understood yet is not answered."""
    news: list[events.DownEvent] = []
    if dialogue.conversation.find(packet.item_id) is None:
        news.append(_unknown_item("deleting", "item_delete_invalid_item_id", packet.item_id, packet.event_id))
    else:
        response = dialogue.responses.in_band
        if response and response.request.item_id == packet.item_id:
            news.append(dialogue.end_response(response, _CANCELLED))
        dialogue.conversation.remove(packet.item_id)
        dialogue.forgo(packet.item_id)
        news.append(events.ItemDeleted(packet.item_id))
    _publish(dialogue, news, mark)


def _retrieve_item(dialogue: Dialogue, packet: packets.RetrieveItem, mark: Mark) -> None:
    item = dialogue.conversation.find(packet.item_id)
    if item is None:
        error = _unknown_item("retrieving", "item_retrieve_invalid_item_id", packet.item_id, packet.event_id)
        _publish(dialogue, [error], mark)
    else:
        _publish(dialogue, [events.ItemRetrieved(item)], mark)


def _truncate_item(dialogue: Dialogue, packet: packets.TruncateItem, mark: Mark) -> None:
    """What was heard is what is remembered. Clients that interrupt an answer may say so by this alone: it ends."""
    item, milliseconds = dialogue.conversation.find(packet.item_id), packet.audio_end_ms
    response = dialogue.responses.in_band
    news: list[events.DownEvent] = []
    if item is None:
        news.append(_unknown_item("truncating", "item_truncate_invalid_item_id", packet.item_id, packet.event_id))
    elif item.role != "assistant" or not item.audio:
        message = "Only model output audio messages can be truncated"
        news.append(events.SessionError("invalid_value", message, "item_id", packet.event_id))
    else:
        if response and response.request.item_id == packet.item_id:
            news.append(dialogue.end_response(response, _CANCELLED, milliseconds))
        else:
            dialogue.conversation.put(truncated(item, milliseconds))
        news.append(events.ItemTruncated(packet.item_id, milliseconds))
    _publish(dialogue, news, mark)


def _unknown_item(doing: str, code: str, item_id: str | None, event_id: str | None) -> events.SessionError:
    message = f"Error {doing} item: the item with id '{item_id}' does not exist."
    return events.SessionError(code, message, "item_id", event_id)


def _create_response(dialogue: Dialogue, packet: packets.CreateResponse, mark: Mark) -> None:
    refused = _refused(dialogue, packet)
    if refused is not None:
        _publish(dialogue, [refused], mark)
        return
    if not packet.out_of_band:
        dialogue.withdraw()  # this is the answer
    _publish(dialogue, [dialogue.responses.begin(packet, dialogue.begin_turn())], mark)


def _refused(dialogue: Dialogue, packet: packets.CreateResponse) -> events.SessionError | None:
    conversation, event_id = dialogue.conversation, packet.event_id
    if conversation.config.transcription_only:
        message = "a transcription session answers nothing; session.update with type realtime makes it one that does"
        return events.SessionError("response_not_available", message, "type", event_id)
    if dialogue.responses.in_band and not packet.out_of_band:
        return utterances.already_active(event_id)
    if packet.out_of_band and len(dialogue.responses.out_of_band) >= MAX_OUT_OF_BAND:
        message = f"{MAX_OUT_OF_BAND} responses out of band are under way; wait until one ends, or cancel one by its id"
        return events.SessionError("too_many_responses", message, "response.conversation", event_id)
    for index, entry in enumerate(packet.input or ()):
        if isinstance(entry, str) and conversation.find(entry) is None:
            unknown = _unknown_item("referencing", "item_reference_invalid_item_id", entry, event_id)
            return replace(unknown, param=f"response.input[{index}].id")
    return None


def _cancel(dialogue: Dialogue, packet: packets.CancelResponse, mark: Mark) -> None:
    response, named = dialogue.responses.in_band, packet.response_id
    if named is not None:
        response = next((one for one in dialogue.responses if one.request.response_id == named), None)
    if response:
        after = _settled(dialogue, mark)
        dialogue.finish_response(response, _CANCELLED, after=after)
    elif named is None and (turn := dialogue.withdraw()):
        # The client cancels what it expects: a response that would have begun with the transcript.
        begun = dialogue.responses.begin(packets.CreateResponse(), turn)
        assert dialogue.responses.in_band is not None
        after = _settled(dialogue, mark)
        dialogue.finish_response(dialogue.responses.in_band, _CANCELLED, before=[begun], after=after)
    else:
        message = "Cancellation failed: no active response found"
        error = events.SessionError("response_cancel_not_active", message, "response_id", packet.event_id)
        _publish(dialogue, [error], mark)
