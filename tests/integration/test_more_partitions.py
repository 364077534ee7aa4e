"""Partitions are raised while people call, as the operator does it: topics, workers, then gateways."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from litevoice_contracts.names import Names, partition_of, partitions_of
from litevoice_dev.audit import reading_replies
from litevoice_dev.stack import LocalStack
from litevoice_dev.tally import tally_events
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.integration.typing_caller import TypingCaller, answered
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)

FEW, MORE = 2, 4
CALLERS, MAX_NEW = 6, 60
"""So many new ones miss one of four partitions once in some ten million runs."""


async def status_of(stack: LocalStack, url: str, session_id: str) -> int:
    """What the gateway answers to a client that comes back with that session; 101: it is let in."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    try:
        async with connect(f"{url}/realtime?session_id={session_id}", additional_headers=headers, proxy=None):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_more_partitions_without_losing_a_session(rocketmq: SharedRocketMQ, names: Names, tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, rocketmq.endpoints, rocketmq.name_server, replace(names, partitions=FEW))
    async with contextlib.AsyncExitStack() as exits:
        exits.callback(stack.kill)
        await stack.start(gateways=2)

        async def call(gateway: int) -> TypingCaller:
            caller = await exits.enter_async_context(TypingCaller(stack.gateways[gateway].url, stack.api_key))
            await until(lambda: bool(caller.session_id))
            return caller

        callers = [await call(number % 2) for number in range(CALLERS)]
        await answered(callers, 1)
        assert {partitions_of(caller.session_id, 0) for caller in callers} == {FEW}

        stack.names = replace(names, partitions=MORE)
        await stack.ensure_names()
        for worker in list(stack.workers):
            worker.terminate()
            assert await worker.wait_gone() == 0
            await stack.replace_worker(worker).wait_ready()
            await answered(callers, 2)

        new: list[TypingCaller] = []
        for number, gateway in enumerate(list(stack.gateways)):
            gateway.terminate()
            assert await gateway.wait_gone() == 0
            await stack.replace_gateway(gateway).wait_ready()
            new.append(await call(number))
            if number == 0:
                assert await status_of(stack, stack.gateways[1].url, new[0].session_id) == 503, "not told of them yet"
            await answered([*callers, *new], 2)
        while {partition_of(caller.session_id, 0) for caller in new} != set(range(MORE)):
            assert len(new) < MAX_NEW, "new sessions use all partitions"
            new.append(await call(len(new) % 2))
        await answered([*callers, *new], 2)
        assert {partitions_of(caller.session_id, 0) for caller in new} == {MORE}

        for caller in (*callers, *new):
            await caller.finish()
            assert caller.answers == [f"You said: {question}." for question in caller.asked]
        async with reading_replies(stack.broker_settings) as read:
            for caller in (*callers, *new):
                log = await read(caller.session_id)
                assert [line["position"] for line in log] == list(range(len(log)))
                assert tally_events(caller.event_ids, log).clean
