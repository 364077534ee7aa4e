"""One OpenAI Realtime connection as the session core sees it.

Client events: session.update, input_audio_buffer.append/commit/clear, response.create/cancel,
conversation.item.create/delete/retrieve/truncate. Everything else is answered with an `error` event, code
``unknown_event``.

OpenAI's protocol does not number what a client says. A client that asks for it has its appends counted: each becomes a
numbered packet, so that a worker takes it once, however often it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.packets import Audio, Clear, Commit, Packet, Update
from litevoice_contracts.positions import LAST_PART, START, EventId
from litevoice_gateway.protocols import NO_MAPS, ClientEvent, Frame, Problem, Refusal, Restored
from litevoice_gateway.protocols.openai_realtime import server_events as wire
from litevoice_gateway.protocols.openai_realtime.decode import decode, is_append
from litevoice_gateway.protocols.openai_realtime.encode import Context, conversation_id, encode, session_object
from litevoice_gateway.session_state import LogEvent

_BINARY = Problem("invalid_message", "message: expected JSON in a text frame, got a binary frame", "message")
_json = msgspec.json.Encoder()
_APPEND, _GLANCE = '"input_audio_buffer.append"', 128
"""How audio is told, and where all known clients write it: a message that says it further behind is read at once."""


class OpenAIRealtime:
    """`new_item_id` names items for which the client gave no id, `returns`: it says that it comes back,
    `told_of_moves`: it wants to know before it is moved, `confirmed_appends` is what the client says of the appends
    before this connection (None: it asks for no acknowledgements), `models` are those that it may ask for
    (none: any), `semantic_models` those that have a turn detector, `voices` the names in each one's map of
    voices; for the rest see `ClientProtocol`.

    Every event's id is a position; events of the gateway's own repeat the last one that the client has seen.
    """

    acknowledge_seconds = 0.5

    __slots__ = (
        "_appends",
        "_odd",
        "_own_events",
        "_seen",
        "config",
        "models",
        "new_item_id",
        "resume",
        "returns",
        "semantic_models",
        "session_id",
        "subprotocol",
        "told_of_moves",
        "voices",
    )

    def __init__(
        self,
        new_item_id: Callable[[], str],
        *,
        session_id: str = "",
        resume: EventId | None = None,
        config: SessionConfig = SessionConfig(),  # noqa: B008 - frozen
        subprotocol: str = "",
        confirmed_appends: int | None = None,
        returns: bool = False,
        told_of_moves: bool = False,
        models: Sequence[str] = (),
        semantic_models: Sequence[str] = (),
        voices: Mapping[str, Collection[str]] = NO_MAPS,
    ) -> None:
        self.session_id = session_id
        self.resume = resume
        self.config = config
        self.subprotocol = subprotocol
        self.new_item_id = new_item_id
        self.models = models
        self.semantic_models = semantic_models
        self.voices = voices
        self._appends = confirmed_appends
        self.returns = returns
        self.told_of_moves = told_of_moves
        self._seen = resume or START
        self._own_events = 0
        self._odd = b""  # half a sample

    def is_audio(self, message: str | bytes) -> bool:
        return isinstance(message, str) and _APPEND in message[:_GLANCE]

    def decode(self, message: str | bytes, config: SessionConfig) -> Sequence[ClientEvent]:
        if isinstance(message, bytes):
            raise Refusal(_BINARY)
        if self._appends is None:
            event = decode(message, config, self)
            if isinstance(event.packet, Commit | Clear) or _changes_codec(event.packet, config):
                self._odd = b""
        else:
            try:
                event = decode(message, config, self)
            except Refusal:
                self._appends += is_append(message)  # the client counts what it sends
                raise
            if isinstance(event.packet, Audio):
                self._appends += 1
                event = ClientEvent(event.type, event.packet, self._appends)
        return () if isinstance(event.packet, Audio) and not event.packet.data else (event,)

    def whole_samples(self, audio: bytes) -> bytes | None:
        """Appends that are counted may come again on another connection, which does not know what came before."""
        if self._appends is not None:
            return None if len(audio) % 2 else audio
        audio = self._odd + audio
        whole = len(audio) // 2 * 2
        self._odd = audio[whole:]
        return audio[:whole] if self._odd else audio

    def count_appends(self, confirmed: int) -> bool:
        if self._appends is not None:
            return False
        self._appends = confirmed
        return True

    def opened(
        self, session_id: str, config: SessionConfig, at: EventId, events: Sequence[LogEvent], restored: Restored | None
    ) -> list[Frame]:
        """The id of session.created claims no more than the client has seen, should it come back with it: only a
        position seen whole can be named as a whole."""
        self.session_id = session_id
        seen, messages = self._seen, self._translate(events)
        if seen.part >= len(messages) - 1:
            self._seen = EventId(at.position, seen.snapshot, LAST_PART)
        session = session_object(Context(session_id, config, config.text_only))
        if extension := self._extension(at, restored):
            session["litevoice"] = extension
        conversation = wire.ConversationObject(id=conversation_id(session_id))
        created = self._own(wire.SessionCreated(session=session, conversation=conversation))
        return [created, *self._numbered(at, messages, after=seen.part)]

    @property
    def can_return(self) -> bool:
        """It has come back before, says that it does, or wants to know what it would have to send again. No client
        that is used as it comes returns to its session."""
        return self.returns or self.resume is not None or self._appends is not None

    def encode(self, at: EventId, events: Sequence[LogEvent]) -> list[Frame]:
        return self._numbered(at, self._translate(events))

    def problem(self, problem: Problem) -> list[Frame]:
        body = wire.ErrorBody(
            code=problem.code, message=problem.message, param=problem.param, event_id=problem.event_id
        )
        return [self._own(wire.Error(error=body))]

    def confirmed(self, client_seq: int) -> list[Frame]:
        return [self._own(wire.AppendsConfirmed(appends=client_seq))]

    def going_away(self, seconds: float) -> list[Frame]:
        return [self._own(wire.GoingAway(time_left_ms=round(seconds * 1000)))] if self.told_of_moves else []

    def _extension(self, at: EventId, restored: Restored | None) -> dict[str, object]:
        """What `session.created` says that OpenAI's does not."""
        extension: dict[str, object] = {}
        if self._appends is not None:
            extension["confirmed_appends"] = self._appends
        if self.told_of_moves:
            extension["going_away"] = True
        if restored is not None:
            extension["restored"] = {
                "position": at.position,
                "items": restored.items,
                "turns": restored.turn,
                "response_id": restored.response_id or None,
            }
            extension["lost"] = {"events": restored.unreadable, "appends": None if self._appends is None else 0}
        return extension

    def _translate(self, events: Sequence[LogEvent]) -> list[wire.ServerEvent]:
        return [
            message
            for entry in events
            for message in encode(entry.event, Context(self.session_id, entry.config, entry.text_only))
        ]

    def _numbered(self, at: EventId, messages: list[wire.ServerEvent], after: int = -1) -> list[Frame]:
        """The messages of a position, but for those up to part `after`."""
        frames = []
        for part, message in enumerate(messages):
            if part > after:
                message.event_id = str(EventId(at.position, at.snapshot, part))
                frames.append(Frame(_json.encode(message)))
        self._seen = EventId(at.position, at.snapshot, LAST_PART)
        return frames

    def _own(self, message: wire.ServerEvent) -> Frame:
        if self._seen.part == LAST_PART:
            self._own_events += 1
            message.event_id = self._seen.gateway_made(self._own_events)
        else:
            message.event_id = str(self._seen)
        return Frame(_json.encode(message))


def _changes_codec(packet: Packet, config: SessionConfig) -> bool:
    return isinstance(packet, Update) and packet.config.input_codec != config.input_codec
