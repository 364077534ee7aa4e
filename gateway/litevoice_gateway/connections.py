"""One client connection: carries the session's commands out, on the WebSocket and at the broker."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import Protocol

from litevoice_broker.alarm import Alarm
from litevoice_broker.errors import BrokerError
from litevoice_broker.producer import Done
from litevoice_gateway import commands as do
from litevoice_gateway import frames
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.once import Once
from litevoice_gateway.protocols import Problem
from litevoice_gateway.session import Phase, Session
from litevoice_gateway.transport import Transport

logger = logging.getLogger(__name__)

PING_SECONDS = 20.0
"""A client that has been silent for so long is pinged, to keep middleboxes from dropping the connection. A missing pong
does not close it: a slow reader does not answer either. TCP keep-alive finds dead peers."""


class ConnectionHost(Protocol):
    """What a connection needs of the pod around it."""

    @property
    def metrics(self) -> Metrics: ...

    def await_departure(self, connection: Connection, *, soon: bool) -> None:
        """Calls `depart` when the next bundle leaves for the connection's partition; see `Departures.wait`."""

    def publish(self, partition: int, envelope: bytes, done: Done) -> None:
        """See `Departures.add`."""

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
    """

    __slots__ = (
        "_alarm",
        "_frame_at",
        "_host",
        "_pause_wanted",
        "_pausing",
        "ended",
        "gone",
        "partition",
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
        self._host = host
        self._alarm = Alarm(self._woken)
        self._frame_at = time.monotonic()
        self._pause_wanted = False
        self._pausing: asyncio.Task[None] | None = None

    # From the WebSocket

    def message(self, message: frames.Message) -> None:
        now = self._frame_at = time.monotonic()
        match message:
            case frames.Text() | frames.Binary():
                self.session.message(message.content, now)
            case frames.PeerClose(code=code):
                self.session.peer_closed(code, now)
            case frames.Broken(code=code, reason=reason):
                self.session.broken(code, Problem("protocol_error", reason, "message"), now)
            case frames.Ping() | frames.Pong():
                return
        self.run()

    def writable(self, can_write: bool) -> None:
        self.session.writable(can_write, time.monotonic())
        self.run()

    def lost(self) -> None:
        """The TCP connection is gone."""
        self.gone = True
        self.session.disconnected(time.monotonic())
        self.run()
        self._host.forget_if_over(self)

    # From the pod

    def delivered(self, position: int, body: bytes) -> None:
        self.session.delivered(position, body, time.monotonic())
        self.run()

    def opened(self) -> None:
        self.session.opened(time.monotonic())
        self.run()

    def open_failed(self, reason: str) -> None:
        self.session.open_failed(reason, time.monotonic())
        self.run()

    def evicted(self) -> None:
        self.session.evicted(time.monotonic())
        self.run()

    def drain(self, *, at_edge: bool, by: float) -> None:
        self.session.drain(time.monotonic(), at_edge=at_edge, by=by)
        self.run()

    def cut(self) -> None:
        """Closes the connection without waiting for the peer any longer."""
        self.session.cut(time.monotonic())
        self.run()

    def depart(self) -> None:
        """A bundle leaves for the partition."""
        self.session.depart(time.monotonic())
        self.run()

    def hold_back(self, full: bool) -> None:
        self.session.hold_back(full)
        self.run()

    def refused(self) -> None:
        """The worker has no room for the session."""
        self.session.refused(time.monotonic())
        self.run()

    def worker_changed(self) -> None:
        self.session.worker_changed(time.monotonic())
        self.run()

    def tick(self, now: float) -> None:
        self.session.tick(now)
        self.run()
        if now - self._frame_at >= PING_SECONDS and self.session.phase is Phase.LIVE and self.session.reading_replies:
            self._frame_at = now
            self.transport.ping()

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
                case do.Publish(envelope=envelope, fresh=fresh, fresh_bytes=size, client_seq=client_seq):
                    done = functools.partial(self._published, fresh, size, client_seq)
                    self._host.publish(self.partition, envelope.encode(), done)
                case do.Observe(what=what, label=label, amount=amount):
                    self._host.metrics.observe(what, label, amount)
                case do.WakeAt(at=at):
                    self._alarm.set(at)
                case do.SendClose(code=code, reason=reason):
                    self._log_close(code, reason)
                    self.transport.send_close(code, reason)
                case do.Disconnect():
                    self.transport.disconnect()
                case do.PauseReading():
                    self.transport.pause_reading()
                case do.ResumeReading():
                    self.transport.resume_reading()
                case do.PauseReplies():
                    self._pause_replies(True)
                case do.ResumeReplies():
                    self._pause_replies(False)
                case do.WakeReplies():
                    self._host.wake_replies()
                case do.End():
                    self._end(command)

    def _log_close(self, code: int, reason: str) -> None:
        """Not for planned moves, nor for the echo of the client's own Close."""
        if reason and code not in (do.NORMAL, do.RESTART, do.REPLACED):
            logger.warning("session closed", extra={"session": self.session.id, "code": code, "reason": reason})

    def _published(self, fresh: int, size: int, client_seq: int | None, error: BaseException | None) -> None:
        now = time.monotonic()
        if error is None:
            self._host.metrics.packets.inc(fresh)
            self.session.confirmed(fresh, now, client_seq, size)
        else:
            self._host.lost(fresh)
            logger.warning("packets lost", extra={"session": self.session.id, "packets": fresh, "error": str(error)})
            self.session.not_confirmed(fresh, now, size)
        self.run()
        self._settle()

    def _woken(self) -> None:
        self.session.tick(time.monotonic())
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
            self.session.open_failed(f"replies cannot be resumed: {error}", time.monotonic())
            self.run()
        finally:
            self._pausing = None
        if self._pause_wanted and not self.ended.is_set():
            self._host.pause_replies(self)

    def _end(self, command: do.End) -> None:
        if not self.session.reading_replies:
            self._host.count_slow_reader(-1)
        self._host.lost(command.unpublished)
        self.ended.set()
        self._host.ended(self, command)
        self._settle()

    def _settle(self) -> None:
        if self.ended.is_set() and not self.session.unconfirmed:
            self.settled.set()
            self._alarm.cancel()
            self._host.forget_if_over(self)
