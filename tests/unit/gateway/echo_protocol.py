"""A client protocol that shares nothing with OpenAI's: binary frames, the client's own packet numbers, cumulative
acknowledgements, GOAWAY, its key in the path's query. It shows that the gateway's core knows no protocol.

To the gateway: number (4 bytes, big-endian), audio. To the client: one letter, then HELLO session id and codec, ACK
number, SOUND position (8 bytes) and audio, TROUBLE code, or nothing after GOAWAY.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.events import AudioDelta
from litevoice_contracts.packets import Audio
from litevoice_contracts.positions import LAST_PART, START, EventId
from litevoice_gateway.protocols import ClientEvent, Frame, Problem, Refusal, Restored, UpgradeRequest
from litevoice_gateway.session_state import LogEvent

HELLO, ACK, SOUND, TROUBLE, GOAWAY = b"H", b"A", b"S", b"T", b"G"
SUBPROTOCOL = "echo.v0"


class Echo:
    """One connection."""

    can_return = True
    acknowledge_seconds = 0.0
    subprotocol = SUBPROTOCOL

    def __init__(self, session_id: str = "", resume: EventId | None = None) -> None:
        self.session_id = session_id
        self.resume = resume
        self.config = SessionConfig(input_codec="g711_ulaw/8000", output_codec="g711_ulaw/8000")

    def is_audio(self, message: str | bytes) -> bool:
        return isinstance(message, bytes)

    def decode(self, message: str | bytes, config: SessionConfig) -> Sequence[ClientEvent]:
        if isinstance(message, str) or len(message) < 5:
            raise Refusal(Problem("bad_frame", "expected a binary frame: a number of 4 bytes, and audio"))
        return [ClientEvent("audio", Audio(message[4:]), client_seq=int.from_bytes(message[:4], "big"))]

    def opened(
        self, session_id: str, config: SessionConfig, at: EventId, events: Sequence[LogEvent], restored: Restored | None
    ) -> list[Frame]:
        return [Frame(HELLO + f"{session_id} {config.input_codec}".encode(), binary=True)]

    def encode(self, at: EventId, events: Sequence[LogEvent]) -> list[Frame]:
        heard = [entry.event.audio for entry in events if isinstance(entry.event, AudioDelta)]
        return [Frame(SOUND + struct.pack(">q", at.position) + audio, binary=True) for audio in heard]

    def problem(self, problem: Problem) -> list[Frame]:
        return [Frame(TROUBLE + problem.code.encode(), binary=True)]

    def confirmed(self, client_seq: int) -> list[Frame]:
        return [Frame(ACK + client_seq.to_bytes(4, "big"), binary=True)]

    def going_away(self, seconds: float) -> list[Frame]:
        return [Frame(GOAWAY, binary=True)]


class EchoFactory:
    """At the same path as OpenAI's, told apart by the subprotocol."""

    path = "/v1/realtime"
    api_key_form = "?key="

    def accepts(self, request: UpgradeRequest) -> bool:
        return request.path == self.path and SUBPROTOCOL in request.subprotocols

    def api_key(self, request: UpgradeRequest) -> str | None:
        return request.query.get("key")

    def connect(self, request: UpgradeRequest) -> Echo:
        session_id, heard = request.query.get("session", ""), request.query.get("heard", "")
        if not session_id:
            return Echo()
        if heard and not heard.isdigit():
            raise Refusal(Problem("bad_position", "heard: expected the position of the last sound", "heard"))
        return Echo(session_id, EventId(int(heard), -1, LAST_PART) if heard else START)

    def http_error(self, status: int, problem: Problem) -> bytes:
        return f'{{"no": "{problem.code}"}}'.encode()
