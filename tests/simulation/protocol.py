"""The simulated clients' protocol: one frame per position of the log, so a client knows exactly what it has seen; every
packet carries the client's own number, and is acknowledged when the client wants that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from litevoice_contracts.conversation import Codec, Item, SessionConfig
from litevoice_contracts.packets import Audio, CancelResponse, CreateItem, CreateResponse, Packet
from litevoice_contracts.positions import EventId
from litevoice_gateway.protocols import ClientEvent, Frame, Problem, Restored
from litevoice_gateway.session_state import LogEvent
from tests.simulation.stages import SILENCE

CODEC: Codec = "g711_ulaw/8000"
PACKETS: dict[str, Packet] = {"respond": CreateResponse(), "cancel": CancelResponse()}


class Numbered:
    """`numbered`: whether the gateway is told the numbers, so that what is sent again counts once."""

    can_return = True
    acknowledge_seconds = 0.0
    subprotocol = ""

    def __init__(self, session_id: str, resume: EventId | None, *, numbered: bool) -> None:
        self.session_id = session_id
        self.resume = resume
        self.config = SessionConfig(input_codec=CODEC, output_codec=CODEC)
        self._numbered = numbered

    def is_audio(self, message: str | bytes) -> bool:
        return isinstance(message, bytes)

    def decode(self, message: str | bytes, config: SessionConfig) -> Sequence[ClientEvent]:
        if isinstance(message, bytes):
            number = int.from_bytes(message[:4], "big")
            return [ClientEvent("audio", Audio(message[4:]), number if self._numbered else None)]
        number, kind, text = msgspec.json.decode(message)
        packet = PACKETS.get(kind) or CreateItem(Item(f"q{number}", "user", text))
        return [ClientEvent(kind, packet, number if self._numbered else None)]

    def opened(
        self, session_id: str, config: SessionConfig, at: EventId, events: Sequence[LogEvent], restored: Restored | None
    ) -> list[Frame]:
        """Nothing of `events`: a position's frame is seen whole, or not at all."""
        told = restored and [restored.items, restored.response_id, restored.unreadable]
        return [_frame(["hello", session_id, at.position, told])]

    def encode(self, at: EventId, events: Sequence[LogEvent]) -> list[Frame]:
        return [_frame(["at", at.position, at.snapshot, [entry.event for entry in events]])]

    def problem(self, problem: Problem) -> list[Frame]:
        return [_frame(["problem", problem.code, problem.message])]

    def confirmed(self, client_seq: int) -> list[Frame]:
        return [_frame(["ack", client_seq])]

    def going_away(self, seconds: float) -> list[Frame]:
        return [_frame(["going_away", seconds])]


def said_in(message: str | bytes) -> list[int]:
    """Its number, when it says something that is told from everything else: a tone, or what was typed."""
    if isinstance(message, bytes):
        return [] if message[4:] == SILENCE else [int.from_bytes(message[:4], "big")]
    number, kind, _ = msgspec.json.decode(message)
    return [number] if kind == "item" else []


def _frame(content: list[Any]) -> Frame:
    return Frame(msgspec.json.encode(content))
