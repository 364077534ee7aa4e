"""What a client's own events do to its session: the half of the state machine that has nothing to do with speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, Mark
from litevoice_worker import speech
from litevoice_worker.conversation import TooLarge
from litevoice_worker.reply import Finish

if TYPE_CHECKING:
    from litevoice_worker.turn import Session


def apply(session: Session, packet: packets.Packet, mark: Mark, now: float) -> None:
    """Publishes what becomes of a packet that is not audio, with the snapshot after it, at one position."""
    match packet:
        case packets.Commit(event_id):
            _commit(session, event_id, mark, now)
        case packets.Clear():
            _forget_audio(session, mark)
            session.publish([events.InputCleared(), events.Progress(mark)], snapshot=True)
        case packets.Update():
            _update(session, packet, mark)
        case packets.CreateItem(item, event_id):
            _create_item(session, item, event_id, mark)
        case packets.CreateResponse():
            _create_response(session, packet, mark)
        case packets.CancelResponse():
            _cancel(session, packet, mark)
        case _:
            _settled(session, mark)


def _settled(session: Session, mark: Mark) -> list[events.DownEvent]:
    """A client event moves the boundary, unless there is audio before it that may be needed."""
    if not session.listener.empty:
        return []
    session.settle(mark)
    return [events.Progress(mark)]


def _refuse(session: Session, error: events.SessionError, mark: Mark) -> None:
    settled = _settled(session, mark)
    session.publish([error, *settled], snapshot=True)


def _forget_audio(session: Session, mark: Mark) -> None:
    session.cursor = replace(session.cursor, open_turn=0)
    session.restart_listener(mark, session.listener.audio_ms)


def _commit(session: Session, event_id: str | None, mark: Mark, now: float) -> None:
    utterance = session.listener.commit()
    if utterance is None:
        message = "the input audio buffer holds less than 100 ms of speech"
        error = events.SessionError("input_audio_buffer_commit_empty", message, event_id=event_id)
        _refuse(session, error, mark)
        return
    speech.ended(session, utterance, mark, None, False, now)


def _update(session: Session, packet: packets.Update, mark: Mark) -> None:
    old, new = session.conversation.config, packet.config
    try:
        session.conversation.configure(new)
    except TooLarge as error:
        _refuse(session, events.SessionError("session_too_large", str(error), "session", packet.event_id), mark)
        return
    if (old.turn_detection, old.input_codec) != (new.turn_detection, new.input_codec):
        _forget_audio(session, mark)  # other rules for hearing: what was heard by the old ones does not count
    settled = _settled(session, mark)
    session.publish([events.SessionUpdated(), *settled], snapshot=True)


def _create_item(session: Session, item: Item, event_id: str | None, mark: Mark) -> None:
    conversation = session.conversation
    if conversation.has(item.id):
        message = f"the conversation has an item {item.id!r} already"
        _refuse(session, events.SessionError("item_already_exists", message, "item.id", event_id), mark)
    elif not conversation.fits(item):
        message = "the item is larger than what is kept of a conversation"
        _refuse(session, events.SessionError("item_too_large", message, "item", event_id), mark)
    else:
        previous = conversation.last_id
        conversation.append(item)
        settled = _settled(session, mark)
        session.publish([events.ItemCreated(item, previous), *settled], snapshot=True)


def _create_response(session: Session, packet: packets.CreateResponse, mark: Mark) -> None:
    if session.answer:
        _refuse(session, speech.already_active(packet.event_id), mark)
        return
    session.turn += 1
    started = session.begin_response(packet, session.turn)
    settled = _settled(session, mark)
    session.publish([started, *settled], snapshot=True)


def _cancel(session: Session, packet: packets.CancelResponse, mark: Mark) -> None:
    answer = session.answer
    if answer is None or packet.response_id not in (None, answer.request.response_id):
        error = events.SessionError(
            "response_cancel_not_active", "no such response is active", "response_id", packet.event_id
        )
        _refuse(session, error, mark)
        return
    session.finish(Finish("cancelled", "client_cancelled"), after=_settled(session, mark))
