"""The OpenAI Realtime protocol as the session core sees it.

Client events: session.update, input_audio_buffer.append/commit/clear, response.create/cancel,
conversation.item.create. Everything else is answered with an `error` event, code ``unknown_event``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.events import DownEvent
from litevoice_gateway.protocols import ClientEvent, Context, Problem, ServerEvent
from litevoice_gateway.protocols.openai_realtime import encode as encoding
from litevoice_gateway.protocols.openai_realtime import server_events as wire
from litevoice_gateway.protocols.openai_realtime.decode import decode

_json = msgspec.json.Encoder()


class OpenAIRealtime:
    """`new_item_id` names items for which the client gave no id."""

    name = "openai-realtime"
    can_return = True  # 1012 is among the recoverable closes of the OpenAI SDKs

    def __init__(self, new_item_id: Callable[[], str]) -> None:
        self._new_item_id = new_item_id

    def decode(self, message: str, config: SessionConfig) -> ClientEvent:
        return decode(message, config, self._new_item_id)

    def created(self, context: Context) -> ServerEvent:
        return wire.SessionCreated(session=encoding.session_object(context))

    def encode(self, event: DownEvent, context: Context) -> list[ServerEvent]:
        return encoding.encode(event, context)

    def problem(self, problem: Problem) -> ServerEvent:
        return wire.Error(
            error=wire.ErrorBody(
                code=problem.code, message=problem.message, param=problem.param, event_id=problem.event_id
            )
        )

    def dump(self, event: ServerEvent) -> bytes:
        return _json.encode(event)
