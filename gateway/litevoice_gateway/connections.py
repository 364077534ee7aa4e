"""One client connection: carries the session's commands out, on the WebSocket and at the broker."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from litevoice_broker.errors import BrokerError, Overloaded
from litevoice_gateway import commands as do
from litevoice_gateway import frames
from litevoice_gateway.protocols import Problem
from litevoice_gateway.session import Phase, Session

if TYPE_CHECKING:
    from litevoice_gateway.hub import Hub
    from litevoice_gateway.transport import Transport

logger = logging.getLogger(__name__)

PING_SECONDS = 20.0
"""After so much silence of the client a ping keeps the way open; a missing pong is no reason to close, because a
client that does not read does not answer: dead peers are found by TCP keep-alive."""


class Connection:
    """Lives from the upgrade until the TCP connection is gone and the broker has answered for all that was read.

    Attributes:
        ended: set when everything read from the client has been handed to the producer.
        settled: set when, besides, nothing of it waits for the broker any more.
    """

    __slots__ = (
        "_accepted_at",
        "_frame_at",
        "_hub",
        "_pause_wanted",
        "_pausing",
        "_unsent",
        "_wake",
        "ended",
        "gone",
        "session",
        "settled",
        "topic",
        "transport",
    )

    def __init__(self, hub: Hub, session: Session, transport: Transport, topic: str) -> None:
        self.session = session
        self.transport = transport
        self.topic = topic
        self.ended = asyncio.Event()
        self.settled = asyncio.Event()
        self.gone = False
        self._hub = hub
        self._unsent: deque[do.Publish] = deque()
        self._wake: asyncio.TimerHandle | None = None
        self._accepted_at = self._frame_at = time.monotonic()
        self._pause_wanted = False
        self._pausing: asyncio.Task[None] | None = None

    # From the WebSocket

    def message(self, message: frames.Message) -> None:
        now = self._frame_at = time.monotonic()
        match message:
            case frames.Text(text=text):
                self.session.message(text, now)
            case frames.PeerClose(code=code):
                self.session.peer_closed(code, now)
            case frames.TooLarge(size=size):
                limit = self._hub.limits.max_frame_bytes
                text = f"message: expected at most {limit} bytes, got {size}"
                self.session.unusable(Problem("message_too_large", text, "message"), now)
            case frames.Binary():
                text = "message: expected JSON in a text frame, got a binary frame"
                self.session.unusable(Problem("invalid_message", text, "message"), now)
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
        self._hub.forget_if_over(self)

    # From the hub

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
        self._hub.metrics.evictions.inc()
        self.session.evicted(time.monotonic())
        self.run()

    def drain(self, *, at_edge: bool, by: float) -> None:
        self.session.drain(time.monotonic(), at_edge=at_edge, by=by)
        self.run()

    def cut(self) -> None:
        """Out of time: the connection is closed without waiting for the peer."""
        self.session.cut(time.monotonic())
        self.run()

    def tick(self, now: float) -> None:
        self._send_unsent()
        self.session.tick(now)
        self.run()
        if now - self._frame_at >= PING_SECONDS and self.session.phase is Phase.LIVE and self.session.reading_replies:
            self._frame_at = now
            self.transport.ping()

    # Commands

    def run(self) -> None:
        """Carries out what the session wants."""
        for command in self.session.take():
            match command:
                case do.Send(data=data):
                    self._hub.metrics.events_sent.inc()
                    self.transport.send(data)
                case do.Publish():
                    self._publish(command)
                case do.Accepted(type=kind):
                    self._hub.metrics.accepted(kind)
                case do.WakeAt(at=at):
                    self._wake_at(at)
                case do.SendClose(code=code, reason=reason):
                    self._hub.metrics.closes.labels(str(code)).inc()
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
                case do.End():
                    self._end(command)
                case do.Opened():
                    self._opened()
                case do.Replayed():
                    self._hub.metrics.replays.inc()
                case do.Dropped(what=what, count=count):
                    self._hub.metrics.dropped.labels(what).inc(count)
                case do.Refused(code=code):
                    self._hub.metrics.client_errors.labels(code).inc()

    def _log_close(self, code: int, reason: str) -> None:
        """Only what an operator may have to explain: not the plan, and not the echo of the client's own Close."""
        if reason and code not in (do.NORMAL, do.RESTART, do.REPLACED):
            logger.warning("session closed", extra={"session": self.session.id, "code": code, "reason": reason})

    def _publish(self, command: do.Publish) -> None:
        self._unsent.append(command)
        if len(self._unsent) == 1:
            self._send_unsent()

    def _send_unsent(self) -> None:
        """In order; what the producer has no room for is tried again with the next tick."""
        while self._unsent:
            command = self._unsent[0]
            properties, body = command.envelope.encode()
            done = functools.partial(self._published, command.fresh, time.monotonic())
            try:
                self._hub.producer.enqueue_fifo(self.topic, self.session.id, properties, body, done)
            except Overloaded:
                return
            except BrokerError as error:
                self._unsent.popleft()
                done(error)
                continue
            self._unsent.popleft()

    def _published(self, fresh: int, since: float, error: BaseException | None) -> None:
        now = time.monotonic()
        if error is None:
            self._hub.metrics.packets.inc(fresh)
            self._hub.metrics.publish_seconds.observe(now - since)
            self.session.confirmed(fresh, now)
        else:
            self._hub.lost(fresh)
            logger.warning("packets lost", extra={"session": self.session.id, "packets": fresh, "error": str(error)})
            self.session.not_confirmed(fresh, now)
        self.run()
        self._settle()

    def _wake_at(self, at: float) -> None:
        loop = asyncio.get_running_loop()
        if self._wake is None or self._wake.when() > at:
            if self._wake is not None:
                self._wake.cancel()
            self._wake = loop.call_at(at, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self.session.tick(time.monotonic())
        self.run()

    def _pause_replies(self, pause: bool) -> None:
        """`resume` takes a round trip; while it runs, only the latest wish counts."""
        self._pause_wanted = pause
        self._hub.count_slow_reader(1 if pause else -1)
        if pause and self._pausing is None:
            self._hub.pause(self)
        elif not pause and self._pausing is None:
            self._pausing = asyncio.create_task(self._resume_replies())

    async def _resume_replies(self) -> None:
        try:
            await self._hub.resume(self)
        except BrokerError as error:
            self.session.open_failed(f"replies cannot be resumed: {error}", time.monotonic())
            self.run()
        finally:
            self._pausing = None
        if self._pause_wanted and not self.ended.is_set():
            self._hub.pause(self)

    def _opened(self) -> None:
        seconds = time.monotonic() - self._accepted_at
        if self.session.resumed:
            self._hub.metrics.takeovers.inc()
            self._hub.metrics.takeover_seconds.observe(seconds)
        logger.debug("session live", extra={"session": self.session.id, "resumed": self.session.resumed})

    def _end(self, command: do.End) -> None:
        if not self.session.reading_replies:
            self._hub.count_slow_reader(-1)
        self._hub.lost(command.unpublished)
        self.ended.set()
        self._hub.ended(self, command)
        self._settle()

    def _settle(self) -> None:
        if self.ended.is_set() and not self.session.unconfirmed and not self._unsent:
            self.settled.set()
            if self._wake is not None:
                self._wake.cancel()
            self._hub.forget_if_over(self)
