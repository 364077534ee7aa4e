"""A gateway's clients of one broker: a session lives on one entirely, so the loss of a broker concerns its own sessions
only."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.producer import Producer
from litevoice_contracts.envelopes import KEEP_ALIVE
from litevoice_contracts.names import ClientId, Names, new_gateway_id, new_session_id, partition_of
from litevoice_contracts.settings import BrokerSettings
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.news import NewsTopic


class Home:
    """One of the brokers that share the sessions.

    Attributes:
        client_id: what the owner of its sessions' LiteTopics calls itself there.
        producer: to its partitions, and to its LiteTopics.
        channel: its sessions' LiteTopics that this gateway owns.
        news: the gateway's own LiteTopic there, for those who read its partitions.
    """

    def __init__(
        self,
        names: Names,
        number: int,
        config: Callable[[str], BrokerConfig],
        admin: Admin,
        metrics: Metrics,
        *,
        on_delivery: Callable[[Home, Delivery], None],
        on_evicted: Callable[[str], None],
        on_failed: Callable[[str], None],
    ) -> None:
        partitions = [topic for topic in names.topics_on(number) if topic in names.partition_topics]
        self.reply_topic = names.reply_topic_on(number)
        self.producer = Producer(config("gateway-up"), partitions, observer=metrics)
        owner = config("gateway")
        self.client_id = str(owner.client_id)
        self.channel = LiteChannel(
            owner,
            self.reply_topic,
            names.gateway_group_on(number),
            on_delivery=lambda delivery: on_delivery(self, delivery),
            on_evicted=on_evicted,
            on_intercepted=self.write_nothing,
            on_failed=on_failed,
            admin=admin,
            observer=metrics,
        )
        self.news = NewsTopic(
            self.channel, lambda: drawn(lambda: new_gateway_id(names.partitions), names, {number}), time.monotonic()
        )

    def write_nothing(self, session_id: str) -> None:
        """An empty message for the session's owner: its log lives on, and shows where something is missing before it.
        Nothing hangs on one that is lost."""
        if self.producer.ready:
            with contextlib.suppress(BrokerError):
                self.producer.enqueue_lite(self.reply_topic, session_id, KEEP_ALIVE, lambda _: None)

    @property
    def unready(self) -> str:
        """ "" when its sessions can be served, else why not."""
        return self.producer.unready_reason or self.channel.unready_reason


class Homes:
    """All of them, by number. Arguments as of `Home`; `pod` and `address` name the gateway."""

    def __init__(
        self,
        names: Names,
        settings: BrokerSettings,
        pod: str,
        address: str,
        metrics: Metrics,
        *,
        on_delivery: Callable[[Home, Delivery], None],
        on_evicted: Callable[[str], None],
        on_failed: Callable[[str], None],
        on_health: Callable[[], None],
    ) -> None:
        def config(role: str) -> BrokerConfig:
            return BrokerConfig.from_settings(settings, ClientId.new(pod, address, role))

        self._names = names
        self._admin = Admin.from_settings(settings)
        self._all = [
            Home(
                names,
                number,
                config,
                self._admin,
                metrics,
                on_delivery=on_delivery,
                on_evicted=on_evicted,
                on_failed=on_failed,
            )
            for number in range(names.brokers)
        ]
        for home in self._all:
            home.producer.on_health(on_health)
            home.channel.on_health(on_health)

    def of(self, session_id: str) -> Home:
        return self._all[self._names.broker_of(session_id)]

    def of_partition(self, partition: int) -> Home:
        return self._all[self._names.broker_of_partition(partition)]

    def own(self, session_id: str) -> bool:
        """As far as is known."""
        return self.position(session_id) is not None

    def position(self, session_id: str) -> int | None:
        """See `LiteChannel.position`."""
        return self.of(session_id).channel.position(session_id)

    def partition_of(self, session_id: str) -> int:
        return partition_of(session_id, self._names.partitions)

    @property
    def client_ids(self) -> list[str]:
        return [home.client_id for home in self._all]

    @property
    def unready(self) -> str:
        """Why no session at all can be served; "" when some can."""
        reasons = [home.unready for home in self._all]
        return reasons[0] if all(reasons) else ""

    def new_session_id(self, signing_key: bytes, principal: str) -> str:
        """One whose broker answers, as long as any does."""
        ready = {number for number, home in enumerate(self._all) if not home.unready}
        return drawn(lambda: new_session_id(signing_key, principal, self._names.partitions), self._names, ready)

    async def start(self) -> None:
        """Connects in the background."""
        for home in self._all:
            await home.producer.start()
            await home.channel.start()

    async def close(self) -> None:
        """Waits (bounded) until the brokers have confirmed what is pending, then disconnects."""
        await asyncio.gather(*(home.producer.close() for home in self._all))
        await asyncio.gather(*(home.channel.close() for home in self._all))
        await self._admin.close()

    async def wake(self) -> None:
        """See `LiteChannel.wake`."""
        await asyncio.gather(*(home.channel.wake() for home in self._all))

    async def look_again(self) -> dict[str, int]:
        """See `LiteChannel.look_again`; brokers that fail are left out."""
        found = await asyncio.gather(*(home.channel.look_again() for home in self._all), return_exceptions=True)
        return {name: length for one in found if isinstance(one, dict) for name, length in one.items()}

    async def keep_news(self) -> None:
        """To be called every second or so."""
        await asyncio.gather(*(home.news.keep(time.monotonic()) for home in self._all))


def drawn(new: Callable[[], str], names: Names, wanted: set[int]) -> str:
    """A name that is on one of these brokers; on any, without one. Each draw hits one of so many as there are."""
    while names.broker_of(name := new()) not in wanted and wanted:
        pass
    return name
