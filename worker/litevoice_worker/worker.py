"""The worker as a whole: builds its parts from the settings, runs them, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.cpu import CpuMeter
from litevoice_broker.errors import BrokerError, Overloaded
from litevoice_broker.fence import Fence
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.producer import Producer
from litevoice_broker.waiting import set_within
from litevoice_contracts import metrics as metric_names
from litevoice_contracts.control import WorkerStatus
from litevoice_contracts.envelopes import Bundle, DownEnvelope, MessageIds, UpEnvelope
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import ClientId, is_gateway_id
from litevoice_contracts.settings import WorkerSettings
from litevoice_worker.admin import AdminServer
from litevoice_worker.apart.watch import Deaths
from litevoice_worker.commands import Count
from litevoice_worker.ears import Ears
from litevoice_worker.members import Members
from litevoice_worker.metrics import Metrics
from litevoice_worker.news import NEWS_SECONDS, Load, News
from litevoice_worker.ownership import Certain, Ownership
from litevoice_worker.plugins import Pipelines
from litevoice_worker.runner import SessionRunner
from litevoice_worker.sessions import NoRoom, Sessions
from litevoice_worker.settings import admin_tls
from litevoice_worker.stages.model_calls import calls_of
from litevoice_worker.stages.vad import SileroNetwork
from litevoice_worker.turn import Limits, Turns
from litevoice_worker.unheard import Unheard

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 15.0


class Worker:
    """`environment` gives POD_NAME and POD_IP; `deaths`: of the plug-ins in `pipelines`."""

    def __init__(
        self,
        settings: WorkerSettings,
        pipelines: Pipelines,
        members: Members,
        environment: Mapping[str, str],
        deaths: Deaths | None = None,
    ) -> None:
        self._settings = settings
        self._pipelines = pipelines
        self._members = members
        self._names = settings.broker.names
        self._pod = environment["POD_NAME"]
        self._address = environment["POD_IP"]
        self._leaving = False
        self._message_ids = MessageIds(secrets.randbits(63))
        self._metrics = Metrics()
        self._deaths = deaths or Deaths()
        self._deaths.on_death = self._metrics.plugin_died
        self._ears = Ears(SileroNetwork(), self._metrics.heard)
        self._unheard = Unheard()
        self._metrics.watch(self._unheard)
        for calls in filter(None, map(calls_of, pipelines.each())):
            self._metrics.watch_models(calls)
        self._admin = Admin.from_settings(settings.broker)
        self._producers = [
            Producer(self._config("worker-replies"), [topic], observer=self._metrics)
            for topic in self._names.reply_topics  # one per broker: what one is away for does not hold up the others
        ]
        fence = self._config("worker-fence")
        self._fence = Fence(fence, self._names, on_lost=self._lost, admin=self._admin, observer=self._metrics)
        self._fence_ready = self._worked = False
        self._busy = 0.0
        self._sessions = Sessions(settings.max_sessions, self._make_session, self._metrics, self._say)
        self._ownership = Ownership(
            names=self._names,
            members=members,
            fence=self._fence,
            admin=self._admin,
            make_consumer=self._make_consumer,
            handler=self._handle,
            peek=self._peek,
            sessions=self._sessions,
            on_owned=self._metrics.partitions.set,
            on_lost=self._tell_lost,
        )
        self._news = News(str(self._fence.me))  # another one after a restart: gateways ask about what is open then
        self._news_due = asyncio.Event()
        self._cpu = CpuMeter(settings.cpu_millicores / 1000)
        self._server = AdminServer(
            self._metrics.registry,
            self._unready_reason,
            settings.admin_token_sha256,
            self._status,
            self._sessions.report,
            self._metrics.status_answered,
        )
        self._limits = Limits(
            max_utterance_seconds=settings.pipeline.max_utterance_seconds,
            ahead_milliseconds=settings.pipeline.ahead_milliseconds,
            interrupt_after_milliseconds=settings.pipeline.interrupt_after_milliseconds,
            epoch_wait_seconds=settings.epoch_wait_milliseconds / 1000,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`, then hands over its partitions. Raises OSError when the port is taken."""
        settings, context = self._settings, admin_tls(self._settings)
        tls = (settings.admin_tls_port, context) if context is not None else None
        await self._server.start(settings.admin_host, settings.admin_port, tls)
        for producer in self._producers:
            await producer.start()
        self._fence.on_health(self._fence_changed)
        await self._fence.start()
        await self._members.start()
        await self._ownership.start()
        gc.collect()
        gc.freeze()  # what lives as long as the process is not looked at again
        tasks = [asyncio.create_task(self._sweep(), name="sweep"), asyncio.create_task(self._tell(), name="news")]
        try:
            await stop.wait()
            logger.info("shutting down")
        finally:
            self._leaving = True
            for task in tasks:
                task.cancel()
            await self._ownership.leave()
            await asyncio.gather(*(producer.close() for producer in self._producers))
            await self._fence.close()
            await self._members.close()
            await self._admin.close()
            await self._pipelines.close()
            await self._ears.close()
            await self._server.close()

    def _fence_changed(self) -> None:
        """What was away for the fence may have been away for all."""
        before, self._fence_ready = self._fence_ready, self._fence.ready
        if self._worked and self._fence_ready and not before:
            self._members.ask_again()

    def _unready_reason(self) -> str:
        """Readiness makes this worker a member, so it says whether this process can take its share, not how the broker
        is: an outage that all share would leave no members. See ADR 14."""
        if self._leaving:
            return "shutting down"
        if self._worked:
            return ""
        if not any(producer.ready for producer in self._producers):
            return self._producers[0].unready_reason
        if not self._fence.ready:
            return self._fence.unready_reason
        if self._members.ready is None:
            return "the ready workers are unknown: the API server does not answer"
        if not self._ownership.announced:
            return "the other workers cannot see this one yet"
        self._worked = True
        return ""

    def _status(self) -> WorkerStatus:
        reason = self._unready_reason()
        return WorkerStatus(
            pod=self._pod,
            ready=not reason,
            reason=reason,
            sessions=len(self._sessions),
            max_sessions=self._settings.max_sessions,
            partitions=sorted(self._ownership.owned),
            busy=round(self._busy, 3),
            failing=self._deaths.failing(time.monotonic()),
        )

    def _config(self, role: str) -> BrokerConfig:
        return BrokerConfig.from_settings(self._settings.broker, ClientId.new(self._pod, self._address, role))

    def _make_consumer(
        self, topic: str, handle: Callable[[Sequence[PartitionMessage]], Awaitable[None]]
    ) -> PartitionConsumer:
        config = self._config("worker-requests")
        return PartitionConsumer(
            config, topic, self._names.worker_group, handler=handle, admin=self._admin, observer=self._metrics
        )

    def _make_session(self, session_id: str) -> SessionRunner:
        machine = Turns(session_id, self._limits, self._message_ids)
        shared = (self._pipelines, self._ears, self._unheard, self._publish, self._metrics)
        return SessionRunner(machine, *shared, self._sessions.forget, self._news.settled, self._ownership.certain)

    def _publish(self, session_id: str, body: bytes, done: Callable[[BaseException | None], None]) -> None:
        if self._ownership.doubtful:
            raise Overloaded("it is not known yet whether the session is still this worker's")
        self._send_down(session_id, body, done)

    def _say(self, session_id: str, envelope: DownEnvelope) -> None:
        """What may be said of a session that is not this worker's any more."""
        with contextlib.suppress(BrokerError):
            self._send_down(session_id, envelope.encode(), lambda _error: None)

    def _send_down(self, lite_topic: str, body: bytes, done: Callable[[BaseException | None], None]) -> None:
        producer = self._producers[self._names.broker_of(lite_topic)]
        producer.enqueue_lite(self._names.reply_topic_of(lite_topic), lite_topic, body, done)

    def _lost(self, partition: int) -> None:
        self._ownership.lost(partition)

    def _tell_lost(self, partition: int) -> None:
        """Gateways learn at once that it is not read here any more, and ask about what is open there."""
        self._news.lost(partition)
        self._news_due.set()

    def _peek(self, partition: int, messages: Sequence[PartitionMessage]) -> None:
        """Their gateways learn at once that another worker reads the partition, and ask about what is open there."""
        for message in messages:
            gateway = message.properties.get("gateway", "")
            if is_gateway_id(gateway):
                self._news.arrived(gateway, partition, 0.0, time.monotonic())
        self._news_due.set()

    async def _handle(self, partition: int, messages: Sequence[PartitionMessage], certain: Certain) -> None:
        """Applies a batch, and waits while too much is unheard. What cannot be applied is counted and skipped."""
        for message in messages:
            try:
                bundle = Bundle.decode(message.properties, message.body)
            except InvalidField as error:
                self._skipped(partition, message.offset, error.field)
                continue
            uncertain = message not in certain
            for data in bundle.envelopes:
                self._apply(partition, message.offset, bundle.gateway, data, uncertain=uncertain)
            behind_seconds = max(0.0, time.time() - message.born_at)
            self._metrics.arrived(behind_seconds)
            self._news.arrived(bundle.gateway, partition, behind_seconds, time.monotonic())
            await asyncio.sleep(0)  # the event loop must not wait for the whole batch
            await self._unheard.room()

    def _apply(self, partition: int, offset: int, gateway: str, data: bytes, *, uncertain: bool) -> None:
        """An envelope that is broken, or breaks its session, costs the others of its bundle nothing."""
        session_id = ""
        try:
            envelope = UpEnvelope.decode(data)
            session_id = envelope.session_id
            self._sessions.get(session_id, partition).deliver(envelope, gateway, uncertain=uncertain)
        except InvalidField as error:
            self._skipped(partition, offset, error.field)
        except NoRoom:
            self._news.refused(gateway, session_id)
        except Exception as error:
            # The exception's own text may hold content.
            self._skipped(partition, offset, type(error).__name__)
            self._sessions.start_anew(session_id)

    def _skipped(self, partition: int, offset: int, reason: str) -> None:
        self._metrics.count(Count(metric_names.WORKER_DROPPED, "bad_envelope"))
        logger.error("envelope skipped", extra={"partition": partition, "offset": offset, "reason": reason})

    async def _tell(self) -> None:
        """News to every gateway; what the broker does not take is told again, or no longer true."""
        while True:
            await set_within(self._news_due, NEWS_SECONDS)
            self._news_due.clear()
            self._news.keep_partitions(self._ownership.owned)
            busy = self._busy = max(self._cpu.look(), self._ears.busy)
            self._metrics.busy.set(busy)
            load = Load(self._sessions.full, busy, self._ears.seconds_to_hear(self._unheard.seconds))
            for gateway, news in self._news.take(self._sessions.at_work(), load, time.monotonic()):
                try:
                    self._send_down(gateway, news.encode(), self._told)
                except BrokerError as error:
                    self._told(error)

    def _told(self, error: BaseException | None) -> None:
        if error is not None:
            self._metrics.count(Count(metric_names.WORKER_DROPPED, "news"))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._sessions.forget_idle(asyncio.get_running_loop().time())
