"""What a client's own events do to its session's dialogue: everything that arrives in packets, except audio."""

from __future__ import annotations

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, Mark
from litevoice_worker import utterances
from litevoice_worker.commands import Outcome
from litevoice_worker.conversation import TooLarge
from litevoice_worker.dialogue import Dialogue
from litevoice_worker.order import Numbered


def apply(dialogue: Dialogue, numbered: Numbered, now: float) -> None:
    """Publishes what becomes of a packet that is not audio, with the snapshot after it, at one position."""
    mark = numbered.mark
    if not dialogue.take_effect(mark):
        return
    match numbered.packet:
        case packets.Commit(event_id):
            _commit(dialogue, event_id, mark, now)
        case packets.Clear():
            dialogue.drop_utterance(mark)
            dialogue.publish([events.InputCleared(), dialogue.progress()], snapshot=True)
        case packets.Update() as packet:
            _update(dialogue, packet, mark)
        case packets.CreateItem(item, event_id):
            _create_item(dialogue, item, event_id, mark)
        case packets.CreateResponse() as packet:
            _create_response(dialogue, packet, mark)
        case packets.CancelResponse() as packet:
            _cancel(dialogue, packet, mark)
        case packets.GiveUp() as packet:
            utterances.give_up(dialogue, packet, mark)
        case _:
            _settled(dialogue, mark)


def _settled(dialogue: Dialogue, mark: Mark) -> list[events.DownEvent]:
    """A client event moves the boundary, unless there is audio before it that may be needed."""
    if not dialogue.listener.empty:
        return []
    dialogue.settle(mark)
    return [dialogue.progress()]


def _publish(dialogue: Dialogue, event: events.DownEvent, mark: Mark) -> None:
    dialogue.publish([event, *_settled(dialogue, mark)], snapshot=True)


def _commit(dialogue: Dialogue, event_id: str | None, mark: Mark, now: float) -> None:
    utterance = dialogue.listener.commit()
    if utterance is None:
        message = "the input audio buffer holds less than 100 ms of speech"
        _publish(dialogue, events.SessionError("input_audio_buffer_commit_empty", message, event_id=event_id), mark)
    else:
        dialogue.transcribe(utterance, mark, None, False, now)


def _update(dialogue: Dialogue, packet: packets.Update, mark: Mark) -> None:
    old, new = dialogue.conversation.config, packet.config
    try:
        dialogue.conversation.configure(new)
    except TooLarge as error:
        _publish(dialogue, events.SessionError("session_too_large", str(error), "session", packet.event_id), mark)
        return
    if (old.turn_detection, old.input_codec) != (new.turn_detection, new.input_codec):
        dialogue.drop_utterance(mark)  # other rules for hearing: what was heard by the old ones does not count
    _publish(dialogue, events.SessionUpdated(), mark)


def _create_item(dialogue: Dialogue, item: Item, event_id: str | None, mark: Mark) -> None:
    conversation = dialogue.conversation
    event: events.DownEvent
    if conversation.has(item.id):
        message = f"the conversation already has an item {item.id!r}"
        event = events.SessionError("item_already_exists", message, "item.id", event_id)
    elif not conversation.fits(item):
        message = "the item exceeds the size limit of a conversation"
        event = events.SessionError("item_too_large", message, "item", event_id)
    else:
        event = events.ItemCreated(item, conversation.last_id)
        conversation.append(item)
    _publish(dialogue, event, mark)


def _create_response(dialogue: Dialogue, packet: packets.CreateResponse, mark: Mark) -> None:
    if dialogue.response:
        _publish(dialogue, utterances.already_active(packet.event_id), mark)
    else:
        _publish(dialogue, dialogue.begin_response(packet, dialogue.begin_turn()), mark)


def _cancel(dialogue: Dialogue, packet: packets.CancelResponse, mark: Mark) -> None:
    response = dialogue.response
    if response and packet.response_id in (None, response.request.response_id):
        after = _settled(dialogue, mark)
        dialogue.finish_response(response, Outcome("cancelled", "client_cancelled"), after=after)
    else:
        message = "no such response is active"
        error = events.SessionError("response_cancel_not_active", message, "response_id", packet.event_id)
        _publish(dialogue, error, mark)
