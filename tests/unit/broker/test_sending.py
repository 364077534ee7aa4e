"""What the producer sends again after a failure."""

from __future__ import annotations

import asyncio
from typing import Any

from litevoice_broker import stubs
from litevoice_broker.config import BrokerConfig
from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.observing import NoObserver
from litevoice_broker.producer import SENT_AGAIN, Producer
from litevoice_contracts.names import ClientId


class Health:
    ready = True


class Link:
    """A connection whose first answer gets lost."""

    health = Health()
    observer = NoObserver()

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def call(self, method: str, request: Any, timeout_seconds: float) -> Any:
        assert method == "SendMessage"
        self.requests.append(request)
        if len(self.requests) == 1:
            raise BrokerUnavailable("SendMessage: no answer within 5 s")
        answer = stubs.service.SendMessageResponse()
        answer.entries.add().status.code = stubs.OK
        return answer

    def report(self, error: Any) -> None: ...


async def test_fifo_messages_that_are_sent_again_say_so() -> None:
    for kind in ("fifo", "lite"):
        producer, link = Producer(BrokerConfig("127.0.0.1:1", ClientId.new("a", "b", "c")), []), Link()
        sent: list[BaseException | None] = []
        connection: Any = link
        producer._connection = connection
        for body in (b"one", b"two"):
            if kind == "fifo":
                producer.enqueue_fifo("topic", "group", {"v": "1"}, body, sent.append)
            else:
                producer.enqueue_lite("topic", "lite", body, sent.append)
        async with asyncio.timeout(10):
            while len(sent) < 2:
                await asyncio.sleep(0.01)
        assert sent == [None, None]
        first, again, *others = [[SENT_AGAIN in one.user_properties for one in r.messages] for r in link.requests]
        assert (first, again) == (([False] * 2, [True] * 2) if kind == "fifo" else ([False], [False]))
        assert not any(map(any, others))
        ids = [one.system_properties.message_id for one in link.requests[1].messages]
        assert ids == [one.system_properties.message_id for one in link.requests[0].messages]
