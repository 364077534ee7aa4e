"""One client connection: carries the session's commands out, on the WebSocket and at the broker."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import Protocol

import msgspec

from litevoice_broker.alarm import Alarm
from litevoice_broker.errors import BrokerError
from litevoice_broker.producer import Done
from litevoice_contracts.control import SessionInfo
from litevoice_contracts.news import SessionNews
from litevoice_gateway import commands as do
from litevoice_gateway import frames
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.once import Once
from litevoice_gateway.protocols import Problem
from litevoice_gateway.session import Session
from litevoice_gateway.standing import Phase
from litevoice_gateway.transport import Transport

logger = logging.getLogger(__name__)

PING_SECONDS = 20.0
"""A client that has been silent for so long is pinged, to keep middleboxes from dropping the connection. A missing pong
does not close it: a slow reader does not answer either. TCP keep-alive finds dead peers."""

_CONTENT = (frames.Text, frames.Binary)
ABNORMAL = 1006
"""The connection ended without a Close of ours."""
UNREAD_BYTES = 16 * 1024
"""Messages wait unread for the next bundle up to about this size, 250 ms of speech in base64. Who sends less in a beat
is read once per beat: one wake-up for five frames of a microphone."""
UNREAD_MESSAGES = 64
"""Or so many: how often a client may send is only noticed when its messages are read."""
TIMED_SECONDS = 1.0
"""One envelope of a session in so many seconds is timed: all of them would cost more than they tell."""
FRAMES_AT_ONCE = 32
"""Frames that are no messages, counted together: few clients ever send so many."""


class ConnectionHost(Protocol):
    """What a connection needs of the pod around it."""

    @property
    def metrics(self) -> Metrics: ...

    @property
    def reads_in_beats(self) -> bool:
        """Whether clients that speak are read when a bundle leaves, and not in between."""

    def await_departure(self, connection: Connection, *, soon: bool) -> None:
        """Calls `depart` when the next bundle leaves for the connection's partition; see `Departures.wait`."""

    def publish(self, connection: Connection, envelope: bytes, done: Done) -> None:
        """See `Departures.add`."""

    def hand_over(self, session_id: str, body: bytes, done: Done) -> None:
        """One message to the session's LiteTopic. Raises BrokerError."""

    def pause_replies(self, connection: Connection) -> None:
        """Leaves them at the broker."""

    async def resume_replies(self, connection: Connection) -> None:
        """Raises BrokerError."""

    def wake_replies(self) -> None:
        """Looks for replies that wait at the broker."""

    def count_slow_reader(self, change: int) -> None: ...

    def lost(self, packets: int) -> None:
        """They were read from the client and will not reach the broker."""

    def ended(self, connection: Connection, end: do.End) -> None:
        """Its session is over."""

    def forget_if_over(self, connection: Connection) -> None:
        """Its TCP connection is gone, or nothing of it waits for the broker any more."""


class Connection:
    """Lives from the upgrade until the TCP connection is gone and the broker has answered for everything that was read.

    Attributes:
        ended: set once everything read from the client has been handed to the producer.
        settled: set once the broker has answered for all of it, too.
        reply_at: when the last message of its LiteTopic was sent, as far as is known (time.monotonic()).
    """

    __slots__ = (
        "_alarm",
        "_close_code",
        "_delivered_at",
        "_frame_at",
        "_frames",
        "_hasty",
        "_host",
        "_lost",
        "_outcome",
        "_pause_wanted",
        "_pausing",
        "_reading",
        "_replays",
        "_resting",
        "_said_at",
        "_timed_at",
        "_told_to_read",
        "_unread",
        "_unread_bytes",
        "ended",
        "gone",
        "partition",
        "reply_at",
        "session",
        "settled",
        "transport",
    )

    def __init__(self, host: ConnectionHost, session: Session, transport: Transport, partition: int) -> None:
        self.session = session
        self.transport = transport
        self.partition = partition
        self.ended = Once()
        self.settled = Once()
        self.gone = False
        self.reply_at = time.monotonic()
        self._host = host
        self._alarm = Alarm(self._woken)
        self._frame_at = self._said_at = time.monotonic()
        self._frames = 0
        self._pause_wanted = False
        self._pausing: asyncio.Task[None] | None = None
        self._unread: list[str | bytes] = []
        self._unread_bytes = 0
        self._hasty = False
        self._resting = False
        self._told_to_read = True
        self._reading = True
        self._delivered_at: float | None = None
        self._close_code = ABNORMAL
        self._outcome: do.Outcome = "completed"
        self._lost = self._replays = 0
        self._timed_at = 0.0

    def info(self, now: float) -> SessionInfo:
        """What is known here; whose the partition is, is not."""
        delivered = -1.0 if self._delivered_at is None else round(now - self._delivered_at, 3)
        return msgspec.structs.replace(
            self.session.info(now),
            partition=self.partition,
            last_reply_seconds=delivered,
            silent_seconds=round(now - self._said_at, 3),
            replays=self._replays,
        )

    @property
    def held_bytes(self) -> int:
        """Of what was read from the socket and waits for the broker, or is kept for a replay."""
        return self._unread_bytes + self.session.held_bytes

    # From the WebSocket

    def message(self, message: frames.Message) -> None:
        """Audio may wait for the bundle that takes it along: all of it is decoded at once then, cheaper than one by
        one. The session meets it before anything that happens after it."""
        if isinstance(message, _CONTENT):
            unread, content = self._unread, message.content
            unread.append(content)
            self._unread_bytes += len(content)
            if self._unread_bytes < UNREAD_BYTES and len(unread) < UNREAD_MESSAGES:
                if self.session.may_wait(content):
                    if len(unread) > 1:
                        return
                    if self.session.reads_at_departure():
                        self.run()
                        return
            else:
                self._hasty = True
        now = self._frame_at = self._read()
        match message:
            case frames.PeerClose(code=code):
                self.session.peer_closed(code, now)
            case frames.Broken(code=code, reason=reason):
                self.session.broken(code, Problem("protocol_error", reason, "message"), now)
            case frames.Ping() | frames.Pong():
                self.session.client_lives()
                return
        self.run()

    def frame(self) -> None:
        """One that is no message of its own: a ping, a pong, a part of a message. They are counted FRAMES_AT_ONCE
        together."""
        self._frames += 1
        if self._frames >= FRAMES_AT_ONCE:
            count, self._frames = self._frames, 0
            self.session.frames(count, self._read())
            self.run()

    def writable(self, can_write: bool) -> None:
        self.session.writable(can_write, self._read())
        self.run()

    def lost(self) -> None:
        """The TCP connection is gone."""
        self.gone = True
        self.session.disconnected(self._read())
        self.run()
        self._host.forget_if_over(self)

    # From the pod

    def delivered(self, position: int, body: bytes) -> None:
        now = self._delivered_at = self._read()
        self.session.delivered(position, body, now)
        self.run()

    def opened(self) -> None:
        self.session.opened(self._read())
        self.run()

    def open_failed(self, reason: str) -> None:
        self.session.open_failed(reason, self._read())
        self.run()

    def evicted(self) -> None:
        self.session.evicted(self._read())
        self.run()

    def drain(self, *, at_edge: bool, by: float) -> None:
        self.session.drain(self._read(), at_edge=at_edge, by=by)
        self.run()

    def stay(self) -> None:
        self.session.stay()

    def cut(self) -> None:
        """Closes the connection without waiting for the peer any longer."""
        self.session.cut(self._read())
        self.run()

    def board(self) -> None:
        """A bundle leaves soon for the partition: what the client has sent by then goes along."""
        self._rest(False)

    def depart(self) -> None:
        """A bundle leaves for the partition."""
        speaks, self._hasty = bool(self._unread) and not self._hasty, False  # hasty: more came than may wait
        self.session.depart(self._read())
        self._rest(speaks and self._host.reads_in_beats and self.session.reads_at_departure())
        self.run()

    def hold_back(self, full: bool) -> None:
        self.session.hold_back(full)
        self.run()

    def refused(self) -> None:
        """The worker has no room for the session."""
        self.session.refused(self._read())
        self.run()

    def worker_is_alive(self, now: float, news: SessionNews) -> None:
        self.session.worker_is_alive(now, news)
        self.run()

    def worker_changed(self) -> None:
        self.session.worker_changed(self._read())
        self.run()

    def tick(self) -> None:
        now = self._read()
        self.session.tick(now)
        self.run()
        if now - self._frame_at >= PING_SECONDS and self.session.phase is Phase.LIVE and self.session.reading_replies:
            self._frame_at = now
            self.transport.ping()

    def _read(self) -> float:
        """Gives the session what its client has sent so far; returns the time."""
        now = time.monotonic()
        if self._unread:
            self._frame_at = self._said_at = now
            unread, self._unread, self._unread_bytes = self._unread, [], 0
            self.session.messages(unread, now)
        return now

    # Commands

    def run(self) -> None:
        """Carries out the session's commands."""
        for command in self.session.take():
            match command:
                case do.Send(data=data, binary=binary):
                    self._host.metrics.events_sent.inc()
                    self.transport.send(data, binary=binary)
                case do.AwaitDeparture(soon):
                    self._host.await_departure(self, soon=soon)
                case do.Publish(envelope=envelope, fresh=fresh, fresh_bytes=size, client_seq=client_seq, at=at):
                    done = functools.partial(self._published, fresh, size, client_seq, at)
                    self._host.publish(self, envelope.encode(), done)
                case do.HandOver(body):
                    try:
                        self._host.hand_over(self.session.id, body, self._handed_over)
                    except BrokerError as error:
                        asyncio.get_running_loop().call_soon(self._handed_over, error)
                case do.Observe(what=what, label=label, amount=amount):
                    self._replays += what == "replays"
                    self._host.metrics.observe(what, label, amount)
                case do.WakeAt(at=at):
                    self._alarm.set(at)
                case do.Ping():
                    self.transport.ping()
                case do.SendClose(code=code, reason=reason):
                    self._rest(False)
                    self._close_code = code
                    self._log_close(code, reason)
                    self.transport.send_close(code, reason)
                case do.Disconnect():
                    self.transport.disconnect()
                case do.PauseReading():
                    self._told_to_read = False
                    self._settle_reading()
                case do.ResumeReading():
                    self._told_to_read = True
                    self._settle_reading()
                case do.PauseReplies():
                    self._pause_replies(True)
                case do.ResumeReplies():
                    self._pause_replies(False)
                case do.WakeReplies():
                    self._host.wake_replies()
                case do.Lose(packets=packets):
                    self._loses(packets)
                case do.End():
                    self._end(command)

    def _rest(self, resting: bool) -> None:
        """Does not read the client until the next bundle leaves."""
        self._resting = resting
        self._settle_reading()

    def _settle_reading(self) -> None:
        reading = self._told_to_read and not self._resting
        if reading != self._reading:
            self._reading = reading
            if reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _log_close(self, code: int, reason: str) -> None:
        """Not for planned moves, nor for the echo of the client's own Close."""
        if reason and code not in (do.NORMAL, do.RESTART, do.REPLACED):
            logger.warning("session closed", extra={"session": self.session.id, "code": code, "reason": reason})

    def _log_life(self) -> None:
        """Once for each session that this gateway had, when nothing more can be lost of it."""
        session = self.session
        facts = {
            "session": session.id,
            "seconds": round(session.age_seconds(time.monotonic()), 1),
            "turns": session.turn,
            "resumed": session.resumed,
            "outcome": self._outcome,
            "replays": self._replays,
            "lost_packets": self._lost,
            "code": self._close_code,
        }
        logger.info("session ended", extra=facts)

    def _published(self, fresh: int, size: int, client_seq: int | None, at: float, error: BaseException | None) -> None:
        now = self._read()
        if error is None:
            self._host.metrics.packets.inc(fresh)
            if fresh and now - self._timed_at >= TIMED_SECONDS:
                self._timed_at = now
                self._host.metrics.uplink_seconds.observe(now - at)
            self.session.confirmed(fresh, now, client_seq, size)
        else:
            self._loses(fresh)
            logger.warning("packets lost", extra={"session": self.session.id, "packets": fresh, "error": str(error)})
            self.session.not_confirmed(fresh, now, size)
        self.run()
        self._settle()

    def _handed_over(self, error: BaseException | None) -> None:
        if error is not None:
            logger.warning("packets not handed over", extra={"session": self.session.id, "error": str(error)})
        self.session.handed_over()
        self.run()
        self._settle()

    def _woken(self) -> None:
        self.session.tick(self._read())
        self.run()

    def _pause_replies(self, pause: bool) -> None:
        """Resuming takes a round trip; the latest request that comes meanwhile wins."""
        self._pause_wanted = pause
        self._host.count_slow_reader(1 if pause else -1)
        if pause and self._pausing is None:
            self._host.pause_replies(self)
        elif not pause and self._pausing is None:
            self._pausing = asyncio.create_task(self._resume_replies())

    async def _resume_replies(self) -> None:
        try:
            await self._host.resume_replies(self)
        except BrokerError as error:
            self.session.open_failed(f"replies cannot be resumed: {error}", self._read())
            self.run()
        finally:
            self._pausing = None
        if self._pause_wanted and not self.ended.is_set():
            self._host.pause_replies(self)

    def _end(self, command: do.End) -> None:
        if not self.session.reading_replies:
            self._host.count_slow_reader(-1)
        self._loses(command.unpublished)
        self._outcome = command.outcome
        self.ended.set()
        self._host.ended(self, command)
        self._settle()

    def _loses(self, packets: int) -> None:
        self._host.lost(packets)
        self._lost += packets

    def _settle(self) -> None:
        if self.ended.is_set() and self.session.settled:
            if not self.settled.is_set():
                self._log_life()
            self.settled.set()
            self._alarm.cancel()
            self._host.forget_if_over(self)
