"""A session's side towards the client, sans I/O: what is forwarded of each position, and under which event ids."""

from __future__ import annotations

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.positions import LAST_PART, EventId
from litevoice_gateway.protocols import ClientProtocol, Context, Problem, ServerEvent
from litevoice_gateway.restore import Step


class Downlink:
    """`target` is the last event that the client has seen before this connection."""

    __slots__ = ("_own", "_protocol", "_seen", "_session_id", "_target")

    def __init__(self, session_id: str, protocol: ClientProtocol, target: EventId) -> None:
        self._session_id = session_id
        self._protocol = protocol
        self._target = target
        self._seen = target
        self._own = 0

    def translate(self, steps: list[Step]) -> list[ServerEvent]:
        """All messages of one position."""
        return [
            message
            for step in steps
            for message in self._protocol.encode(step.event, Context(self._session_id, step.config, step.text_only))
        ]

    def restored(self, position: int, messages: int) -> None:
        """The log is read up to the target. Ids of the gateway's own events must not claim more than the client has
        seen, should it come back with one: only a position seen whole can be named as a whole."""
        if self._target.part >= messages - 1:
            self._seen = EventId(position, self._target.snapshot, LAST_PART)

    def forward(self, position: int, snapshot: int, messages: list[ServerEvent]) -> list[bytes]:
        """Numbers the messages of a position; `snapshot`: where a restore would have to begin now."""
        seen_part = self._target.part if position == self._target.position else -1
        sent = []
        for part, message in enumerate(messages):
            if part > seen_part:
                message.event_id = str(EventId(position, snapshot, part))
                sent.append(self._protocol.dump(message))
        self._seen = EventId(position, snapshot, LAST_PART)
        return sent

    def created(self, config: SessionConfig) -> bytes:
        """The connection's first message."""
        return self._own_event(self._protocol.created(Context(self._session_id, config, config.text_only)))

    def problem(self, problem: Problem) -> bytes:
        return self._own_event(self._protocol.problem(problem))

    def _own_event(self, message: ServerEvent) -> bytes:
        if self._seen.part == LAST_PART:
            self._own += 1
            message.event_id = self._seen.gateway_made(self._own)
        else:
            message.event_id = str(self._seen)
        return self._protocol.dump(message)
