"""A RocketMQ proxy: what its gRPC methods answer, on the model broker. Requests and answers are the real protobufs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from litevoice_broker import stubs
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.network import Link, Network

Answered = Callable[[Any], None]
NACK_SECONDS = 1.0
"""What a poll brings for a client that the proxy knows to be gone is visible again after this."""
BROKER_TIMEOUT_SECONDS = 3.0
_service, _definition = stubs.service, stubs.definition


class _Poll:
    __slots__ = ("answered", "client", "deadline", "generation", "link", "request")

    def __init__(self, link: Link, client: str, request: Any, generation: int, deadline: float, answered: Any) -> None:
        self.link, self.client, self.request = link, client, request
        self.generation, self.deadline, self.answered = generation, deadline, answered


class Proxy:
    """`lossy`: how probable it is that a call to the broker comes to nothing, or that its answer does."""

    def __init__(self, name: str, network: Network, broker: ModelBroker, routes: dict[str, Proxy]) -> None:
        self.name = name
        self.up = True
        self.lossy = 0.0
        self.late_notices = 0.0
        self._network = network
        self._broker = broker
        self._routes = routes
        """Of all proxies: over which one the broker reaches a client, its last subscription's."""
        self._links: dict[str, Link] = {}
        self._tell: dict[str, Callable[[Any], None]] = {}
        self._polls: dict[tuple[str, str], list[_Poll]] = {}
        broker.listeners.append(self)

    # --- life

    def die(self) -> None:
        """Its clients' subscriptions end with it."""
        self.up = False
        clients = list(self._links)
        self._links.clear()
        self._tell.clear()
        self._polls.clear()
        self._network.proxy_died(self.name)
        for client in clients:
            self._forget(client)

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
        self._network.loop.within(None, late, tell, command)

    def wake(self, key: tuple[str, str]) -> None:
        for poll in list(self._polls.get(key, ())):
            if poll.generation == self._broker.generation:
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
        if self._links.get(client) is link:
            del self._links[client], self._tell[client]
            self._network.loop.within(None, self._network.random.uniform(0.0, 0.2), self._forget_unless_back, client)

    def _forget_unless_back(self, client: str) -> None:
        if client not in self._links:
            self._forget(client)

    def _forget(self, client: str) -> None:
        if self._routes.get(client) is self:
            del self._routes[client]
            self._broker.forget_client(client)

    # --- calls

    def handle(self, method: str, link: Link, client: str, request: Any, answered: Answered) -> None:
        """One unary call. What needs the broker may fail on the way there, or on the way back."""
        work = getattr(self, f"_{method}")
        if method in ("Heartbeat", "NotifyClientTermination"):
            answered(work(link, client, request))
            return
        network = self._network
        if not self._broker.up:
            refused = network.random.random() < 0.7
            seconds = network.random.uniform(0.02, 0.3) if refused else BROKER_TIMEOUT_SECONDS
            network.loop.within(None, seconds, self._failed, method, answered)
            return
        if self.lossy and network.random.random() < self.lossy:
            if network.random.random() < 0.5:
                work(link, client, request)
            network.loop.within(None, BROKER_TIMEOUT_SECONDS, self._failed, method, answered)
            return

        def arrive() -> None:
            if self._broker.up:
                answered(work(link, client, request))
            else:
                self._failed(method, answered)

        network.loop.within(None, network.delay(), arrive)

    def _failed(self, method: str, answered: Answered) -> None:
        answer = getattr(_service, f"{method}Response")()
        answer.status.code = _definition.PROXY_TIMEOUT
        answer.status.message = "the broker did not answer"
        answered(answer)

    def _QueryRoute(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.QueryRouteResponse()
        known = request.topic.name in self._broker.topics
        answer.status.code = stubs.OK if known else _definition.TOPIC_NOT_FOUND
        return answer

    def _QueryAssignment(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.QueryAssignmentResponse()
        if request.topic.name not in self._broker.topics:
            answer.status.code = _definition.TOPIC_NOT_FOUND
            return answer
        answer.status.code = stubs.OK
        queue = answer.assignments.add().message_queue
        queue.topic.name = request.topic.name
        queue.broker.name = "broker-0"
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
        lite = self._broker.lite.get(messages[0].topic.name)
        for message in messages:
            entry = answer.entries.add()
            entry.status.code = stubs.OK
            entry.message_id = message.system_properties.message_id
            if lite is not None:
                if len(messages) == 1:  # several in one request are answered OK, and lost
                    entry.offset = lite.send(message.system_properties.lite_topic, message.body)
                continue
            born = message.system_properties.born_timestamp
            partition = self._broker.partitions[message.topic.name]
            entry.offset = partition.send(message.body, dict(message.user_properties), born.seconds + born.nanos / 1e9)
        if lite is None:
            self._broker.partitions[messages[0].topic.name].wake()
        return answer

    def _SyncLiteSubscription(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
        answer = _service.SyncLiteSubscriptionResponse()
        answer.status.code = stubs.OK
        topics = self._broker.lite[request.topic.name]
        names = list(request.lite_topic_set)
        self._routes[client] = self
        if request.action == stubs.PARTIAL_ADD:
            offset = request.offset_option.offset if request.HasField("offset_option") else None
            topics.subscribe(client, names, offset)
        elif request.action == stubs.PARTIAL_REMOVE:
            topics.unsubscribe(client, names)
        else:
            topics.replace(client, names)
        return answer

    def _AckMessage(self, link: Link, client: str, request: Any) -> Any:  # noqa: N802
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
        name, position, batch = receipt.split("/")
        lite = self._broker.lite.get(topic)
        if lite is None:
            partition = self._broker.partitions[topic]
            if invisible is None:
                return partition.acknowledge(int(position), int(batch))
            return partition.change_invisible(int(position), int(batch), invisible)
        if invisible is None:
            return lite.acknowledge(name, int(position), int(batch))
        return lite.change_invisible(name, int(position), int(batch), invisible)

    # --- long polls

    def receive(self, link: Link, client: str, request: Any, answered: Callable[[list[Any]], None]) -> None:
        """`answered` gets the parts of the answer, once."""
        network, topic = self._network, request.message_queue.topic.name
        if not self._broker.up:
            network.loop.within(None, network.random.uniform(0.02, 0.3), answered, [_status(_definition.PROXY_TIMEOUT)])
            return
        key = (topic, client if topic in self._broker.lite else "")
        deadline = network.loop.now + _seconds(request.long_polling_timeout)
        poll = _Poll(link, client, request, self._broker.generation, deadline, answered)
        self._polls.setdefault(key, []).append(poll)
        network.loop.within(None, network.delay(), self._look, key, poll)
        network.loop.within(None, deadline - network.loop.now, self._end, key, poll)

    def _look(self, key: tuple[str, str], poll: _Poll) -> None:
        polls = self._polls.get(key, [])
        if poll not in polls or poll.generation != self._broker.generation or not self._broker.up:
            return
        messages = self._take(poll)
        if not messages:
            return
        polls.remove(poll)
        if not poll.link.alive:
            for message in messages:
                system = message.message.system_properties
                self._by_receipt(key[0], system.receipt_handle, NACK_SECONDS)
            return
        poll.answered([*messages, _status(stubs.OK)])

    def _end(self, key: tuple[str, str], poll: _Poll) -> None:
        polls = self._polls.get(key, [])
        if poll in polls:
            polls.remove(poll)
            if poll.link.alive:
                poll.answered([_status(stubs.MESSAGE_NOT_FOUND)])

    def _take(self, poll: _Poll) -> list[Any]:
        request, topic = poll.request, poll.request.message_queue.topic.name
        invisible = _seconds(request.invisible_duration)
        lite = self._broker.lite.get(topic)
        parts = []
        if lite is not None:
            for found in lite.poll(poll.client, invisible):
                part = _message(topic, found.position, found.body, f"{found.name}/{found.position}/{found.batch}")
                part.message.system_properties.lite_topic = found.name
                parts.append(part)
            return parts
        batch, stored = self._broker.partitions[topic].poll(request.attempt_id, invisible)
        for one in stored:
            part = _message(topic, one.offset, one.body, f"/{one.offset}/{batch}")
            part.message.user_properties.update(one.properties)
            born = part.message.system_properties.born_timestamp
            born.seconds, born.nanos = int(one.born_at), int(one.born_at % 1 * 1e9)
            parts.append(part)
        return parts


def _message(topic: str, offset: int, body: bytes, receipt: str) -> Any:
    part = _service.ReceiveMessageResponse()
    part.message.topic.name = topic
    part.message.body = body
    system = part.message.system_properties
    system.queue_offset, system.receipt_handle, system.message_id = offset, receipt, receipt
    return part


def _status(code: int) -> Any:
    part = _service.ReceiveMessageResponse()
    part.status.code = code
    return part


def _seconds(duration: Any) -> float:
    return float(duration.seconds) + float(duration.nanos) / 1e9
