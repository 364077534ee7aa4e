"""A RocketMQ proxy: what its gRPC methods answer, on the model broker. Requests and answers are the real protobufs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from litevoice_broker import stubs
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.network import Link, Network

Answered = Callable[[Any], None]
NACK_SECONDS = 1.0
"""What a poll brings for a client that the proxy knows to be gone is visible again after this."""
BROKER_TIMEOUT_SECONDS = 3.0
LEAST_POLL_SECONDS, LEAST_INVISIBLE_SECONDS = 5.0, 10.0
MOST_BYTES, MOST_NAME_CHARACTERS = 4 * 1024 * 1024, 64
"""Of a message, and of a LiteTopic's name."""
_service, _definition = stubs.service, stubs.definition


class _Poll:
    __slots__ = ("answered", "client", "link", "request")

    def __init__(self, link: Link, client: str, request: Any, answered: Any) -> None:
        self.link, self.client, self.request = link, client, request
        self.answered = answered


class Proxy:
    """`lossy`: how probable it is that a call to the broker comes to nothing, or that its answer does."""

    def __init__(self, name: str, network: Network, brokers: Sequence[ModelBroker], routes: dict[str, Proxy]) -> None:
        self.name = name
        self.up = True
        self.lossy = 0.0
        self.late_notices = 0.0
        self.notices: dict[tuple[str, str], float] = {}
        """When a client hears that it has lost a LiteTopic, the last time."""
        self._network = network
        self._brokers = brokers
        self._routes = routes
        """Of all proxies: over which one the broker reaches a client, its last subscription's."""
        self._links: dict[str, Link] = {}
        self._tell: dict[str, Callable[[Any], None]] = {}
        self._polls: dict[tuple[str, str], list[_Poll]] = {}
        for broker in brokers:
            broker.listeners.append(self)

    # --- life

    def die(self) -> None:
        """Its clients' subscriptions stay: who would end them is the proxy."""
        self.up = False
        self._links.clear()
        self._tell.clear()
        self._polls.clear()
        self._network.proxy_died(self.name)

    def start(self) -> None:
        self.up = True

    # --- the broker's side

    def notify(self, client: str, lite_topic: str, group: str) -> None:
        tell = self._tell.get(client)
        if tell is None or self._routes.get(client) is not self:
            return
        command = _service.TelemetryCommand()
        command.notify_unsubscribe_lite_command.lite_topic = lite_topic
        late = self._network.random.uniform(0.0, self.late_notices) if self.late_notices else 0.0
        self.notices[client, lite_topic] = self._network.loop.now + late
        self._network.loop.within(None, late, tell, command)

    def wake(self, key: tuple[str, str]) -> None:
        for poll in list(self._polls.get(key, ())):
            self._network.loop.within(None, 0.0005, self._look, key, poll)

    # --- telemetry

    def greet(self, link: Link, client: str, command: Any, tell: Callable[[Any], None]) -> None:
        """The client's settings came over its telemetry stream; `tell` writes to it."""
        if command.HasField("settings"):
            self._links[client] = link
            self._tell[client] = tell
            link.on_gone = lambda: self._gone(client, link)
            answer = _service.TelemetryCommand(settings=command.settings)
            answer.status.code = stubs.OK
            tell(answer)

    def _gone(self, client: str, link: Link) -> None:
        """The client may be back since, over another link or proxy: it loses its subscriptions all the same."""
        if self._links.get(client) is link:
            del self._links[client], self._tell[client]
        self._network.loop.within(None, self._network.random.uniform(0.0, 0.2), self._forget, client)

    def _forget(self, client: str) -> None:
        for broker in self._brokers if self.up else ():
            if broker.up:
                self._routes.pop(client, None)
                broker.forget_client(client)

    def broker_died(self, topics: Collection[str]) -> None:
        """What is open at it fails."""
        for key in [key for key in self._polls if key[0] in topics]:
            for poll in self._polls.pop(key):
                seconds = self._network.random.uniform(0.02, 0.3)
                failure = [_status(_definition.INTERNAL_SERVER_ERROR)]
                self._network.loop.within(None, seconds, poll.answered, failure)

    # --- calls

    def handle(self, method: str, link: Link, client: str, request: Any, answered: Answered) -> None:
        """One unary call. What needs the broker may fail on the way there, or on the way back."""
        work = getattr(self, f"_{method}")
        if method in ("Heartbeat", "NotifyClientTermination"):
            answered(work(link, client, request))
            return
        network, broker = self._network, self._broker_of(_topic(request))
        if not broker.up:
            refused = network.random.random() < 0.7
            seconds = network.random.uniform(0.02, 0.3) if refused else BROKER_TIMEOUT_SECONDS
            network.loop.within(None, seconds, self._failed, method, answered)
            return
        if method == "SendMessage" and link.process.name in network.deaf:
            work(link, client, request)
            network.loop.within(None, BROKER_TIMEOUT_SECONDS, self._failed, method, answered)
            return
        if self.lossy and network.random.random() < self.lossy:
            if network.random.random() < 0.5:
                work(link, client, request)
            network.loop.within(None, BROKER_TIMEOUT_SECONDS, self._failed, method, answered)
            return

        def arrive() -> None:
            if broker.up:
                answered(work(link, client, request))
            else:
                self._failed(method, answered)

        network.loop.within(None, network.delay(), arrive)

    def _broker_of(self, topic: str) -> ModelBroker:
        """That has the topic; the first one, if none does."""
        return next((broker for broker in self._brokers if topic in broker.topics), self._brokers[0])

    def _failed(self, method: str, answered: Answered) -> None:
        answer = getattr(_service, f"{method}Response")()
        answer.status.code = _definition.PROXY_TIMEOUT
        answer.status.message = "the broker did not answer"
        answered(answer)

    def _QueryRoute(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.QueryRouteResponse()
        known = request.topic.name in self._broker_of(request.topic.name).topics
        answer.status.code = stubs.OK if known else _definition.TOPIC_NOT_FOUND
        return answer

    def _QueryAssignment(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.QueryAssignmentResponse()
        broker = self._broker_of(request.topic.name)
        if request.topic.name not in broker.topics:
            answer.status.code = _definition.TOPIC_NOT_FOUND
            return answer
        answer.status.code = stubs.OK
        queue = answer.assignments.add().message_queue
        queue.topic.name = request.topic.name
        queue.broker.name = broker.name
        return answer

    def _Heartbeat(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.HeartbeatResponse()
        answer.status.code = stubs.OK
        return answer

    def _NotifyClientTermination(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        self._forget(client)
        answer = _service.NotifyClientTerminationResponse()
        answer.status.code = stubs.OK
        return answer

    def _SendMessage(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.SendMessageResponse()
        answer.status.code = stubs.OK
        messages: Sequence[Any] = request.messages
        broker = self._broker_of(messages[0].topic.name)
        lite = broker.lite.get(messages[0].topic.name)
        if refusal := next(filter(None, map(self._refusal, messages)), 0):
            answer.status.code = refusal
            return answer
        for message in messages:
            entry = answer.entries.add()
            entry.status.code = stubs.OK
            entry.message_id = message.system_properties.message_id
            born = message.system_properties.born_timestamp
            born_at = born.seconds + born.nanos / 1e9
            if lite is not None:
                if len(messages) == 1:  # several in one request are answered OK, and lost
                    lite.send(message.system_properties.lite_topic, message.body, entry.message_id, born_at)
                    entry.offset = broker.parent_offset(message.topic.name)
                continue
            partition = broker.partitions[message.topic.name]
            entry.offset = partition.send(message.body, dict(message.user_properties), born_at, entry.message_id)
        if lite is None:
            broker.partitions[messages[0].topic.name].wake()
        return answer

    def _refusal(self, message: Any) -> int:
        """A code, or 0."""
        name, lite_topic = message.topic.name, message.system_properties.lite_topic
        broker = self._broker_of(name)
        if name not in broker.topics:
            return int(_definition.TOPIC_NOT_FOUND)
        if len(message.body) > MOST_BYTES:
            return int(_definition.MESSAGE_BODY_TOO_LARGE)
        return int(_definition.ILLEGAL_LITE_TOPIC) if len(lite_topic) > MOST_NAME_CHARACTERS else 0

    def _SyncLiteSubscription(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.SyncLiteSubscriptionResponse()
        answer.status.code = stubs.OK
        topics = self._broker_of(request.topic.name).lite[request.topic.name]
        names = list(request.lite_topic_set)
        self._routes[client] = self
        if request.action == stubs.PARTIAL_ADD:
            if any(len(name) > MOST_NAME_CHARACTERS for name in names):
                answer.status.code = _definition.ILLEGAL_LITE_TOPIC
                return answer
            offset = request.offset_option.offset if request.HasField("offset_option") else None
            topics.subscribe(client, names, offset)
        elif request.action == stubs.PARTIAL_REMOVE:
            topics.unsubscribe(client, names)
        else:
            topics.replace(client, names)
        return answer

    def _AckMessage(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        """Whatever has not run out is answered OK, also when the broker does nothing with it."""
        answer = _service.AckMessageResponse()
        answer.status.code = stubs.OK
        for entry in request.entries:
            known = self._by_receipt(request.topic.name, entry.receipt_handle, None)
            result = answer.entries.add()
            result.receipt_handle = entry.receipt_handle
            result.status.code = stubs.OK if known else _definition.INVALID_RECEIPT_HANDLE
        return answer

    def _ChangeInvisibleDuration(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.ChangeInvisibleDurationResponse()
        known = self._by_receipt(request.topic.name, request.receipt_handle, _seconds(request.invisible_duration))
        answer.status.code = stubs.OK if known else _definition.INVALID_RECEIPT_HANDLE
        answer.receipt_handle = request.receipt_handle
        return answer

    def _by_receipt(self, topic: str, receipt: str, invisible: float | None) -> bool:
        """False when it has run out."""
        name, position, batch, until = receipt.split("/")
        if float(until) <= self._network.loop.now:
            return False
        broker = self._broker_of(topic)
        lite = broker.lite.get(topic)
        if lite is None:
            partition = broker.partitions[topic]
            if invisible is None:
                partition.acknowledge(int(position), int(batch))
            else:
                partition.change_invisible(int(position), int(batch), invisible)
        elif invisible is None:
            lite.acknowledge(name, int(position), int(batch))
        else:
            lite.change_invisible(name, int(position), int(batch), invisible)
        return True

    # --- long polls

    def receive(self, link: Link, client: str, request: Any, answered: Callable[[list[Any]], None]) -> None:
        """`answered` gets the parts of the answer, once."""
        network, topic = self._network, request.message_queue.topic.name
        broker = self._broker_of(topic)
        if not broker.up:
            network.loop.within(None, network.random.uniform(0.02, 0.3), answered, [_status(_definition.PROXY_TIMEOUT)])
            return
        if _seconds(request.invisible_duration) < LEAST_INVISIBLE_SECONDS:
            answered([_status(_definition.ILLEGAL_INVISIBLE_TIME)])
            return
        key = (topic, client if topic in broker.lite else "")
        seconds = max(LEAST_POLL_SECONDS, _seconds(request.long_polling_timeout))
        poll = _Poll(link, client, request, answered)
        self._polls.setdefault(key, []).append(poll)
        network.loop.within(None, network.delay(), self._look, key, poll)
        network.loop.within(None, seconds, self._end, key, poll)

    def _look(self, key: tuple[str, str], poll: _Poll) -> None:
        polls, broker = self._polls.get(key, []), self._broker_of(key[0])
        if poll not in polls or not broker.up:
            return
        messages = self._take(poll)
        if not messages:
            return
        polls.remove(poll)
        if poll.link.alive:
            poll.answered([*messages, _status(stubs.OK)])
        elif key[0] in broker.partitions:  # of LiteTopics the proxy hands back nothing: it forgets to name them
            for message in messages:
                self._by_receipt(key[0], message.message.system_properties.receipt_handle, NACK_SECONDS)

    def _end(self, key: tuple[str, str], poll: _Poll) -> None:
        """The broker looks once more."""
        self._look(key, poll)
        polls = self._polls.get(key, [])
        if poll in polls:
            polls.remove(poll)
            if poll.link.alive:
                poll.answered([_status(stubs.MESSAGE_NOT_FOUND)])

    def _take(self, poll: _Poll) -> list[Any]:
        request, topic = poll.request, poll.request.message_queue.topic.name
        invisible = _seconds(request.invisible_duration)
        until = f"{self._network.loop.now + invisible:.3f}"
        broker = self._broker_of(topic)
        lite = broker.lite.get(topic)
        parts = []
        if lite is not None:
            for found in lite.poll(poll.client, invisible, request.attempt_id):
                receipt = f"{found.name}/{found.position}/{found.batch}/{until}"
                part = _message(topic, found.position, found.body, found.message_id, receipt, found.born_at)
                part.message.system_properties.lite_topic = found.name
                parts.append(part)
            return parts
        batch, stored = broker.partitions[topic].poll(request.attempt_id, invisible)
        for one in stored:
            receipt = f"/{one.offset}/{batch}/{until}"
            part = _message(topic, one.offset, one.body, one.message_id, receipt, one.born_at)
            part.message.user_properties.update(one.properties)
            parts.append(part)
        return parts


def _message(topic: str, offset: int, body: bytes, message_id: str, receipt: str, born_at: float) -> Any:
    part = _service.ReceiveMessageResponse()
    part.message.topic.name = topic
    part.message.body = body
    system = part.message.system_properties
    system.queue_offset, system.receipt_handle, system.message_id = offset, receipt, message_id
    system.born_timestamp.seconds, system.born_timestamp.nanos = int(born_at), int(born_at % 1 * 1e9)
    return part


def _topic(request: Any) -> str:
    """That a call is about."""
    messages = getattr(request, "messages", None)
    return str(messages[0].topic.name if messages else request.topic.name)


def _status(code: int) -> Any:
    part = _service.ReceiveMessageResponse()
    part.status.code = code
    return part


def _seconds(duration: Any) -> float:
    return float(duration.seconds) + float(duration.nanos) / 1e9
