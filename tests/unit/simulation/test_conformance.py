"""The model broker does what RocketMQ does; tests/integration/broker/test_conformance.py asks RocketMQ the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import grpc.aio
import pytest

import litevoice_broker.cluster
from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_contracts.names import ClientId, Names
from tests.conformance.traps import RESTARTS, SLOW, TRAPS, RestartTrap, Trap, name, spring, spring_in_their_time
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.channel import Channel
from tests.simulation.model.network import Network
from tests.simulation.model.proxy import Proxy
from tests.simulation.model.remoting import ModelRemoting
from tests.simulation.model.written import LOCKS_SECONDS
from tests.simulation.seeded import seeded
from tests.waiting import until

PROXY = "proxy-0:8081"
SEEDS = range(4)


class Model:
    """The model broker behind one model proxy, in virtual time."""

    def __init__(self, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.names = Names("up", "down", 2)
        self.loop = VirtualLoop()
        network = Network(self.loop, Random(f"delays {seed}"))
        broker = ModelBroker(self.loop, Random(f"broker {seed}"), self.names)
        self.proxy = Proxy(PROXY, network, [broker], {})
        proxies = {PROXY: self.proxy}
        remoting = ModelRemoting(network, [broker])
        patch.setattr(grpc.aio, "insecure_channel", lambda target, options: Channel(network, proxies, target))
        patch.setattr(litevoice_broker.cluster, "RemotingClient", lambda address, **_: remoting.client(address))
        self.broker = broker
        self.admin = Admin("name-server:9876")

    def config(self, pod: str) -> BrokerConfig:
        return BrokerConfig(PROXY, ClientId.new(pod, "10.0.0.1", "test"))

    async def expire(self) -> None:
        self.broker.lite[self.names.reply_topic].expire(self.loop.now)

    async def written(self) -> None:
        """The next time."""
        writing = self.broker.writing
        before = writing.times(self.loop.now, LOCKS_SECONDS)
        await until(lambda: writing.times(self.loop.now, LOCKS_SECONDS) > before)

    async def restart(self) -> None:
        self.broker.stop()
        await asyncio.sleep(4.0)
        self.broker.start()

    async def kill_proxy(self) -> None:
        self.proxy.die()


def run(seed: int, patch: pytest.MonkeyPatch, work: Callable[[Model], Awaitable[object]]) -> None:
    model = Model(seed, patch)

    async def all_of_it() -> None:
        await work(model)

    with seeded(seed, model.loop):
        try:
            task: asyncio.Task[Any] = model.loop.create_task(all_of_it(), context=Process("tested").context)
            model.loop.run_until_complete(task)
        finally:
            model.loop.abandon()
    assert model.loop.errors == []


async def over_a_restart(trap: RestartTrap, model: Model) -> dict[str, Exception]:
    return await spring_in_their_time([], [(trap, model)], model.written, model.restart, model.kill_proxy)


@pytest.mark.parametrize("trap", [*TRAPS, *SLOW], ids=name)
def test_the_model_does_what_rocketmq_does(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in SEEDS:
        run(seed, monkeypatch, lambda model: spring(trap, model))


@pytest.mark.parametrize("trap", RESTARTS, ids=name)
def test_the_model_is_after_a_kill_9_what_rocketmq_is(trap: RestartTrap, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(model: Model) -> None:
        assert await over_a_restart(trap, model) == {}

    for seed in SEEDS:
        run(seed, monkeypatch, work)
