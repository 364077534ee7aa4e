"""Who writes and owns the LiteTopics of `bench.alerts`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.producer import Producer
from litevoice_contracts.names import ClientId, Names
from litevoice_dev.ports import HOST
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from tests.integration.sending import send_lite

POD = "reader"
AT_ONCE = 200
LOT = 2000
"""LiteTopics that are planted together."""
PATIENCE_SECONDS = 60.0


class Owner:
    """Sends to LiteTopics, and reads them; to brokers, a pod by the name of POD."""

    def __init__(self, rocketmq: LocalRocketMQ, names: Names) -> None:
        self._names, self._admin = names, Admin(rocketmq.name_server)
        self._read: dict[str, int] = {}
        self._producer = Producer(
            BrokerConfig(rocketmq.endpoints, ClientId.new("sender", HOST, "bench")), [names.reply_topic]
        )
        self._channel = LiteChannel(
            BrokerConfig(rocketmq.endpoints, ClientId.new(POD, HOST, "bench")),
            names.reply_topic,
            names.gateway_group,
            on_delivery=self._take,
            on_evicted=lambda _: None,
            admin=self._admin,
        )

    def _take(self, delivery: Delivery) -> None:
        self._read[delivery.name] = delivery.position + 1

    async def start(self) -> None:
        """Once the operator has made the topics and groups."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while missing := await self._admin.names_exist(self._names):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the operator has not made {', '.join(missing[:3])}")
            await asyncio.sleep(0.2)
        await self._producer.start()
        await self._channel.start()
        await asyncio.gather(self._producer.wait_ready(60), self._channel.wait_ready(60))

    async def close(self) -> None:
        await asyncio.gather(self._producer.close(), self._channel.close())
        await self._admin.close()

    async def send(self, names: Sequence[str], messages: int) -> None:
        """So many to each."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def to(name: str) -> None:
            for _ in range(messages):
                async with slots:
                    await self.say(name, b"reply")

        await asyncio.gather(*map(to, names))

    async def say(self, name: str, body: bytes) -> None:
        """The broker has it on return."""
        await send_lite(self._producer, self._names.reply_topic, name, body)

    async def waiting(self, name: str) -> int:
        """Messages that nobody has acknowledged."""
        [lag] = await self._admin.lite_lag_of(self._names.gateway_group, [name], self._names.reply_topic)
        return lag.count

    async def make(self, names: Sequence[str]) -> None:
        """Each with one message, which was read, and without an owner."""
        for first in range(0, len(names), LOT):
            lot = names[first : first + LOT]
            await self._channel.subscribe(lot)
            await self.send(lot, 1)
            await self._until_read(dict.fromkeys(lot, 1))
            await self._give_up_read(lot)
            say(f"{first + len(lot)} LiteTopics")

    async def read(self, names: Sequence[str], written: int) -> None:
        """All that waits in them."""
        await self._take_over(names)
        await self._until_read(dict.fromkeys(names, written))
        await self._give_up_read(names)

    async def hold(self, names: Sequence[str]) -> None:
        """Owns them, whoever did, reads what is in them, and one of two messages that it sends to each."""
        await self._take_over(names)
        await self.send(names, 1)
        await self._until_read(dict.fromkeys(names, 1))
        for name in names:
            self._channel.pause(name)
        await self.send(names, 1)

    async def _give_up_read(self, names: Sequence[str]) -> None:
        """Once the broker has the acknowledgements: what is given up before that waits on."""
        deadline, given = time.monotonic() + PATIENCE_SECONDS, set(names)
        while True:
            lag = await self._admin.lite_lag(self._names.gateway_group, 100_000, parent=self._names.reply_topic)
            if not (left := given & {one.name for one in lag.by_count if one.count}):
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(left)} LiteTopics are read and not acknowledged, {min(left)} for example")
            await asyncio.sleep(0.1)
        await self.give_up(names)

    async def give_up(self, names: Sequence[str]) -> None:
        await asyncio.gather(*map(self._channel.release, names))

    async def _take_over(self, names: Sequence[str]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def take_over(name: str) -> None:
            async with slots:
                await self._channel.take_over(name, self._read.get(name, 0))

        await asyncio.gather(*map(take_over, names))

    async def _until_read(self, wanted: dict[str, int]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS + len(wanted) / 100
        while missing := [name for name, count in wanted.items() if self._read.get(name, 0) < count]:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{len(missing)} of {len(wanted)} LiteTopics were not read, {missing[0]} for example"
                )
            await asyncio.sleep(0.05)
