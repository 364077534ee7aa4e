"""All sessions of this pod, and the broker clients that they share."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine

import msgspec

from litevoice_broker.cpu import CpuMeter
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.channel import Delivery
from litevoice_broker.producer import Done
from litevoice_contracts.control import Holdings, RefusalCause, SessionInfo
from litevoice_contracts.envelopes import Bundle
from litevoice_contracts.settings import GatewaySettings
from litevoice_gateway import commands as do
from litevoice_gateway.connections import Connection
from litevoice_gateway.departures import Departures
from litevoice_gateway.homes import Home, Homes
from litevoice_gateway.leaving import Leaving
from litevoice_gateway.limits import Limits
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.news import BEHIND_SECONDS, Workers
from litevoice_gateway.opening import Opening
from litevoice_gateway.overload import Full, Load
from litevoice_gateway.protocols import ClientProtocol
from litevoice_gateway.readiness import Readiness
from litevoice_gateway.refusals import Refusals
from litevoice_gateway.session import Session
from litevoice_gateway.settings import Keys
from litevoice_gateway.standing import Phase
from litevoice_gateway.standstill import Doubts, Standstill
from litevoice_gateway.transport import Transport
from litevoice_gateway.upgrade import GatewayState

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
TICK_SLICES = 20
NEWS_CHECK_SECONDS = 1.0
MIN_REST_MILLISECONDS = 50
"""With a shorter beat it is not worth while to leave a socket alone until the next bundle leaves."""
WAKE_SECONDS = 2.0
"""At most so often is the broker asked to look through all LiteTopics of this gateway."""
TAKEOVERS_IN_FLIGHT = 128
"""They share calls; a full sync waits for those that have begun."""


class Hub:
    """Registry of sessions by id; the newest connection of a session is the one in it.

    Attributes:
        sessions: those that this pod owns, by id.
        connections: all, also those whose session has ended and whose packets the broker has not confirmed yet.
    """

    def __init__(self, settings: GatewaySettings, keys: Keys, metrics: Metrics, pod: str, address: str) -> None:
        self.settings = settings
        self.limits = Limits.from_settings(settings)
        self.metrics = metrics
        metrics.capacity.set(settings.max_sessions)
        self.draining = False
        self.reads_in_beats = settings.batch_milliseconds >= MIN_REST_MILLISECONDS
        self.lost_packets = 0
        self._keys = keys
        self._names = settings.broker.names
        self.sessions: dict[str, Connection] = {}
        self.connections: set[Connection] = set()
        self._load = Load()
        self._cpu = CpuMeter()
        self._held_back = False
        self._max_held_bytes = settings.max_held_mebibytes << 20
        self._releasing: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.slow_readers = 0
        self._takeovers = asyncio.Semaphore(TAKEOVERS_IN_FLIGHT)
        self._wake_wanted = False
        self._waking: asyncio.Task[None] | None = None
        self._on_end: list[Callable[[do.End], None]] = []
        self._homes = Homes(
            self._names,
            settings.broker,
            pod,
            address,
            metrics,
            on_delivery=self._delivered,
            on_evicted=self._evicted,
            on_failed=self._failed,
            on_health=self._log_health,
        )
        self._workers = Workers()
        self.readiness = Readiness()
        self._leaving = Leaving(self.sessions.__contains__)
        self._not_given_up: set[Connection] = set()
        self._departures = Departures(
            self._send,
            lambda partition: self._homes.of_partition(partition).news.name,
            self._names.partitions,
            settings.batch_milliseconds / 1000,
            lambda: self._standstill.awake(time.monotonic()),
        )
        self.refusals = Refusals()
        self._standstill = Standstill(self._look, self._looked, self._spawn)
        self._doubts: Doubts | None = None

    async def start(self) -> None:
        """Connects in the background; `unready` is "" once that has worked."""
        await self._homes.start()
        self._spawn(self._tick())
        self._spawn(self._keep_news())

    async def close(self) -> None:
        """Waits (bounded) until the broker has confirmed what is pending, then disconnects."""
        await self._departures.close()
        await self._homes.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # State

    @property
    def unready(self) -> str:
        """ "" when sessions can be served, if not those of every broker; else why not."""
        return "draining" if self.draining else self._homes.unready

    def state_for(self, session_id: str) -> GatewayState:
        """For a session that comes back, or "" for a new one. One that is still here takes its own place again, which a
        connection may hold whose end nobody has seen."""
        if not session_id:
            unready = self._homes.unready
        elif not self._names.covers(session_id):  # of a gateway that was told of more, as this one soon will be, too
            unready = "the session is in a partition that this gateway was not told of yet"
        else:
            unready = self._homes.of(session_id).unready
        full = self._full(len(self.sessions) - (session_id in self.sessions))
        return GatewayState(draining=self.draining, unready=unready, full=full)

    @property
    def full(self) -> Full:
        """What the gateway is full of; "" when it takes new sessions."""
        return self._full(len(self.sessions))

    def _full(self, sessions: int) -> Full:
        self._load.sessions = sessions
        return self._load.full(self.settings.max_sessions, self._max_held_bytes)

    def info(self, session_id: str) -> SessionInfo | None:
        """Of a session that this pod owns, with what its worker has told of its partition."""
        connection, now = self.sessions.get(session_id), time.monotonic()
        if connection is None:
            return None
        reader, heard, behind = self._workers.reader(connection.partition)
        return msgspec.structs.replace(
            connection.info(now),
            worker=reader,
            worker_heard_seconds=-1.0 if heard is None else round(now - heard, 3),
            behind_seconds=round(behind, 3),
        )

    @property
    def holdings(self) -> Holdings:
        leaving = {connection.session.id for connection in self._not_given_up} - self.sessions.keys()
        return Holdings(self._homes.client_ids, list(self.sessions), sorted(leaving))

    def heal(self, session_id: str) -> bool:
        """See `LiteChannel.claim_again`."""
        return self._homes.of(session_id).channel.claim_again(session_id)

    @property
    def pending_requests(self) -> int:
        return sum(connection.session.pending_requests for connection in self.sessions.values())

    def on_end(self, callback: Callable[[do.End], None]) -> None:
        """`callback` is told about each session that ends."""
        self._on_end.append(callback)

    # Connections

    def accept(self, protocol: ClientProtocol, principal: str, transport: Transport, client: str) -> Connection:
        """A new connection after its upgrade. An older one of the same session in this pod loses it."""
        session_id = protocol.session_id or self._homes.new_session_id(self._keys.signing_key, principal)
        opening = Opening(
            session_id=session_id,
            wall_milliseconds=_wall_milliseconds,
            principal=principal,
            client=client,
            tie=secrets.randbits(32),
        )
        session = Session(opening, protocol, self.limits, time.monotonic())
        session.hold_back(self._held_back)
        connection = Connection(self, session, transport, self._homes.partition_of(session_id))
        old = self.sessions.get(session_id)
        self.sessions[session_id] = connection
        self.connections.add(connection)
        self._load.came()
        self.metrics.sessions.set(len(self.sessions))
        self._standstill.comes(connection)
        if old is not None:
            old.evicted()  # the broker sends no notice: the subscriber stays the same
        self._spawn(self._open(connection, old))
        return connection

    def refuse(self, client: str, principal: str, session_id: str, cause: RefusalCause, says: str) -> None:
        """Keeps in mind, for a while, that this client gets no session here."""
        self.refusals.add(client, principal, session_id, cause, says, time.monotonic())

    def _refuse(self, connection: Connection, cause: RefusalCause, says: str) -> None:
        session = connection.session
        self.refuse(session.client, session.principal, session.id, cause, says)

    def forget_if_over(self, connection: Connection) -> None:
        if connection.gone and connection.settled.is_set():
            self.connections.discard(connection)

    def ended(self, connection: Connection, end: do.End) -> None:
        name = connection.session.id
        if self.sessions.get(name) is connection:
            del self.sessions[name]
            self.metrics.sessions.set(len(self.sessions))
            if end.release:
                self._spawn(self._release(connection, moved=end.outcome == "moved"))
        for callback in self._on_end:
            callback(end)

    def lost(self, packets: int) -> None:
        self.lost_packets += packets
        self.metrics.packets_lost.inc(packets)

    # Up

    def await_departure(self, connection: Connection, *, soon: bool) -> None:
        self._departures.wait(connection.partition, connection, soon=soon)

    def publish(self, connection: Connection, envelope: bytes, done: Done) -> None:
        self._departures.add(connection.partition, envelope, done, connection.session.id)

    def hand_over(self, session_id: str, body: bytes, done: Done) -> None:
        home = self._homes.of(session_id)
        home.producer.enqueue_lite(home.reply_topic, session_id, body, done)

    def _send(self, partition: int, bundle: Bundle, done: Done) -> None:
        topic = self._names.partition_topic(partition)
        properties, body = bundle.encode()
        began = time.monotonic()

        def answered(error: BaseException | None) -> None:
            if error is None:
                self.metrics.bundles.inc()
                self.metrics.envelopes.inc(len(bundle.envelopes))
                self.metrics.publish_seconds.observe(time.monotonic() - began)
            done(error)

        self._homes.of_partition(partition).producer.enqueue_fifo(topic, topic, properties, body, answered)

    # Replies

    def count_slow_reader(self, change: int) -> None:
        self.slow_readers += change
        self.metrics.slow_readers.set(self.slow_readers)

    def pause_replies(self, connection: Connection) -> None:
        if self.sessions.get(connection.session.id) is connection:
            self._homes.of(connection.session.id).channel.pause(connection.session.id)

    async def resume_replies(self, connection: Connection) -> None:
        """Claims again what was left at the broker: not what somebody may have taken while we stood still."""
        await self._standstill.is_over()
        if self.sessions.get(connection.session.id) is connection:
            await self._homes.of(connection.session.id).channel.resume(connection.session.id)

    def wake_replies(self) -> None:
        self._wake_wanted = True
        if self._waking is None:
            self._waking = self._spawn(self._wake_replies())

    async def _wake_replies(self) -> None:
        while self._wake_wanted:
            self._wake_wanted = False
            await self._homes.wake()
            await asyncio.sleep(WAKE_SECONDS)
        self._waking = None

    def _delivered(self, home: Home, delivery: Delivery) -> None:
        connection = self.sessions.get(delivery.name)
        if connection is not None:
            live = connection.session.phase is Phase.LIVE
            age = 0.0 if live or not delivery.born_at else max(0.0, time.time() - delivery.born_at)
            connection.reply_at = time.monotonic() - age
            connection.delivered(delivery.position, delivery.body)
            if live and delivery.born_at:
                self.metrics.delivery_seconds.observe(max(0.0, time.time() - delivery.born_at))
        elif delivery.name == home.news.name:
            home.news.heard(time.monotonic())
            self._take_news(delivery.body)

    def _take_news(self, body: bytes) -> None:
        now = time.monotonic()
        news = self._workers.take(body, now)
        if news is None:
            return
        for session in news.sessions:
            connection = self.sessions.get(session.session_id)
            if connection is not None and session.refused:
                self._refuse(connection, "full", "the workers have as many sessions as they may")
                connection.refused()
            elif connection is not None:
                connection.worker_is_alive(now, session)
        behind = {entry.partition for entry in news.partitions if entry.behind_seconds >= BEHIND_SECONDS}
        changed = self._workers.new_readers(news)
        for connection in list(self.sessions.values()) if behind or changed else ():
            if connection.partition in changed:
                connection.worker_changed()
            elif connection.partition in behind:
                connection.session.worker_is_alive(now)

    def _evicted(self, name: str) -> None:
        connection = self.sessions.get(name)
        if connection is not None and not self._standstill.has_come_meanwhile(connection):
            logger.info("session taken over by another gateway", extra={"session": name})
            connection.evicted()

    def _failed(self, name: str) -> None:
        """The broker refuses to let the session's LiteTopic go on, or it has expired."""
        connection = self.sessions.get(name)
        if connection is not None:
            reason = "the message broker has no more replies of this session"
            self._refuse(connection, "broker-refused", reason)
            connection.open_failed(reason)

    def _keep_alive(self, connection: Connection, now: float) -> None:
        """A LiteTopic in which nothing is written expires, whoever is subscribed. One that is empty cannot."""
        name = connection.session.id
        if now - connection.reply_at < self.settings.keep_alive_seconds or self.sessions.get(name) is not connection:
            return
        home = self._homes.of(name)
        if home.channel.position(name) and home.producer.ready:
            connection.reply_at = now
            home.write_nothing(name)

    # Tasks

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _open(self, connection: Connection, old: Connection | None) -> None:
        """Makes this pod the owner, once an older connection of this pod has published what it has read."""
        session, name = connection.session, connection.session.id
        channel = self._homes.of(name).channel
        try:
            async with asyncio.timeout(self.limits.restore_timeout_seconds):
                await self._standstill.may_claim(connection)
                if old is not None:
                    await old.ended.wait()
                if (releasing := self._releasing.get(name)) is not None:
                    await asyncio.shield(releasing)
                if not session.resumed:
                    await channel.subscribe([name])
                else:
                    async with self._takeovers:
                        if self.sessions.get(name) is not connection:
                            return  # its client has left, or has come again, and may be elsewhere by now
                        await channel.take_over(name, session.first_position)
        except TimeoutError:
            self._refuse(connection, "broker-silent", "the message broker does not answer")
            connection.open_failed("the message broker does not answer")
        except BrokerError as error:
            logger.warning("cannot open session", extra={"session": name, "error": str(error)})
            self._refuse(connection, _why_refused(error), f"the message broker: {error}")
            refuses = "does not answer" if error.retryable else "refuses the session"
            connection.open_failed(f"the message broker {refuses}")
        else:
            connection.opened()
            await self._let_go(name)  # it may have ended meanwhile

    async def _release(self, connection: Connection, *, moved: bool) -> None:
        """Gives the LiteTopic up once the end of the epoch is confirmed, unless the client is back here already.
        Meanwhile the client may be elsewhere: a heal would take the session back."""
        name, channel = connection.session.id, self._homes.of(connection.session.id).channel
        self._not_given_up.add(connection)
        if name not in self.sessions:
            channel.yield_to_others(name)
        await connection.settled.wait()
        await self._standstill.is_over()
        if not moved and connection.session.is_answered:
            await self._leaving.hear_out(name, channel)
        await self._let_go(name)
        self._not_given_up.discard(connection)

    async def _let_go(self, name: str) -> None:
        """Not while it is asked whose the sessions are: the answer says nothing of what is given up by then."""
        await self._standstill.is_over()
        if name in self.sessions:
            return
        if (under_way := self._releasing.get(name)) is not None:
            await asyncio.shield(under_way)
            return
        released = self._releasing[name] = asyncio.get_running_loop().create_future()
        try:
            await self._homes.of(name).channel.release(name)
        except BrokerError as error:
            logger.warning("cannot release session", extra={"session": name, "error": str(error)})
        finally:
            del self._releasing[name]
            released.set_result(None)

    async def _tick(self) -> None:
        """Every session once in TICK_SECONDS, some of them in each slice of it."""
        while True:
            everybody, held_bytes = list(self.connections), 0
            for number in range(TICK_SLICES):
                due = time.monotonic() + TICK_SECONDS / TICK_SLICES
                await asyncio.sleep(TICK_SECONDS / TICK_SLICES)
                now = time.monotonic()
                self._standstill.beat(now)
                self._load.loop_was_late(now - due)
                for connection in everybody[number::TICK_SLICES]:
                    try:
                        connection.tick()
                        self._keep_alive(connection, now)
                        held_bytes += connection.held_bytes
                    except Exception:
                        logger.exception("tick failed", extra={"session": connection.session.id})
            self._measure(held_bytes, time.monotonic())

    async def _look(self) -> None:
        doubts = self._doubts = self._doubts or Doubts(self.connections)
        doubts.lengths |= await self._homes.look_again()
        overtaken = await doubts.overtaken(self._homes.position)
        names = [one.session.id for one in overtaken if self._may_be_elsewhere(one)]
        for name in names:
            self._evicted(name)
        await asyncio.gather(*(self._homes.of(name).channel.release(name) for name in names))

    def _may_be_elsewhere(self, connection: Connection) -> bool:
        """Its client, unless it has come anew, and before it was asked whose the session is."""
        newest = self.sessions.get(connection.session.id, connection)
        return newest is connection or self._standstill.has_come_meanwhile(newest)

    def _looked(self) -> None:
        """What is not ours any more does not leave, also of who was told to go and has not closed its connection."""
        self._doubts = None
        for connection in list(self.connections):
            session = connection.session
            if session.phase is Phase.CLOSING and session.is_replaced and not self._homes.own(session.id):
                connection.cut()
        self._departures.drop(self._homes.own, BrokerError("taken over by another gateway"))
        self._departures.go_on()

    def _measure(self, held_bytes: int, now: float) -> None:
        load, bound, was_full = self._load, self._max_held_bytes, self._held_back
        load.held_bytes, load.worker_lag_seconds = held_bytes, self._workers.lag(now)
        load.workers_full, load.workers_busy = self._workers.full(now), self._workers.busy(now)
        load.sessions, load.busy = len(self.sessions), self._cpu.look()
        full = self.full  # of the last second: the next one begins with new room
        load.look()
        self.metrics.load(load, full or self.full)
        self._held_back = held_bytes >= (bound // 2 if was_full else bound)
        if self._held_back != was_full:
            for connection in list(self.connections):
                connection.hold_back(self._held_back)

    async def _keep_news(self) -> None:
        while True:
            await self._homes.keep_news()
            await asyncio.sleep(NEWS_CHECK_SECONDS)

    def _log_health(self) -> None:
        self.readiness.is_now(self.unready, time.monotonic())


def _wall_milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _why_refused(error: BrokerError) -> RefusalCause:
    if error.retryable:
        return "broker-silent"
    return "broker-quota" if "QUOTA" in str(error).upper() else "broker-refused"
