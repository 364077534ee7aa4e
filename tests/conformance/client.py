"""RocketMQ as its clients speak to it, call by call: nothing is ordered or repeated that a trap does not ask for."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Collection, Iterable
from typing import Any, Protocol, TypeVar

from litevoice_broker import stubs
from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.connection import Connection, subscription_settings
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.receiver import INVISIBLE_SECONDS
from litevoice_broker.receiving import BATCH_MESSAGES
from litevoice_contracts.names import Names
from tests.waiting import until

One = TypeVar("One", bound="Client")
LONG_POLL_SECONDS = 5.0
"""The proxy's minimum."""


class Place(Protocol):
    """The RocketMQ that is tried, with topics and groups that nobody else uses."""

    @property
    def names(self) -> Names: ...

    @property
    def admin(self) -> Admin: ...

    def config(self, pod: str) -> BrokerConfig: ...

    async def expire(self) -> None:
        """From now on the LiteTopics of the replies' topic expire at their next check."""


class Client:
    """One connection of a consumer or, without a group, of a sender."""

    def __init__(self, config: BrokerConfig, kind: int, group: str, topic: str) -> None:
        self.topic, self.group = topic, group
        self.notices: list[str] = []
        """LiteTopics that the broker has told it to leave."""
        self.config = config
        self.connection = Connection(
            config,
            kind,
            group=group,
            settings=subscription_settings(group, [topic]) if group else self._publishes,
            on_connected=self._connected,
            on_command=self._command,
        )
        self._queues: list[Any] = []

    @property
    def id(self) -> str:
        return str(self.config.client_id)

    async def start(self) -> None:
        self.connection.start()
        await self.connection.health.wait_ready(60)

    async def close(self) -> None:
        """Takes its leave, and is gone."""
        await self.connection.close()

    async def vanish(self) -> None:
        """Its link ends without a word, as when its process is killed."""
        task, self.connection._task = self.connection._task, None
        assert task is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _publishes(self, settings: Any) -> None:
        settings.publishing.topics.add().name = self.topic

    async def _connected(self) -> None:
        if self.group:
            self._queues = await self.connection.assignments(self.topic)

    def _command(self, command: Any) -> None:
        if command.HasField("notify_unsubscribe_lite_command"):
            self.notices.append(command.notify_unsubscribe_lite_command.lite_topic)


class Sender(Client):
    """To one parent of LiteTopics, or to one partition."""

    def __init__(self, config: BrokerConfig, topic: str) -> None:
        super().__init__(config, stubs.PRODUCER, "", topic)

    async def send(self, name: str, count: int = 1, *, message_id: str = "", body: bytes = b"message") -> list[int]:
        """To a LiteTopic, without its name to the partition; one message per request. The receipts' offsets."""
        sent = [await self.send_together(name, 1, message_id=message_id, body=body) for _ in range(count)]
        return [offset for offsets in sent for offset in offsets]

    async def send_together(
        self, name: str, count: int, *, message_id: str = "", body: bytes = b"message"
    ) -> list[int]:
        """In one request. The offsets of the receipts."""
        request = stubs.service.SendMessageRequest()
        for _ in range(count):
            message = request.messages.add(body=body)
            message.topic.name = self.topic
            system = message.system_properties
            system.message_id = message_id or f"01{secrets.token_hex(14).upper()}"
            system.born_timestamp.GetCurrentTime()
            system.body_encoding = stubs.definition.IDENTITY
            if name:
                system.message_type, system.lite_topic = stubs.LITE, name
            else:
                system.message_type, system.message_group = stubs.FIFO, "group"
        answer = await self.connection.call("SendMessage", request)
        assert [entry.status.code for entry in answer.entries] in ([stubs.OK], [stubs.OK] * count)
        return [entry.offset for entry in answer.entries]

    async def send_in_the_end(self, name: str) -> None:
        """A proxy does not know every topic at once when its broker is back."""

        async def sent() -> bool:
            with contextlib.suppress(BrokerError):
                await self.send(name)
                return True
            return False

        await until(sent, "a message is taken")


class Consumer(Client):
    """Acknowledges nothing by itself."""

    async def poll(
        self, attempt: str = "", *, seconds: float = LONG_POLL_SECONDS, invisible: float = INVISIBLE_SECONDS
    ) -> list[Any]:
        """What one long poll brings."""
        (queue,) = self._queues
        request = stubs.service.ReceiveMessageRequest(
            group=stubs.resource(self.group), message_queue=queue, batch_size=BATCH_MESSAGES, auto_renew=False
        )
        request.filter_expression.type = stubs.definition.TAG
        request.filter_expression.expression = "*"
        request.invisible_duration.FromMilliseconds(int(invisible * 1000))
        request.long_polling_timeout.FromMilliseconds(int(seconds * 1000))
        request.attempt_id = attempt or secrets.token_hex(8)
        return await self.connection.receive(request, LONG_POLL_SECONDS + 3.0)

    async def acknowledge(self, messages: Iterable[Any]) -> set[bool]:
        """Whether the broker took them: one answer if it is the same for all."""
        request = stubs.service.AckMessageRequest(group=stubs.resource(self.group), topic=stubs.resource(self.topic))
        for message in messages:
            system = message.system_properties
            request.entries.add(
                message_id=system.message_id, receipt_handle=system.receipt_handle, lite_topic=system.lite_topic
            )
        # Not `call`: an answer whose entries are all refused has their code, and is no failure here.
        answer = await self.connection._stub.AckMessage(request, metadata=self.connection.metadata, timeout=5.0)
        return {entry.status.code == stubs.OK for entry in answer.entries} or {answer.status.code == stubs.OK}

    async def hide(self, messages: Iterable[Any], seconds: float) -> None:
        """They come again after so many seconds."""
        for message in messages:
            system = message.system_properties
            request = stubs.service.ChangeInvisibleDurationRequest(
                group=stubs.resource(self.group),
                topic=stubs.resource(self.topic),
                receipt_handle=system.receipt_handle,
                message_id=system.message_id,
                lite_topic=system.lite_topic,
            )
            request.invisible_duration.FromMilliseconds(int(seconds * 1000))
            await self.connection.call("ChangeInvisibleDuration", request)


class LiteClient(Consumer):
    """Of the replies' topic, whose group is Exclusive."""

    def __init__(self, config: BrokerConfig, names: Names) -> None:
        super().__init__(config, stubs.LITE_PUSH_CONSUMER, names.gateway_group, names.reply_topic)

    async def subscribe(self, *names: str, offset: int | None = None) -> None:
        await self._sync(stubs.PARTIAL_ADD, names, offset)

    async def unsubscribe(self, *names: str) -> None:
        await self._sync(stubs.PARTIAL_REMOVE, names)

    async def full_sync(self, *names: str) -> None:
        await self._sync(stubs.COMPLETE_ADD, names)

    async def take_over(self, name: str, position: int = 0) -> None:
        """In the two steps that always work, the first at another position."""
        await self.subscribe(name, offset=position - 1 if position else 1)
        await self.unsubscribe(name)
        await self.subscribe(name, offset=position)

    async def read(self, name: str, count: int = 1) -> list[Any]:
        """Polls until so many messages of one LiteTopic have come, and returns these."""
        found: list[Any] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                found += [one for one in await self.poll() if one.system_properties.lite_topic == name]
        return found

    async def comes_first(self, sender: Sender) -> list[tuple[str, int]]:
        """LiteTopics and positions of what comes to it before a message that is sent now to a new LiteTopic of its."""
        last = f"last-{secrets.token_hex(6)}"
        await self.subscribe(last)
        await sender.send(last)
        messages: list[Any] = []
        async with asyncio.timeout(30):
            while not any(one.system_properties.lite_topic == last for one in messages):
                messages += await self.poll()
        return [
            (one.system_properties.lite_topic, one.system_properties.queue_offset)
            for one in messages
            if one.system_properties.lite_topic != last
        ]

    async def _sync(self, action: int, names: Collection[str], offset: int | None = None) -> None:
        request = stubs.service.SyncLiteSubscriptionRequest(
            action=action, topic=stubs.resource(self.topic), group=stubs.resource(self.group), lite_topic_set=names
        )
        if offset is not None:
            request.offset_option.offset = offset
        await self.connection.call("SyncLiteSubscription", request)


class PartitionClient(Consumer):
    """Of partition 0."""

    def __init__(self, config: BrokerConfig, names: Names) -> None:
        super().__init__(config, stubs.PUSH_CONSUMER, names.worker_group, names.partition_topic(0))

    async def read(self, count: int) -> list[Any]:
        """Polls and acknowledges until so many messages have come: what was sent shows in the queue a moment later."""
        found: list[Any] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                messages = await self.poll()
                await self.acknowledge(messages)
                found += messages
        return found


async def woken(poll: asyncio.Task[list[Any]]) -> list[int]:
    """What positions an open poll brings before its time is over: at its end the broker looks once more by itself."""
    return positions(await asyncio.wait_for(poll, LONG_POLL_SECONDS - 1.5))


async def refused(call: Awaitable[object]) -> int:
    """The code that a call comes to."""
    try:
        await call
    except BrokerError as error:
        return int(error.code or 0)
    raise AssertionError("it was taken")


def positions(messages: Iterable[Any]) -> list[int]:
    return [message.system_properties.queue_offset for message in messages]


class Party:
    """The clients of one trap, and what the broker says about them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.names, self.admin = place.names, place.admin
        self._open: list[Client] = []

    async def lite(self, pod: str) -> LiteClient:
        return await self._started(LiteClient(self.place.config(pod), self.names))

    async def lite_again(self, client: LiteClient) -> LiteClient:
        """Another link of the same client."""
        return await self._started(LiteClient(client.config, self.names))

    async def partition(self, pod: str) -> PartitionClient:
        return await self._started(PartitionClient(self.place.config(pod), self.names))

    async def sender(self, topic: str = "") -> Sender:
        return await self._started(Sender(self.place.config("sender"), topic or self.names.reply_topic))

    async def partition_sender(self) -> Sender:
        return await self.sender(self.names.partition_topic(0))

    async def works(self) -> None:
        """Waits until the broker serves everything again."""
        probe, sender, partition = await self.lite("probe"), await self.sender(), await self.partition_sender()

        async def works() -> bool:
            with contextlib.suppress(BrokerError):
                await probe.comes_first(sender)
                await partition.connection.check_topic(partition.topic)
                await self.offsets()
                return True
            return False

        await until(works, "the broker serves everything")
        await probe.close()

    async def offsets(self) -> tuple[int, int]:
        """Admin code 208: the next of the partition, and the committed one."""
        return await self.admin.offsets(self.names.partition_topic(0), self.names.worker_group)

    async def reset(self) -> int:
        """Admin code 222."""
        return await self.admin.reset_offset_to_committed(self.names.partition_topic(0), self.names.worker_group)

    async def subscribers(self, name: str) -> set[str]:
        """Admin code 200076: the pods of the clients that are listed."""
        info = await self.admin.lite_topic(self.names.reply_topic, name, self.names.gateway_group)
        return set() if info is None else {client.split("@")[0] for client in info.subscribers}

    async def listed(self, name: str, *pods: str) -> None:
        """Waits until exactly these are."""
        seen: set[str] = set()

        async def as_expected() -> bool:
            nonlocal seen
            seen = await self.subscribers(name)
            return seen == set(pods)

        await until(as_expected, lambda: f"subscribed: {sorted(seen)}, expected: {sorted(pods)}", 20)

    async def end(self) -> None:
        await asyncio.gather(*(client.close() for client in self._open))

    async def _started(self, client: One) -> One:
        self._open.append(client)
        await client.start()
        return client
