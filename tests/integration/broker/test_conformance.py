"""RocketMQ does what the simulator's model of it does; see tests/unit/simulation/test_conformance.py."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_contracts.names import ClientId, Names
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.rocketmq_jars import version
from tests.conformance.client import Party, Place, positions
from tests.conformance.traps import (
    ONLY_5_5_0,
    RESTARTS,
    SLOW,
    TRAPS,
    Trap,
    name,
    spring,
    spring_in_their_time,
)
from tests.waiting import until

LIVES_SECONDS = 3.0
"""No LiteTopic expires before."""
AT_ONCE_MINUTES = 40_000
"""5.5.0 computes milliseconds with 32 bits: so long an expiration is over at once."""
IN_TIME_SECONDS = 4.0
"""After the broker has written, which it does every 5 s; open polls end then, too."""
_Trap = TypeVar("_Trap", bound=Callable[..., Any])


@pytest.fixture(scope="module")
def rocketmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRocketMQ]:
    """One that looks for what has expired all the time, and may be killed."""
    settings = {"minLiteTTl": str(int(LIVES_SECONDS * 1000)), "liteTtlCheckInterval": "500"}
    cluster = LocalRocketMQ(tmp_path_factory.mktemp("rocketmq"), broker_settings=settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


class Real:
    """RocketMQ, with topics and groups that nobody else uses."""

    def __init__(self, rocketmq: LocalRocketMQ) -> None:
        base = f"t{secrets.token_hex(4)}"
        self.names = Names(f"{base}-requests", f"{base}-replies", 1)
        self.admin = Admin(rocketmq.name_server)
        self._endpoints = rocketmq.endpoints

    def config(self, pod: str) -> BrokerConfig:
        return BrokerConfig(self._endpoints, ClientId.new(pod, "127.0.0.1", "test"))

    async def expire(self) -> None:
        attributes = {"message.type": "LITE", "lite.topic.expiration": str(AT_ONCE_MINUTES)}
        for address in (await self.admin.cluster.masters()).values():
            await self.admin._create_topic(address, self.names.reply_topic, queues=8, attributes=attributes)


@asynccontextmanager
async def places(rocketmq: LocalRocketMQ, traps: Iterable[_Trap]) -> AsyncIterator[list[tuple[_Trap, Place]]]:
    """One for each, without those that this version of RocketMQ does not have."""
    tried = [trap for trap in traps if version() == "5.5.0" or name(trap) not in ONLY_5_5_0]
    made = [Real(rocketmq) for _ in tried]
    await asyncio.gather(*(place.admin.ensure_names(place.names, expiration_minutes=30) for place in made))
    try:
        yield list(zip(tried, made, strict=True))
    finally:
        await asyncio.gather(*(place.admin.delete_names(place.names) for place in made))
        await asyncio.gather(*(place.admin.close() for place in made))


@pytest.mark.parametrize("trap", TRAPS, ids=name)
async def test_rocketmq_does_what_the_model_does(trap: Trap, rocketmq: LocalRocketMQ) -> None:
    async with places(rocketmq, [trap]) as made:
        if not made:
            pytest.skip("only 5.5.0 does this")
        for one, place in made:
            await spring(one, place)


class _TooLateError(Exception):
    """The broker may have written meanwhile what was to be lost."""


@pytest.mark.timeout(300)
async def test_rocketmq_does_in_its_time_and_after_a_kill_9_what_the_model_does(rocketmq: LocalRocketMQ) -> None:
    written_at = 0.0
    file = rocketmq.folder / "store" / "broker-a" / "config" / "consumerOrderInfo.json"

    def locks() -> str:
        """What the broker has written last. A file that is being written is empty, or ends too early."""
        text = file.read_text() if file.exists() else ""
        return text if text.endswith("}") else ""

    async def written() -> None:
        """Until a lock is written that is younger than all others. Offsets are written a moment before."""
        nonlocal written_at
        async with places(rocketmq, [written]) as [(_, place)]:
            party = Party(place)
            try:
                last, sender = await party.partition("last"), await party.partition_sender()
                await sender.send_together("", 1)
                assert positions(await last.poll(invisible=300.0)) == [0]
                await until(lambda: last.topic in locks(), "order locks are written", 30)
                written_at = time.monotonic()
            finally:
                await party.end()

    async def restart() -> None:
        await until(locks, "no file is being written", 30)
        if time.monotonic() - written_at > IN_TIME_SECONDS:
            raise _TooLateError
        rocketmq.broker.kill()
        start = asyncio.create_task(asyncio.to_thread(rocketmq.broker.start))
        while not start.done():
            await rocketmq.broker.register()  # else it may take 10 s until it does
            await asyncio.sleep(0.2)
        await start

    async def kill_proxy() -> None:
        rocketmq.proxy.kill()

    wrong: dict[str, Exception] | None = None
    while wrong is None:  # on a busy machine more than once
        with suppress(_TooLateError):
            async with places(rocketmq, SLOW) as slow, places(rocketmq, RESTARTS) as over_a_restart:
                wrong = await spring_in_their_time(slow, over_a_restart, written, restart, kill_proxy)
    assert wrong == {}
