"""One RocketMQ broker: partition topics, parents of LiteTopics, and what a restart does to them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from litevoice_contracts.names import Names
from tests.simulation.loop import VirtualLoop
from tests.simulation.model.lite_topics import LiteTopics
from tests.simulation.model.partition_topic import PartitionTopic


class Listener(Protocol):
    """The proxies."""

    def notify(self, client: str, lite_topic: str, group: str) -> None: ...

    def wake(self, key: tuple[str, str]) -> None:
        """`key`: topic, and the client for LiteTopics, else ""."""


class ModelBroker:
    """`up` is False while it restarts: proxies get no answer from it."""

    def __init__(self, loop: VirtualLoop, random: Random, names: Names) -> None:
        self.loop = loop
        self.random = random
        self.names = names
        self.up = True
        self.generation = 0
        self.listeners: list[Listener] = []
        self.seen_message_ids: dict[str, int] = {}
        self.partitions = {topic: self._partition(topic) for topic in names.partition_topics}
        self.lite = {
            names.reply_topic: self._lite(names.reply_topic, names.gateway_group),
            names.control_topic: self._lite(names.control_topic, names.fence_group),
        }

    @property
    def topics(self) -> set[str]:
        return {*self.partitions, *self.lite}

    def forget_client(self, client: str) -> None:
        for topics in self.lite.values():
            topics.forget_client(client)

    def stop(self) -> None:
        self.up = False
        self.generation += 1  # polls that are open at it end with their time
        for topics in self.lite.values():
            topics.restart()

    def start(self) -> None:
        self.up = True
        for topics in self.lite.values():
            topics.restart()
        for partition in self.partitions.values():
            partition.restart(self.random)

    def _partition(self, topic: str) -> PartitionTopic:
        return PartitionTopic(self.loop.time, self._after, lambda: self._wake((topic, "")))

    def _lite(self, topic: str, group: str) -> LiteTopics:
        def notice(client: str, name: str) -> None:
            for listener in self.listeners:
                listener.notify(client, name, group)

        return LiteTopics(
            self.random, self.loop.time, self._after, on_notice=notice, on_wake=lambda one: self._wake((topic, one))
        )

    def _wake(self, key: tuple[str, str]) -> None:
        if self.up:
            for listener in self.listeners:
                listener.wake(key)

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        self.loop.within(None, seconds, do)
