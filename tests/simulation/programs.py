"""The programs of the simulation: a gateway's hub and a worker as they are, each in a process of the virtual loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc.aio
from prometheus_client import Counter, Gauge, Histogram

import litevoice_broker.cluster
import litevoice_gateway.hub
import litevoice_gateway.news
import litevoice_worker.worker
from litevoice_contracts.names import Names
from litevoice_contracts.settings import BrokerSettings, GatewaySettings, MembersSettings, WorkerSettings
from litevoice_gateway.connections import Connection
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.settings import Keys
from litevoice_worker.plugins import Pipelines, Stages
from litevoice_worker.worker import Worker
from tests.simulation import stages
from tests.simulation.bounds import RENEW_SECONDS, Counted
from tests.simulation.loop import Process
from tests.simulation.model.channel import Channel

if TYPE_CHECKING:
    from tests.simulation.world import World

KEYS = Keys(b"k" * 32, b"t" * 16)
PRINCIPAL = "caller"
PARTITIONS = 3
UNREADY_SECONDS, READY_SECONDS = (4.0, 6.0), (0.0, 2.0)
"""Two probes of every 2 s fail after 2 s each; one is enough that succeeds."""


class Ordered(dict[Any, None]):
    """As much of a set as is needed, in order: a set of objects is iterated in the order of their addresses."""

    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


class Gateway:
    """Attributes:
    counted: its metrics.
    read: what its clients without acknowledgements have said to it, by their numbers.
    """

    def __init__(self, world: World, name: str) -> None:
        self.killed = False
        self.counted = Counted()
        self.read: dict[str, set[int]] = {}
        self.process = Process(name)
        self._world = world
        self._task: asyncio.Task[None] | None = None
        self.hub: Hub | None = None
        self._drain: Drain | None = None

    def start(self) -> None:
        """In its process's context."""
        bounds = {**self._world.bounds.settings, **self._world.idleness.settings}
        settings = GatewaySettings(broker=self._world.settings, api_keys_dir="/", keys_dir="/", **bounds)
        self.hub = Hub(settings, KEYS, self.counted, self.process.name, "10.0.0.1")
        self.hub.connections = Ordered()  # type: ignore[assignment]
        self._drain = Drain(self.hub)
        self._task = asyncio.get_running_loop().create_task(self.hub.start())

    def terminate(self) -> None:
        """SIGTERM."""
        self._task = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        assert self.hub is not None
        assert self._drain is not None
        await self._drain.wait()
        await self.hub.close()
        if report := self._drain.report.lost_packets:
            self._world.say(f"{self.process} lost {report} packets in its drain")
        self._world.exited(self)

    def connections(self) -> list[Connection]:
        return list(self.hub.connections) if self.hub is not None else []


class Members:
    """Which workers are ready, as one worker sees it: what changes it learns within a second."""

    def __init__(self, world: World, random: Random) -> None:
        self.ready: frozenset[str] | None = frozenset(world.members)
        self._random = random
        self._callbacks: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def ask_again(self) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def change(self, world: World, process: Process) -> None:
        world.loop.within(process, self._random.uniform(0.0, 1.0), self._learn, world)

    def _learn(self, world: World) -> None:
        self.ready = frozenset(world.members) or self.ready
        for callback in self._callbacks:
            callback()


class Readiness:
    """A worker that does not answer its probe is none of the members, until it answers again or another one is started
    in its place (docs/adr/0014, "Left alone")."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._unready: dict[str, None] = {}

    def lacks(self, name: str) -> bool:
        """It is wanted, although it is none of the members."""
        return name in self._unready

    def froze(self, process: Process) -> None:
        self._world.loop.within(None, self._random.uniform(*UNREADY_SECONDS), self._look, process)

    def answers(self, name: str) -> None:
        """It goes on, or has been started anew."""
        if name in self._unready:
            self._world.loop.within(None, self._random.uniform(*READY_SECONDS), self._return, name)

    def _look(self, process: Process) -> None:
        if process.frozen and not process.dead and process.name in self._world.members:
            self._unready[process.name] = None
            self._world.leave_members(process.name)

    def _return(self, name: str) -> None:
        if self._unready.pop(name, 0) is None:
            self._world.join_members(name)


class WorkerProgram:
    killed = False

    def __init__(self, world: World, name: str) -> None:
        self.process = Process(name)
        self._world = world
        self._stop = asyncio.Event()
        self.members = Members(world, world.stage_random)
        self.worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """In its process's context."""
        world, random = self._world, self._world.stage_random
        settings = WorkerSettings(broker=world.settings, members=MembersSettings(static=world.workers))
        made = Stages(
            stages.Transcriber(random, partial(world.recognizes, self.process)),
            stages.Responder(random, partial(world.computes, self.process)),
            stages.Synthesizer(random),
        )
        environment = {"POD_NAME": self.process.name, "POD_IP": "10.0.0.2"}
        self.worker = Worker(settings, Pipelines({"litevoice": made}), self.members, environment)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        assert self.worker is not None
        await self.worker.run(self._stop)
        self._world.exited(self)

    def terminate(self) -> None:
        """SIGTERM."""
        self._stop.set()

    @property
    def owned(self) -> set[int]:
        return set(self.worker._ownership.owned) if self.worker is not None else set()


Program = Gateway | WorkerProgram


class _NoServer:
    def __init__(self, *_: Any) -> None: ...

    async def start(self, *_: Any) -> None: ...

    async def close(self) -> None: ...


@contextmanager
def around(world: World) -> Iterator[None]:
    """Puts the model where the programs meet the outside: gRPC, the admin protocol, threads and ports."""
    undo: list[tuple[Any, str, Any]] = []

    def patch(where: Any, name: str, value: Any) -> None:
        undo.append((where, name, getattr(where, name)))
        setattr(where, name, value)

    def channel(target: str, options: Any = None) -> Channel:
        return Channel(world.network, world.proxies, target)

    def remoting(address: str, **_: Any) -> Any:
        return world.remoting.client(address)

    patch(grpc.aio, "insecure_channel", channel)
    patch(litevoice_broker.cluster, "RemotingClient", remoting)
    patch(litevoice_worker.worker, "Ears", lambda *_: stages.Ears(Random(world.stage_random.random())))
    patch(litevoice_worker.worker, "SileroNetwork", lambda: None)
    patch(litevoice_worker.worker, "AdminServer", _NoServer)
    for metric in (Counter, Gauge, Histogram):  # nobody reads them, and they would take a tenth of the time
        patch(metric, "labels", lambda self, *_, **__: self)
    for metric, method in ((Counter, "inc"), (Gauge, "set"), (Gauge, "inc"), (Gauge, "dec"), (Histogram, "observe")):
        patch(metric, method, lambda self, *_: None)
    if world.idleness.caller:
        patch(litevoice_gateway.news, "RENEW_SECONDS", RENEW_SECONDS)
    patch(litevoice_gateway.hub, "TICK_SLICES", 2)  # for thousands of sessions there are more
    patch(litevoice_worker.worker, "gc", SimpleNamespace(collect=lambda: None, freeze=lambda: None))
    try:
        yield
    finally:
        for where, name, value in reversed(undo):
            setattr(where, name, value)


def broker_settings(names: Names, proxies: list[str]) -> BrokerSettings:
    return BrokerSettings(
        endpoints=";".join(proxies),
        name_server="nameserver:9876",
        request_topic=names.request_topic,
        reply_topic=names.reply_topic,
        partitions=names.partitions,
        brokers=names.brokers,
    )
