"""One session as a state machine without I/O: client messages, deliveries and the clock go in, commands come out.

Life of a session: RESTORING (its LiteTopic is being taken over and read up to what the client knows) → LIVE →
CLOSING (our Close is sent; what the client still sends is read and published until its own Close) → ENDED.
"""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND
from litevoice_contracts.envelopes import KEEP_ALIVE, DownEnvelope, MessageId
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import EpochRejected, Progress, SessionError, SessionUpdated
from litevoice_contracts.news import SessionNews
from litevoice_contracts.packets import Audio, Update
from litevoice_contracts.positions import START, EventId
from litevoice_gateway import commands as do
from litevoice_gateway.acknowledgements import Acknowledgements
from litevoice_gateway.ending import Ending
from litevoice_gateway.intake import Intake, unnumbered
from litevoice_gateway.limits import Limits
from litevoice_gateway.opening import Opening
from litevoice_gateway.packet_log import PacketLog
from litevoice_gateway.pauses import Pause
from litevoice_gateway.protocols import ClientProtocol, Frame, Problem, Refusal, Restored
from litevoice_gateway.session_state import LogEvent, SessionState
from litevoice_gateway.standing import Phase, Standing

SETTLE_SECONDS = 0.06
"""A resumed session publishes once its log has been quiet for this long, so that its first packet carries the newest
snapshot; after SETTLE_MAX_SECONDS at the latest."""
SETTLE_MAX_SECONDS = 0.5
LEFT_SECONDS = 1.0
"""So long after it went live a resumed session waits for what the owner before leaves of an utterance, if a worker
asks: that one may learn of it late."""
STALL_SECONDS = 10.0
"""How long a session may stay at max_pending_packets before it is closed with 1013."""


class Session(Standing):
    """All inputs are methods; after each, `take` gives the commands in order. Times are monotonic seconds.

    Attributes:
        first_position: where the log must be read from: the last snapshot before what the client has seen.
    """

    __slots__ = (
        "_acknowledgements",
        "_active",
        "_config",
        "_ending",
        "_events",
        "_heard",
        "_held_back",
        "_ignores_client",
        "_intake",
        "_limits",
        "_live_since",
        "_opened_at",
        "_out",
        "_pause",
        "_target",
        "_unread",
        "_updates_in_flight",
        "first_position",
    )

    def __init__(self, opening: Opening, protocol: ClientProtocol, limits: Limits, now: float) -> None:
        self._out: list[do.Command] = []
        self._target = protocol.resume or START
        self.first_position = max(self._target.snapshot, 0)
        state, new = SessionState(self.first_position, protocol.config), protocol.resume is None
        name, wall, tie = opening.session_id, opening.wall_milliseconds, opening.tie
        packets = PacketLog(name, limits, state, wall, self._out, tie=tie, new=new)
        super().__init__(opening, protocol, state, packets, now)
        self._limits = limits
        self._config = protocol.config
        self._acknowledgements: Acknowledgements | None = None
        self._events: dict[str, int] = {}
        self._updates_in_flight = 0
        self._intake = Intake(limits, self._out, now)
        self._pause = Pause(now)
        self._ending = Ending(limits.close_timeout_seconds, self._out)
        self._opened_at: float | None = None
        self._live_since = self._heard = self._active = now
        self._ignores_client = False
        self._held_back = False
        self._unread: MessageId | None = None

    @property
    def is_replaced(self) -> bool:
        """Somebody else owns the session, or another connection."""
        return self._ending.evicted

    def take(self) -> list[do.Command]:
        """The commands since the last call."""
        if not self._out:
            return []
        out = self._out.copy()
        self._out.clear()
        return out

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
            if lost := unnumbered(messages, self._protocol, self._config):
                self._out.append(do.Lose(lost))
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
                    self._pause.audio_came()
                    audio_seconds += len(packet.data) / CODEC_BYTES_PER_SECOND[codec]
                elif isinstance(packet, Update):
                    self._config = packet.config
                    self._updates_in_flight += 1
        if audio_seconds and self.phase is Phase.LIVE:
            self._intake.spend_audio(audio_seconds, now)
        self._hold_back()

    def frames(self, count: int, now: float) -> None:
        """So many that are no messages of their own: they count like messages."""
        if self.phase is Phase.LIVE:
            self._intake.spend(now, count)
            self._hold_back()

    def broken(self, code: int, problem: Problem, now: float) -> None:
        """The client violated the WebSocket protocol: nothing after this can be understood."""
        if self.phase in (Phase.RESTORING, Phase.LIVE):
            self._problem(problem)
            self._close(code, problem.message, now)
        self._ignores_client = True

    def client_lives(self) -> None:
        """A sign of life that says nothing else."""
        self._pause.client_lives()

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
            self._ending.send_close(code if code >= do.NORMAL else do.NORMAL, "")
        self._end(now)
        self._ending.await_peer(now)
        self._ending.leave()
        self._ending.disconnect_if(self.settled)

    def disconnected(self, now: float) -> None:
        """The TCP connection is gone."""
        self._ending.forced = self.phase is Phase.CLOSING
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
        self._advanced = now
        return events

    def depart(self, now: float) -> None:
        """A bundle leaves for the session's partition: what was collected goes along."""
        self._packets.depart(now)
        self._count_events()

    def worker_is_alive(self, now: float, news: SessionNews | None = None) -> None:
        """A sign of life of the session's worker beside its replies, perhaps with what it is done with."""
        self._packets.heard(now)
        if news is not None and not (self._state.awaiting_response or self._state.committed):
            self._advanced = now
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
        self._packets.pending.confirmed(packets, now, size)
        if client_seq is not None:
            if self._acknowledgements is None:
                self._acknowledgements = Acknowledgements(self._protocol.acknowledge_seconds)
            self._acknowledgements.confirmed(client_seq)
            self._acknowledge(now)
        self._hold_back()
        self._ending.disconnect_if(self.settled)

    def not_confirmed(self, packets: int, now: float, size: int = 0) -> None:
        """The broker client has given up on them: they are lost."""
        self._packets.pending.confirmed(packets, now, size)
        self._close(do.OVERLOAD, "the message broker does not answer", now, ignore_client=True)
        self._ending.disconnect_if(self.settled)

    def handed_over(self) -> None:
        """The broker has one message more for the next owner, or did not take it."""
        self._packets.handing_over -= 1
        self._ending.disconnect_if(self.settled)

    def evicted(self, now: float) -> None:
        """Another gateway owns the session now, or another connection of this one.

        In half-close nothing changes but the ownership: what the client sent before it came back elsewhere is still
        read and published, up to its Close.
        """
        self._ending.evicted = True
        self._out.append(do.Observe("evictions"))
        if self.phase in (Phase.RESTORING, Phase.LIVE):
            self._ending.send_close(do.REPLACED, "replaced by a newer connection")
            self._end(now)
            self._ending.await_peer(now)

    # Inputs: the operator and the clock

    def hold_back(self, full: bool) -> None:
        """Whether the pod as a whole holds as much as it may: then no client is read."""
        self._held_back = full
        self._hold_back()

    def drain(self, now: float, *, at_edge: bool, by: float) -> None:
        """Close with 1012 at the turn's edge (if `at_edge`), and at `by` in any case."""
        self._ending.drain(at_edge=at_edge, by=by)
        self._go_away(now)
        self._check_edge(now)

    def stay(self) -> None:
        """The drain was taken back: unless its Close has gone out, the session goes on."""
        self._ending.stay()

    def cut(self, now: float) -> None:
        """Ends without waiting for the peer."""
        self._ending.forced = True
        self._end(now)
        self._out.append(do.Disconnect())

    def tick(self, now: float) -> None:
        """Whatever is due; comes once a second, and when asked for."""
        if self._ending.peer_is_late(now):
            self.cut(now)
        self._ending.wake(now, may_drain=self.phase in (Phase.RESTORING, Phase.LIVE))
        opened, patience = self._opened_at, self._limits.restore_timeout_seconds
        if self.phase is Phase.RESTORING and opened is not None and now - max(opened, self._heard) >= patience:
            self._expire(now)
        if self.phase not in (Phase.LIVE, Phase.CLOSING):
            return
        if self._intake.throttle_ends(now, closing=self.phase is Phase.CLOSING):
            self._hold_back()
        self._begin_if_settled(now)
        self._acknowledge(now)
        self._packets.tick(now, probe=self._may_ask, unproven=self.resumed and self._heard == self._live_since)
        speaking = self.phase is Phase.LIVE and self._state.speaking and self._intake.reading
        for silence in self._pause.implied(now, self._config, speaking=speaking):
            self._packets.add(silence, self._config.input_codec, now)
        if self._pause.wants_proof:
            self._out.append(do.Ping())
        if now - self._active >= self._limits.idle_timeout_seconds:
            self._close(do.NORMAL, "idle", now)
        if self._packets.pending.full_since is not None and now - self._packets.pending.full_since >= STALL_SECONDS:
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
        self._go_away(now)
        if self.resumed:
            self._packets.waits_until = now + LEFT_SECONDS
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
            self._packets.begin(now, ask=self._may_ask, since=self._ours_since(settled))
        else:
            self._out.append(do.WakeAt(settled))

    def _ours_since(self, at: float) -> float:
        """`at`, if the LiteTopic has not been ours for long then: else this process may have stood still."""
        return at if self._opened_at is None else min(at, self._opened_at + SETTLE_MAX_SECONDS)

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
                case SessionUpdated() | SessionError(code="session_too_large"):  # an update took effect, or none
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
            self._intake.settle(full=self._packets.pending.full_since is not None or self._held_back)

    def _count_events(self) -> None:
        """Not one by one: frames of audio are many."""
        self._out.extend(do.Observe("client_events", kind, count) for kind, count in self._events.items())
        self._events.clear()

    # Closing

    def _check_edge(self, now: float) -> None:
        if self._ending.drain_by is None or self.phase not in (Phase.RESTORING, Phase.LIVE):
            return
        if self._ending.drain_is_due(now, at_edge=self.phase is Phase.LIVE and not self._state.in_turn):
            self._ending.restart(can_return=self.can_return)
            self._close(do.RESTART, "service restart", now)

    def _go_away(self, now: float) -> None:
        """Tells the client once how long it has."""
        by = self._ending.drain_by
        if by is not None and self.phase is Phase.LIVE and self._ending.tell():
            self._send(self._protocol.going_away(max(0.0, by - now)))

    def _close(self, code: int, reason: str, now: float, *, ignore_client: bool = False) -> None:
        if self.phase not in (Phase.RESTORING, Phase.LIVE):
            return
        self._open_late(now)
        self._packets.flush(now)
        self._ending.send_close(code, reason)
        self.phase = Phase.CLOSING
        self._ignores_client = self._ignores_client or ignore_client
        self._ending.await_peer(now)
        self._intake.all_read()
        self._hold_back()

    def _open_late(self, now: float) -> None:
        """A session that ends before its log has settled still publishes."""
        if self.phase is Phase.LIVE and not self._packets.is_open:
            self._packets.begin(now, since=self._ours_since(self._live_since))

    def _end(self, now: float) -> None:
        self._ending.over()
        if self.phase is Phase.ENDED:
            return
        self._open_late(now)
        self._packets.end(now)
        self._count_events()
        self.phase = Phase.ENDED
        unpublished = self._packets.pending.collected + self._intake.early
        self._out.append(do.End(not self._ending.evicted, self._ending.outcome, unpublished))
