"""All that a fault can strike: RocketMQ with two brokers and two proxies, gateways, workers, the ways between."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from litevoice_contracts.names import Names
from litevoice_dev.chaos.links import Link
from litevoice_dev.chaos.records import Happened
from litevoice_dev.chaos.schedule import KINDS, Fault, Kind
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ, Part
from litevoice_dev.stack import LocalStack
from litevoice_dev.try_it import in_daemon_thread

GATEWAYS, WORKERS, BROKERS, PROXIES, PARTITIONS = 2, 2, 2, 2, 4
"""Brokers unless the run is told otherwise."""
_TARGETS = {
    "gateway": GATEWAYS,
    "worker": WORKERS,
    "client-link": GATEWAYS,
    "gateway-link": GATEWAYS * PROXIES,
    "worker-link": WORKERS * PROXIES,
    "proxy": PROXIES,
    "name-server": 1,
}
GRACE_SECONDS = 30.0
MOVES_PER_SECOND = 5
"""Of a gateway that drains: a quarter of what two cores take over while they run everything (20 sessions, moved at
once, took 0.9 s), as the operator's measure is a quarter of what a broker takes over."""


def targets(brokers: int = BROKERS) -> dict[str, int]:
    """How many there are of each role."""
    return {**_TARGETS, "broker": brokers}


class ChaosPlace:
    """The parts and links of one run. Enter it; everything has ended when it is left.

    Attributes:
        names: topics and groups.
        urls: where callers find the gateways; a replaced gateway is found where the old one was.
    """

    def __init__(self, folder: Path, brokers: int = BROKERS) -> None:
        self.rocketmq = LocalRocketMQ(folder / "rocketmq", brokers=brokers, fresh=True, progress=say)
        self.rocketmq.add_proxy()
        self.names = Names("chaos-requests", "chaos-replies", PARTITIONS, brokers)
        names = [f"gateway-{number}" for number in range(GATEWAYS)] + [f"worker-{number}" for number in range(WORKERS)]
        self._ways = {name: [Link(proxy.port) for proxy in self.rocketmq.proxy_parts] for name in names}
        self.stack = LocalStack(
            folder / "stack",
            self.rocketmq.endpoints,
            self.rocketmq.name_server,
            self.names,
            gateway={"drainRatePerSecond": MOVES_PER_SECOND},
            worker_names=tuple(names[GATEWAYS:]),
            ways={name: ";".join(link.address for link in links) for name, links in self._ways.items()},
            progress=say,
        )
        self._client_links: list[Link] = []
        self._struck: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def urls(self) -> Sequence[str]:
        return [f"ws://{link.address}/v1" for link in self._client_links]

    async def __aenter__(self) -> ChaosPlace:
        try:
            for links in self._ways.values():
                for link in links:
                    await link.start()
            started = in_daemon_thread(self.rocketmq.start)
            self.stack.launch(GATEWAYS)
            for gateway in self.stack.gateways:
                port = int(gateway.url.split(":")[2].split("/")[0])
                self._client_links.append(await Link(port).start())
            await started
            await self.stack.ensure_names()
            await self.stack.wait_ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in (*self._client_links, *(link for links in self._ways.values() for link in links)):
            await link.close()
        self.stack.kill()
        self.rocketmq.kill()

    async def strike(self, fault: Fault) -> Happened:
        """Carries the fault out, once its target has recovered from the one before, and returns when it works again."""
        kind = KINDS[fault.kind]
        async with self._struck[kind.role, fault.target]:
            began = time.monotonic()
            await self._strike(kind, fault)
        return Happened(fault.kind, str(fault), began, time.monotonic())

    async def _strike(self, kind: Kind, fault: Fault) -> None:
        if kind.how == "cut":
            link = self._link(kind.role, fault.target)
            await link.cut(fault.mode)
            await asyncio.sleep(fault.seconds)
            await link.mend()
        elif kind.role in ("gateway", "worker"):
            await self._strike_member(kind.role, kind.how, fault)
        else:
            await self._strike_part(self._part(kind.role, fault.target), kind.how, fault.seconds)
            if kind.role == "name-server":
                await in_daemon_thread(self._wait_until_brokers_are_known)

    def _link(self, role: str, target: int) -> Link:
        if role == "client-link":
            return self._client_links[target]
        prefix = role.removesuffix("link")
        return [link for name, links in self._ways.items() if name.startswith(prefix) for link in links][target]

    def _part(self, role: str, target: int) -> Part:
        if role == "name-server":
            return self.rocketmq.name_server_part
        return (self.rocketmq.broker_parts if role == "broker" else self.rocketmq.proxy_parts)[target]

    async def _strike_member(self, role: str, how: str, fault: Fault) -> None:
        stack = self.stack
        member = (stack.gateways if role == "gateway" else stack.workers)[fault.target]
        if how == "freeze":
            member.freeze()
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                member.thaw()
            return
        if how == "kill":
            member.kill()
        else:
            member.terminate()
            with contextlib.suppress(TimeoutError):
                await member.wait_gone(GRACE_SECONDS)
        hung = member.process.poll() is None
        member.kill()  # as a kubelet does after the grace period
        successor = stack.replace_gateway(member) if role == "gateway" else stack.replace_worker(member)
        await successor.wait_ready()
        if hung:
            raise RuntimeError(f"{member.name} had not ended {GRACE_SECONDS:.0f} s after SIGTERM")

    def _wait_until_brokers_are_known(self) -> None:
        """A name server that is back knows nothing of them until they tell it, every 10 s: to proxies, and so to all
        others, they are away until then."""

        def known() -> bool:
            running = {part.name for part in self.rocketmq.broker_parts if part.running}
            return running <= set(self.rocketmq.registered_brokers())

        self.rocketmq.name_server_part.wait_until(known, "knew the brokers again")

    async def _strike_part(self, part: Part, how: str, seconds: float) -> None:
        if how == "freeze":
            part.freeze()
            try:
                await asyncio.sleep(seconds)
            finally:
                part.thaw()
            return
        await in_daemon_thread(part.kill if how == "kill" else part.stop)
        await asyncio.sleep(seconds)
        await in_daemon_thread(part.start)
