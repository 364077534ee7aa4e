"""How a session stands: what may be asked of it at any moment, and changes nothing."""

from __future__ import annotations

from enum import Enum

from litevoice_contracts.control import GatewayStage, SessionInfo
from litevoice_gateway.opening import Opening
from litevoice_gateway.packet_log import PacketLog
from litevoice_gateway.protocols import ClientProtocol
from litevoice_gateway.session_state import SessionState


class Phase(Enum):
    RESTORING = "restoring"
    LIVE = "live"
    CLOSING = "closing"
    ENDED = "ended"


class Standing:
    """Of one session, which moves it on: see `Session`. Times are monotonic seconds.

    Attributes:
        reading_replies: the client takes what is sent to it.
        resumed: it has had the session before.
    """

    __slots__ = (
        "_advanced",
        "_began",
        "_opening",
        "_packets",
        "_protocol",
        "_state",
        "id",
        "phase",
        "reading_replies",
        "resumed",
    )

    def __init__(
        self, opening: Opening, protocol: ClientProtocol, state: SessionState, packets: PacketLog, now: float
    ) -> None:
        self.id = opening.session_id
        self.phase = Phase.RESTORING
        self.reading_replies = True
        self.resumed = protocol.resume is not None
        self._opening = opening
        self._protocol = protocol
        self._state = state
        self._packets = packets
        self._began = self._advanced = now

    @property
    def can_return(self) -> bool:
        return self._protocol.can_return

    @property
    def in_turn(self) -> bool:
        return self._state.in_turn

    @property
    def is_answered(self) -> bool:
        """Something may still come, or waits already, because the client does not read."""
        return self._packets.turn_is_open or not self.reading_replies

    @property
    def read_epoch(self) -> int:
        """The highest that its log has told of, -1 for none."""
        return self._state.epoch

    @property
    def newest_epoch(self) -> int:
        """The highest that is known, its own or another; -1 before its own has begun."""
        return max(self._state.epoch, self._packets.epoch) if self._packets.is_open else -1

    @property
    def unconfirmed(self) -> int:
        return self._packets.pending.unconfirmed

    @property
    def settled(self) -> bool:
        """The broker has answered for everything that was read, and for what is left to the next owner."""
        return not (self._packets.pending.unconfirmed or self._packets.handing_over)

    @property
    def held_bytes(self) -> int:
        """Of packets that wait for the broker or are kept for a replay."""
        return self._packets.held_bytes

    @property
    def pending_requests(self) -> int:
        """See `control.SessionInfo`."""
        return self._packets.retained_envelopes

    def stalled_seconds(self, now: float) -> float:
        """How long a worker has had something to do for the session, and nothing has come of it; 0 without a turn.

        While the user may still be speaking, that the worker knows the session is enough; later only events are."""
        if not self._packets.turn_is_open:
            return 0.0
        since, begun = self._advanced, self._packets.oldest_at
        if begun is not None and not (self._state.awaiting_response or self._state.committed):
            since = max(since, begun)
        return now - since

    def oldest_request_seconds(self, now: float) -> float:
        oldest = self._packets.oldest_at
        return 0.0 if oldest is None else now - oldest

    def age_seconds(self, now: float) -> float:
        return now - self._began

    def info(self, now: float) -> SessionInfo:
        return SessionInfo(
            session_id=self.id,
            client=self._opening.client,
            principal=self._opening.principal,
            age_seconds=round(self.age_seconds(now), 3),
            turn=self._state.turn,
            responding=self._state.awaiting_response,
            pending_requests=self.pending_requests,
            oldest_request_seconds=round(self.oldest_request_seconds(now), 3),
            reading=self.reading_replies,
            next_position=self._state.position + 1,
            stalled_seconds=round(self.stalled_seconds(now), 3),
            stage=self._stage,
            unconfirmed=self.unconfirmed,
            unconfirmed_seconds=round(self._packets.pending.unconfirmed_seconds(now), 3),
            fruitless=self._state.fruitless,
            resumed=self.resumed,
        )

    @property
    def principal(self) -> str:
        return self._opening.principal

    @property
    def client(self) -> str:
        return self._opening.client

    @property
    def turn(self) -> int:
        return self._state.turn

    @property
    def _stage(self) -> GatewayStage:
        if self.phase is Phase.RESTORING:
            return "restoring"
        if self.phase is not Phase.LIVE:
            return "closing"
        if self._state.response is not None:
            return "responding"
        if self._state.committed or self._state.awaiting_response:
            return "waiting"
        return "listening" if self._state.speaking else "idle"
