"""One client's link to a RocketMQ proxy: gRPC channel, telemetry stream, heartbeats; reconnects with backoff.

A proxy keeps the state of a client by its telemetry stream, so all calls of one client go to the same proxy. When the
stream or the heartbeats fail, the link moves on to the next endpoint with a new channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from litevoice_broker import stubs
from litevoice_broker.config import BrokerConfig
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.health import Health
from litevoice_broker.observing import NoObserver, Observer
from litevoice_broker.signature import CLIENT_VERSION, Metadata, metadata
from litevoice_broker.status import call_failed, check_status
from litevoice_contracts.addresses import join_address

logger = logging.getLogger(__name__)

CALL_TIMEOUT_SECONDS = 5.0
HEARTBEAT_SECONDS = 5.0
HEARTBEATS_MISSED = 2
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 1.0
UNREADY_SECONDS = 3.0
"""A client that reported a failure, and nothing since, looks by itself whether it is over."""
_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # one TCP connection per client, as the proxy's accounting expects
    ("grpc.enable_retries", 0),  # retries belong to the callers, who know what may be repeated
    ("grpc.enable_http_proxy", 0),
]


class Connection:
    """`settings` fills what the client tells about itself; `on_connected` runs after each new link, before `ready`.

    A BrokerError from `on_connected` (a topic does not exist yet, say) keeps the link, shows as the reason, and the
    hook is tried again.
    """

    def __init__(
        self,
        config: BrokerConfig,
        client_type: int,
        *,
        group: str = "",
        settings: Callable[[Any], None],
        on_connected: Callable[[], Awaitable[None]],
        on_command: Callable[[Any], None] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.config = config
        self.client_type = client_type
        self.group = group
        self.health = Health("not started")
        self.observer = observer or NoObserver()
        self.generation = 0
        self._fill_settings = settings
        self._on_connected = on_connected
        self._on_command = on_command
        self._addresses = config.addresses
        self._next_address = random.randrange(len(self._addresses))
        self._client_id = str(config.client_id)
        self._plain_metadata = None if config.keys[0] else metadata(self._client_id)
        self._stub: Any = None
        self._established = False
        self._failed_at = 0.0
        self._task: asyncio.Task[None] | None = None

    # --- life

    def start(self) -> None:
        """Connects in the background, for as long as it takes."""
        if self._task is None:
            self.health.set("connecting")
            self._task = asyncio.create_task(self._run(), name=f"broker connection {self._client_id}")

    async def close(self) -> None:
        """Tells the proxy that this client is gone, then closes. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._stub is not None:
            request = stubs.service.NotifyClientTerminationRequest()
            if self.group:
                request.group.name = self.group
            with contextlib.suppress(BrokerError):
                await self.call("NotifyClientTermination", request, timeout_seconds=1.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self.health.set("closed")

    # --- calls

    @property
    def metadata(self) -> Metadata:
        if self._plain_metadata is not None:
            return self._plain_metadata
        return metadata(self._client_id, *self.config.keys)

    async def call(self, method: str, request: Any, timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> Any:
        """One unary call. Returns the response, whose status is OK or MULTIPLE_RESULTS.

        Raises BrokerUnavailable without an answer, BrokerError for any other status.
        """
        stub = self._stub
        if stub is None:
            raise BrokerUnavailable(self.health.reason or "not connected")
        try:
            response = await getattr(stub, method)(request, metadata=self.metadata, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise call_failed(error, method) from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise BrokerUnavailable(f"{method}: the connection was replaced during the call") from None
        except (grpc.aio.UsageError, ValueError) as error:
            raise BrokerUnavailable(f"the connection was closed: {error}") from None
        check_status(response.status, method)
        return response

    async def receive(self, request: Any, timeout_seconds: float) -> list[Any]:
        """One long poll: the messages it brought, [] when there were none. Raises like `call`."""
        stub = self._stub
        if stub is None:
            raise BrokerUnavailable(self.health.reason or "not connected")
        messages: list[Any] = []
        try:
            async for part in stub.ReceiveMessage(request, metadata=self.metadata, timeout=timeout_seconds):
                kind = part.WhichOneof("content")
                if kind == "message":
                    messages.append(part.message)
                elif kind == "status" and part.status.code not in (stubs.OK, stubs.MESSAGE_NOT_FOUND):
                    check_status(part.status, "ReceiveMessage")
        except grpc.aio.AioRpcError as error:
            if not messages:
                raise call_failed(error, "ReceiveMessage") from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            if not messages:
                raise BrokerUnavailable("ReceiveMessage: the connection was replaced during the call") from None
        return messages

    async def assignments(self, topic: str) -> list[Any]:
        """The message queues that this client shall poll, one per broker for LiteTopics and one-queue topics."""
        request = stubs.service.QueryAssignmentRequest(
            topic=stubs.resource(topic), group=stubs.resource(self.group), endpoints=self._endpoints()
        )
        response = await self.call("QueryAssignment", request)
        return [assignment.message_queue for assignment in response.assignments]

    async def check_topic(self, topic: str) -> None:
        """Raises BrokerError when no broker serves the topic."""
        request = stubs.service.QueryRouteRequest(topic=stubs.resource(topic), endpoints=self._endpoints())
        try:
            await self.call("QueryRoute", request)
        except BrokerUnavailable:
            raise
        except BrokerError as error:
            raise BrokerError(f"topic {topic}: {error}", code=error.code, retryable=True) from None

    def report(self, error: BrokerError | None) -> None:
        """What the latest call to the broker itself came to: the health until a later one says otherwise."""
        if error is not None:
            self._failed_at = time.monotonic()
        if self._established:
            self.health.set(str(error) if error is not None else "")

    # --- inside

    def _endpoints(self) -> Any:
        return stubs.endpoints(self._addresses)

    async def _run(self) -> None:
        backoff = BACKOFF_FIRST_SECONDS
        for attempt in itertools.count():
            address = join_address(*self._addresses[self._next_address])
            generation = self.generation
            try:
                async with self._channel(address) as channel:
                    await self._serve(stubs.messaging_service(channel))
                reason = f"proxy {address} ended the connection"
            except (BrokerError, grpc.aio.AioRpcError, TimeoutError, OSError) as error:
                details = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error) or "timeout"
                reason = f"endpoints: cannot reach proxy {address}: {details}"
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.exception("broker connection failed")
                reason = f"proxy {address}: {error!r}"
            self.health.set(reason)
            if self.generation > generation:
                backoff = BACKOFF_FIRST_SECONDS
            logger.warning("broker connection lost", extra={"reason": reason, "attempt": attempt})
            self._next_address = (self._next_address + 1) % len(self._addresses)
            await asyncio.sleep(backoff * random.uniform(0.5, 1.5))
            backoff = min(backoff * 2, BACKOFF_MAX_SECONDS)

    @contextlib.asynccontextmanager
    async def _channel(self, target: str) -> AsyncIterator[grpc.aio.Channel]:
        if self.config.tls:
            credentials = grpc.ssl_channel_credentials(self.config.read_ca())
            channel = grpc.aio.secure_channel(target, credentials, _CHANNEL_OPTIONS)
        else:
            channel = grpc.aio.insecure_channel(target, _CHANNEL_OPTIONS)
        try:
            yield channel
        finally:
            self._stub = None
            self._established = False
            await channel.close(None)

    async def _serve(self, stub: Any) -> None:
        """One link, from the exchange of settings until it breaks."""
        stream = stub.Telemetry(metadata=self.metadata)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await stream.write(self._settings_command())
                await self._read_settings(stream)
            self._stub = stub
            self.generation += 1
            if self.generation > 1:
                self.observer.on_reconnect()
            workers = [
                asyncio.create_task(self._read_commands(stream)),
                asyncio.create_task(self._beat()),
                asyncio.create_task(self._stay_ready()),
            ]
            try:
                done, _ = await asyncio.wait(workers[:2], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in workers:
                    task.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        finally:
            stream.cancel()

    def _settings_command(self) -> Any:
        settings = stubs.definition.Settings(client_type=self.client_type, access_point=self._endpoints())
        settings.request_timeout.seconds = int(CALL_TIMEOUT_SECONDS)
        settings.user_agent.language = stubs.definition.PYTHON
        settings.user_agent.version = CLIENT_VERSION
        settings.user_agent.hostname = socket.gethostname()
        self._fill_settings(settings)
        return stubs.service.TelemetryCommand(settings=settings)

    async def _read_settings(self, stream: Any) -> None:
        while True:
            command = await stream.read()
            if command is stubs.END_OF_STREAM:
                raise BrokerUnavailable("the proxy ended the telemetry stream")
            if command.status.code not in (0, stubs.OK):
                check_status(command.status, "Telemetry")
            if command.HasField("settings"):
                return
            self._dispatch(command)

    async def _read_commands(self, stream: Any) -> None:
        while True:
            command = await stream.read()
            if command is stubs.END_OF_STREAM or command.HasField("reconnect_endpoints_command"):
                return
            self._dispatch(command)

    def _dispatch(self, command: Any) -> None:
        if self._on_command is not None:
            self._on_command(command)

    async def _beat(self) -> None:
        request = stubs.service.HeartbeatRequest(client_type=self.client_type)
        if self.group:
            request.group.name = self.group
        missed = 0
        while missed < HEARTBEATS_MISSED:
            try:
                await self.call("Heartbeat", request)
                missed = 0
            except BrokerUnavailable:
                missed += 1
            except BrokerError as error:
                logger.warning("heartbeat refused", extra={"reason": str(error)})
            await asyncio.sleep(HEARTBEAT_SECONDS if missed == 0 else 0.5)
        raise BrokerUnavailable(f"no answer to {missed} heartbeats")

    async def _stay_ready(self) -> None:
        """Runs the hook until it succeeds, and again when the last bad report is some time ago.

        Without the second a client that failed and then has nothing to do would stay unready for ever.
        """
        backoff = BACKOFF_FIRST_SECONDS
        while True:
            try:
                await self._on_connected()
            except Exception as error:
                if not isinstance(error, BrokerError):
                    logger.exception("the first calls over a new connection failed")
                self.health.set(str(error) if isinstance(error, BrokerError) else repr(error))
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, BACKOFF_MAX_SECONDS)
                continue
            self._established = True
            self.health.set("")
            backoff = BACKOFF_FIRST_SECONDS
            while True:
                await asyncio.sleep(UNREADY_SECONDS)
                if not self.health.ready and time.monotonic() - self._failed_at > UNREADY_SECONDS:
                    break


def is_cancelled() -> bool:
    """Whether somebody cancelled this task: gRPC also raises CancelledError in calls whose channel was closed."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class ConnectedClient:
    """What producer, lite channel and partition consumer have in common."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def ready(self) -> bool:
        """Settings exchanged, topics there, and the last attempt to reach the broker worked."""
        return self._connection.health.ready

    @property
    def unready_reason(self) -> str:
        """ "" when ready, else a sentence like ``endpoints: cannot reach proxy 10.0.0.1:8081: …``."""
        return self._connection.health.reason

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Raises BrokerUnavailable with the reason when it is not ready in time."""
        await self._connection.health.wait_ready(timeout_seconds)

    def on_health(self, callback: Callable[[], None]) -> None:
        """`callback` runs in the event loop at each change of `ready` or `unready_reason`."""
        self._connection.health.on_change(callback)


def subscription_settings(group: str, topics: Sequence[str]) -> Callable[[Any], None]:
    """Fills the settings of a consumer whose group is orderly. It says so itself: a proxy that cannot look the group
    up, as after a restart of the name server, believes the client, and else reads without the order lock."""

    def fill(settings: Any) -> None:
        settings.subscription.group.name = group
        settings.subscription.fifo = True
        for topic in topics:
            entry = settings.subscription.subscriptions.add()
            entry.topic.name = topic
            entry.expression.type = stubs.definition.TAG
            entry.expression.expression = "*"

    return fill
