"""One RocketMQ broker: partition topics, parents of LiteTopics, and what a restart does to them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Protocol

from litevoice_contracts.names import Names
from tests.simulation.loop import VirtualLoop
from tests.simulation.model.lite_topics import LiteTopics
from tests.simulation.model.partition_topic import PartitionTopic
from tests.simulation.model.written import Writing

PARENT_QUEUES = 8


class Listener(Protocol):
    """The proxies."""

    def notify(self, client: str, lite_topic: str, group: str) -> None: ...

    def wake(self, key: tuple[str, str]) -> None:
        """`key`: topic, and the client for LiteTopics, else ""."""

    def broker_died(self, topics: Collection[str]) -> None:
        """That had these."""


class ModelBroker:
    """One of those that share the names' topics, by its number. `up` is False while it restarts: proxies get no answer
    from it."""

    def __init__(self, loop: VirtualLoop, random: Random, names: Names, number: int = 0) -> None:
        self.name = f"broker-{number}"
        self.loop = loop
        self.random = random
        self.names = names
        self.up = True
        self.listeners: list[Listener] = []
        self._parent_offsets: dict[tuple[str, int], int] = {}
        self.writing = Writing(loop.time)
        topics = names.topics_on(number)
        self.partitions = {topic: self._partition(topic) for topic in names.partition_topics if topic in topics}
        groups = {names.reply_topic_on(number): names.gateway_group_on(number)}
        if names.control_topic in topics:
            groups[names.control_topic] = names.fence_group
        self.lite = {topic: self._lite(topic, group) for topic, group in groups.items()}
        self.lite_groups = {group: self.lite[topic] for topic, group in groups.items()}

    @property
    def topics(self) -> set[str]:
        return {*self.partitions, *self.lite}

    def parent_offset(self, topic: str) -> int:
        """What a receipt tells of a message to a LiteTopic: its place in one of the parent's own queues."""
        queue = topic, self.random.randrange(PARENT_QUEUES)
        offset = self._parent_offsets.get(queue, 0)
        self._parent_offsets[queue] = offset + 1
        return offset

    def forget_client(self, client: str) -> None:
        for topics in self.lite.values():
            topics.forget_client(client)

    def stop(self) -> None:
        self.up = False
        for topics in self.lite.values():
            topics.restart()
        for partition in self.partitions.values():
            partition.restart()
        for listener in self.listeners:
            listener.broker_died(self.topics)

    def start(self) -> None:
        self.up = True
        self.writing.started = self.loop.time()

    def _partition(self, topic: str) -> PartitionTopic:
        return PartitionTopic(self.writing, self._after, lambda: self._wake((topic, "")))

    def _lite(self, topic: str, group: str) -> LiteTopics:
        def notice(client: str, name: str) -> None:
            for listener in self.listeners:
                listener.notify(client, name, group)

        return LiteTopics(
            self.random, self.writing, self._after, on_notice=notice, on_wake=lambda one: self._wake((topic, one))
        )

    def _wake(self, key: tuple[str, str]) -> None:
        if self.up:
            for listener in self.listeners:
                listener.wake(key)

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        self.loop.within(None, seconds, do)
