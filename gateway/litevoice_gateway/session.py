"""One session as a state machine without I/O: client messages, deliveries and the clock go in, commands come out.

Life of a session: RESTORING (its LiteTopic is being taken over and read up to what the client knows) → LIVE →
CLOSING (our Close is sent; what the client still sends is read and published until its own Close) → ENDED.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from litevoice_contracts.control import SessionInfo
from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND
from litevoice_contracts.envelopes import KEEP_ALIVE, DownEnvelope, MessageId
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import EpochRejected, Progress, SessionUpdated
from litevoice_contracts.news import SessionNews
from litevoice_contracts.packets import Audio, Update
from litevoice_contracts.positions import START, EventId
from litevoice_gateway import commands as do
from litevoice_gateway.acknowledgements import Acknowledgements
from litevoice_gateway.intake import Intake
from litevoice_gateway.limits import Limits
from litevoice_gateway.opening import Opening
from litevoice_gateway.packet_log import PacketLog
from litevoice_gateway.protocols import ClientProtocol, Frame, Problem, Refusal, Restored
from litevoice_gateway.session_state import LogEvent, SessionState

SETTLE_SECONDS = 0.06
"""A resumed session publishes once its log has been quiet for this long, so that its first packet carries the newest
snapshot; after SETTLE_MAX_SECONDS at the latest."""
SETTLE_MAX_SECONDS = 0.5
COUNTED_CODES = frozenset(range(do.NORMAL, 1016)) | {do.REPLACED}
"""A client may name any code in its Close, and gets it back: only these have a counter of their own."""
STALL_SECONDS = 10.0
"""How long a session may stay at max_pending_packets before it is closed with 1013."""


class Phase(Enum):
    RESTORING = "restoring"
    LIVE = "live"
    CLOSING = "closing"
    ENDED = "ended"


class Session:
    """All inputs are methods; after each, `take` gives the commands in order. Times are monotonic seconds.

    Attributes:
        first_position: where the log must be read from: the last snapshot before what the client has seen.
    """

    __slots__ = (
        "_acknowledgements",
        "_active",
        "_began",
        "_close_by",
        "_config",
        "_drain_at_edge",
        "_drain_by",
        "_events",
        "_evicted",
        "_forced",
        "_going_away_sent",
        "_heard",
        "_held_back",
        "_ignores_client",
        "_intake",
        "_leaving",
        "_limits",
        "_live_since",
        "_opened_at",
        "_opening",
        "_out",
        "_packets",
        "_protocol",
        "_restarted",
        "_state",
        "_target",
        "_unread",
        "_updates_in_flight",
        "can_return",
        "first_position",
        "id",
        "phase",
        "reading_replies",
        "resumed",
    )

    def __init__(self, opening: Opening, protocol: ClientProtocol, limits: Limits, now: float) -> None:
        self.id = opening.session_id
        self.phase = Phase.RESTORING
        self.reading_replies = True
        self._opening = opening
        self._protocol = protocol
        self._limits = limits
        self._out: list[do.Command] = []
        self.can_return = protocol.can_return
        self.resumed = protocol.resume is not None
        self._target = protocol.resume or START
        self.first_position = max(self._target.snapshot, 0)
        self._state = SessionState(self.first_position, protocol.config)
        wall, tie = opening.wall_milliseconds, opening.tie
        self._packets = PacketLog(self.id, limits, self._state, wall, self._out, tie=tie, new=not self.resumed)
        self._config = protocol.config
        self._acknowledgements: Acknowledgements | None = None
        self._events: dict[str, int] = {}
        self._updates_in_flight = 0
        self._intake = Intake(limits, self._out, now)
        self._opened_at: float | None = None
        self._began = self._live_since = self._heard = self._active = now
        self._ignores_client = False
        self._evicted = False
        self._held_back = False
        self._forced = False
        self._restarted = False
        self._leaving = False
        self._unread: MessageId | None = None
        self._drain_at_edge = False
        self._going_away_sent = False
        self._drain_by: float | None = None
        self._close_by: float | None = None

    # What the shell may look at

    def take(self) -> list[do.Command]:
        """The commands since the last call."""
        if not self._out:
            return []
        out = self._out.copy()
        self._out.clear()
        return out

    @property
    def in_turn(self) -> bool:
        return self._state.in_turn

    @property
    def unconfirmed(self) -> int:
        return self._packets.unconfirmed

    @property
    def held_bytes(self) -> int:
        """Of packets that wait for the broker or are kept for a replay."""
        return self._packets.held_bytes

    @property
    def pending_requests(self) -> int:
        """See `control.SessionInfo`."""
        return self._packets.retained_envelopes

    def info(self, now: float) -> SessionInfo:
        oldest = self._packets.oldest_at
        return SessionInfo(
            session_id=self.id,
            client=self._opening.client,
            principal=self._opening.principal,
            age_seconds=round(now - self._began, 3),
            turn=self._state.turn,
            responding=self._state.awaiting_response,
            pending_requests=self.pending_requests,
            oldest_request_seconds=0.0 if oldest is None else round(now - oldest, 3),
            reading=self.reading_replies,
            next_position=self._state.position + 1,
        )

    # Inputs: opening

    def opened(self, now: float) -> None:
        """The LiteTopic is ours, from `first_position` on."""
        self._opened_at = now
        if self.phase is Phase.RESTORING and self._state.position >= self._target.position:
            self._go_live(now)

    def open_failed(self, reason: str, now: float) -> None:
        self._close(do.OVERLOAD, reason, now, ignore_client=True)

    # Inputs: the client

    def may_wait(self, message: str | bytes) -> bool:
        """Whether nobody waits for an answer to the message, which is not read yet."""
        return self._protocol.is_audio(message)

    def reads_at_departure(self) -> bool:
        """Whether the client's messages may wait for the next bundle, which is then asked for."""
        return self.phase is Phase.LIVE and self._packets.await_departure()

    def messages(self, messages: Sequence[str | bytes], now: float) -> None:
        """Text or binary, in order. This is the hot path: a microphone sends 50 messages per second."""
        if self._ignores_client or self.phase is Phase.ENDED:
            return
        self._active = now
        if self.phase is Phase.RESTORING:  # the configuration that they meet is not known yet
            for message in messages:
                self._intake.keep(message)
            self._hold_back()
            return
        if self.phase is Phase.LIVE:
            self._intake.spend(now, len(messages))
        audio_seconds, protocol, packets, counts = 0.0, self._protocol, self._packets, self._events
        for message in messages:
            try:
                events = protocol.decode(message, self._config)
            except Refusal as refusal:
                self._problem(refusal.problem)
                continue
            for event in events:
                packet, codec = event.packet, self._config.input_codec
                counts[event.type] = counts.get(event.type, 0) + 1
                packets.add(packet, codec, now, event.client_seq)
                if isinstance(packet, Audio):
                    audio_seconds += len(packet.data) / CODEC_BYTES_PER_SECOND[codec]
                elif isinstance(packet, Update):
                    self._config = packet.config
                    self._updates_in_flight += 1
        if audio_seconds and self.phase is Phase.LIVE:
            self._intake.spend_audio(audio_seconds, now)
        self._hold_back()

    def broken(self, code: int, problem: Problem, now: float) -> None:
        """The client violated the WebSocket protocol: nothing after this can be understood."""
        if self.phase in (Phase.RESTORING, Phase.LIVE):
            self._problem(problem)
            self._close(code, problem.message, now)
        self._ignores_client = True

    def writable(self, can_write: bool, now: float) -> None:
        """The connection's send buffer is over its bound (False), or has room again (True)."""
        if self.phase is Phase.ENDED or can_write == self.reading_replies:
            return
        self.reading_replies = can_write
        self._heard = now
        if can_write:
            self._intake.all_read()
            self._out.append(do.ResumeReplies())
            self._hold_back()
        else:
            self._out.append(do.PauseReplies())

    def peer_closed(self, code: int, now: float) -> None:
        """The client has sent its Close: nothing follows.

        The TCP connection is closed once the broker has confirmed everything that was read from it. Clients reconnect
        only then, so what they say to the next pod cannot overtake what they said to this one.
        """
        if self.phase in (Phase.RESTORING, Phase.LIVE):
            self._send_close(code if code >= do.NORMAL else do.NORMAL, "")
        self._end(now)
        self._close_soon(now)
        self._leaving = True
        self._leave_if_confirmed()

    def disconnected(self, now: float) -> None:
        """The TCP connection is gone."""
        self._forced = self.phase is Phase.CLOSING
        self._end(now)

    # Inputs: the broker

    def delivered(self, position: int, body: bytes, now: float) -> None:
        """The next position of the log. Anything but the next one is a leftover of an earlier subscription."""
        if self.phase is Phase.ENDED or position != self._state.position + 1:
            return
        if position > self._target.position and self.phase is Phase.RESTORING:
            self._go_live(now)
        self._heard = now
        events = self._fold(position, body, now)
        if position >= self._target.position:
            self._forward(events, now)
            self._control(events, now)
        self._check_edge(now)

    def _fold(self, position: int, body: bytes, now: float) -> list[LogEvent]:
        """What counts of a message."""
        if body == KEEP_ALIVE:
            return self._state.skip(position, unreadable=False)
        self._active = now
        try:
            events = self._state.apply(position, DownEnvelope.decode(body))
        except InvalidField:
            self._out.append(do.Observe("dropped", "bad_envelope"))
            return self._state.skip(position)
        if isinstance(events, str):
            self._out.append(do.Observe("dropped", events))
            return []
        self._packets.heard(now)
        return events

    def depart(self, now: float) -> None:
        """A bundle leaves for the session's partition: what was collected goes along."""
        self._packets.depart(now)
        self._count_events()

    def worker_is_alive(self, now: float, news: SessionNews | None = None) -> None:
        """A sign of life of the session's worker beside its replies, perhaps with what it is done with."""
        self._packets.heard(now)
        if news is None or news.progress is None or news.attempt < self._state.attempt:
            return
        if news.after is None or self._state.has(news.after):
            self._packets.progress(news.progress)
        elif news.after == self._unread:  # it may be at the broker, and the wake-up lost
            self._out.append(do.WakeReplies())
        else:
            self._unread = news.after

    def refused(self, now: float) -> None:
        """The worker has no room for the session: it may find some elsewhere, or later."""
        self._close(do.OVERLOAD, "the workers have as many sessions as they may", now, ignore_client=True)

    def worker_changed(self, now: float) -> None:
        """Another worker reads the session's partition now."""
        self._packets.tick(now, probe=self._may_ask, ask_now=True)

    def confirmed(self, packets: int, now: float, client_seq: int | None = None, size: int = 0) -> None:
        """The broker has `packets` more of ours (`fresh`, `client_seq` and `fresh_bytes` of a `Publish`)."""
        self._packets.confirmed(packets, now, size)
        if client_seq is not None:
            if self._acknowledgements is None:
                self._acknowledgements = Acknowledgements(self._protocol.acknowledge_seconds)
            self._acknowledgements.confirmed(client_seq)
            self._acknowledge(now)
        self._hold_back()
        self._leave_if_confirmed()

    def not_confirmed(self, packets: int, now: float, size: int = 0) -> None:
        """The broker client has given up on them: they are lost."""
        self._packets.confirmed(packets, now, size)
        self._close(do.OVERLOAD, "the message broker does not answer", now, ignore_client=True)
        self._leave_if_confirmed()

    def evicted(self, now: float) -> None:
        """Another gateway owns the session now, or another connection of this one.

        In half-close nothing changes but the ownership: what the client sent before it came back elsewhere is still
        read and published, up to its Close.
        """
        self._evicted = True
        self._out.append(do.Observe("evictions"))
        if self.phase in (Phase.RESTORING, Phase.LIVE):
            self._send_close(do.REPLACED, "replaced by a newer connection")
            self._end(now)
            self._close_soon(now)

    # Inputs: the operator and the clock

    def hold_back(self, full: bool) -> None:
        """Whether the pod as a whole holds as much as it may: then no client is read."""
        self._held_back = full
        self._hold_back()

    def drain(self, now: float, *, at_edge: bool, by: float) -> None:
        """Close with 1012 at the turn's edge (if `at_edge`), and at `by` in any case."""
        self._drain_at_edge, self._drain_by = at_edge, by
        self._out.append(do.WakeAt(by))
        if at_edge:
            self._go_away()
        self._check_edge(now)

    def cut(self, now: float) -> None:
        """Ends without waiting for the peer."""
        self._forced = True
        self._end(now)
        self._out.append(do.Disconnect())

    def tick(self, now: float) -> None:
        """Whatever is due; comes once a second, and when asked for."""
        if self._close_by is not None and now >= self._close_by:
            self.cut(now)
        for later in (self._close_by, self._drain_by if self.phase in (Phase.RESTORING, Phase.LIVE) else None):
            if later is not None and later > now:
                self._out.append(do.WakeAt(later))
        opened, patience = self._opened_at, self._limits.restore_timeout_seconds
        if self.phase is Phase.RESTORING and opened is not None and now - max(opened, self._heard) >= patience:
            self._expire(now)
        if self.phase not in (Phase.LIVE, Phase.CLOSING):
            return
        if self._intake.throttle_ends(now, closing=self.phase is Phase.CLOSING):
            self._hold_back()
        self._begin_if_settled(now)
        self._acknowledge(now)
        self._packets.tick(now, probe=self._may_ask)
        if now - self._active >= self._limits.idle_timeout_seconds:
            self._close(do.NORMAL, "idle", now)
        if self._packets.full_since is not None and now - self._packets.full_since >= STALL_SECONDS:
            self._close(do.OVERLOAD, "too many packets are waiting for the message broker", now, ignore_client=True)
        self._check_edge(now)

    @property
    def _may_ask(self) -> bool:
        return self.phase is Phase.LIVE and self.reading_replies

    # Restoring

    def _go_live(self, now: float, events: list[LogEvent] | None = None) -> None:
        """`events`: of the target's position, when the log has one."""
        self.phase = Phase.LIVE
        self._live_since = self._heard = now
        self._config = self._state.snapshot.config
        restored = self._restored if self.resumed else None
        self._send(self._protocol.opened(self.id, self._config, self._at, events or [], restored))
        if self.resumed:
            self._out.append(do.Observe("takeovers"))
            self._out.append(do.Observe("takeover_seconds", amount=now - self._began))
            self._out.append(do.WakeAt(now + SETTLE_SECONDS))
        else:
            self._packets.begin(now)
        self.messages(self._intake.take_early(), now)

    @property
    def _restored(self) -> Restored:
        state = self._state
        response = state.response or state.snapshot.pending
        return Restored(
            items=len(state.snapshot.items),
            turn=state.turn,
            response_id=response.response_id if response else "",
            unreadable=state.unreadable,
        )

    def _expire(self, now: float) -> None:
        text = "the session's events are no longer kept, or last_event_id was never issued; start a new session"
        self._problem(Problem("session_expired", text, "last_event_id"))
        self._close(do.NOT_ALLOWED, "session expired", now, ignore_client=True)

    def _begin_if_settled(self, now: float) -> None:
        if self._packets.is_open or self.phase is not Phase.LIVE:
            return
        settled = min(self._heard + SETTLE_SECONDS, self._live_since + SETTLE_MAX_SECONDS)
        if now >= settled:
            self._packets.begin(now)
        else:
            self._out.append(do.WakeAt(settled))

    # Down

    @property
    def _at(self) -> EventId:
        return EventId(self._state.position, self._state.restore_position)

    def _forward(self, events: list[LogEvent], now: float) -> None:
        """What the client has not seen of this position."""
        if self.phase is Phase.RESTORING:
            self._go_live(now, events)
        elif self.phase is Phase.LIVE:
            self._send(self._protocol.encode(self._at, events))

    def _acknowledge(self, now: float) -> None:
        """A client that does not read gets the newest number when it does."""
        if self._acknowledgements is None or self.phase is not Phase.LIVE or not self.reading_replies:
            return
        client_seq = self._acknowledgements.due(now)
        if client_seq is not None:
            self._send(self._protocol.confirmed(client_seq))

    def _send(self, frames: list[Frame]) -> None:
        self._out.extend(do.Send(frame.data, frame.binary) for frame in frames)

    def _control(self, events: list[LogEvent], now: float) -> None:
        for entry in events:
            match entry.event:
                case Progress() as progress:
                    self._packets.progress(progress)
                case EpochRejected(rejected, current):
                    self._packets.reject(rejected, current)
                case SessionUpdated():
                    self._updates_in_flight = max(0, self._updates_in_flight - 1)
                    if not self._updates_in_flight:
                        self._config = self._state.snapshot.config
        self._packets.answer(now)

    def _problem(self, problem: Problem) -> None:
        self._out.append(do.Observe("client_errors", problem.code))
        if self.phase in (Phase.RESTORING, Phase.LIVE):
            self._send(self._protocol.problem(problem))
            if not self.reading_replies:
                self._intake.unread()
            self._hold_back()

    def _hold_back(self) -> None:
        """Stops or resumes reading the socket, by what waits for the broker, the restore, or the client itself."""
        if self.phase is not Phase.ENDED:
            self._intake.settle(full=self._packets.full_since is not None or self._held_back)

    def _count_events(self) -> None:
        """Not one by one: frames of audio are many."""
        self._out.extend(do.Observe("client_events", kind, count) for kind, count in self._events.items())
        self._events.clear()

    # Closing

    def _check_edge(self, now: float) -> None:
        if self._drain_by is None or self.phase not in (Phase.RESTORING, Phase.LIVE):
            return
        at_edge = self._drain_at_edge and self.phase is Phase.LIVE and not self._state.in_turn
        if at_edge or now >= self._drain_by:
            self._restarted = True
            self._go_away()
            self._close(do.RESTART, "service restart", now)

    def _go_away(self) -> None:
        """Tells the client once, while it can still be told."""
        if not self._going_away_sent and self.phase in (Phase.RESTORING, Phase.LIVE):
            self._going_away_sent = True
            self._send(self._protocol.going_away())

    def _send_close(self, code: int, reason: str) -> None:
        known = code in COUNTED_CODES
        self._out.append(do.Observe("closes", str(code) if known else "other"))
        self._out.append(do.SendClose(code, reason))

    def _close(self, code: int, reason: str, now: float, *, ignore_client: bool = False) -> None:
        if self.phase not in (Phase.RESTORING, Phase.LIVE):
            return
        self._open_late(now)
        self._packets.flush(now)
        self._send_close(code, reason)
        self.phase = Phase.CLOSING
        self._ignores_client = self._ignores_client or ignore_client
        self._close_soon(now)
        self._intake.all_read()
        self._hold_back()

    def _open_late(self, now: float) -> None:
        """A session that ends before its log has settled still publishes."""
        if self.phase is Phase.LIVE and not self._packets.is_open:
            self._packets.begin(now)

    def _close_soon(self, now: float) -> None:
        """The peer has so long to answer our Close."""
        self._close_by = now + self._limits.close_timeout_seconds
        self._out.append(do.WakeAt(self._close_by))

    def _leave_if_confirmed(self) -> None:
        if self._leaving and not self._packets.unconfirmed:
            self._leaving = False
            self._close_by = None
            self._out.append(do.Disconnect())

    def _end(self, now: float) -> None:
        self._close_by = None
        self._leaving = False
        if self.phase is Phase.ENDED:
            return
        self._open_late(now)
        self._packets.end(now)
        self._count_events()
        self.phase = Phase.ENDED
        moved = self._restarted or self._evicted
        outcome: do.Outcome = "forced" if self._forced else "moved" if moved else "completed"
        self._out.append(do.End(not self._evicted, outcome, self._packets.collected + self._intake.early))
