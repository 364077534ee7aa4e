"""Many questions at the brokers, a few at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

import litevoice_broker.cluster
from litevoice_broker.admin import LAGS_AT_ONCE, Admin
from litevoice_broker.at_once import each
from litevoice_broker.errors import BrokerError
from litevoice_broker.remoting import Answer, Refused
from litevoice_contracts.names import Names


async def test_answers_come_in_order_however_long_each_takes() -> None:
    async def late(number: int) -> int:
        await asyncio.sleep(0.01 if number == 0 else 0)
        return number * 10

    assert await each(range(5), late, at_once=2) == [0, 10, 20, 30, 40]


async def test_after_an_error_nothing_more_is_called() -> None:
    called = []

    async def call(number: int) -> None:
        called.append(number)
        await asyncio.sleep(0)
        if number == 1:
            raise BrokerError("no")

    with pytest.raises(BrokerError, match="no"):
        await each(range(100), call, at_once=2)
    await asyncio.sleep(0.01)
    assert len(called) <= 4


class Brokers:
    """Stands for name server and broker at the wire: every partition has 5 messages, its number of them waiting."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.routes = 0
        self.at_once = self.most_at_once = 0

    async def close(self) -> None: ...

    async def call(self, code: int, fields: Mapping[str, Any] | None = None, body: bytes = b"") -> Answer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        topic = (fields or {}).get("topic", "")
        match code:
            case 106:
                answer: Any = {"brokerAddrTable": {"broker-0": {"brokerAddrs": {"0": "broker-0:10911"}}}}
            case 105 if topic.endswith("-99"):
                raise Refused("no such topic", code=17)
            case 105:
                self.routes += 1
                answer = {"queueDatas": [{"brokerName": "broker-0", "writeQueueNums": 1}]}
            case 208:
                self.asked.append(topic)
                offsets = {"brokerOffset": 105, "consumerOffset": 105 - int(topic[-2:])}
                queue = json.dumps({"brokerName": "broker-0", "queueId": 0})
                return Answer({}, f'{{"offsetTable":{{{queue}:{json.dumps(offsets)}}}}}'.encode())
            case 303:
                answer = {"consumeTimeSpanSet": [{"delayTime": 1000}, {"delayTime": 7000}]}
            case _:
                raise AssertionError(code)
        return Answer({}, json.dumps(answer).encode())


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    brokers = Brokers()
    monkeypatch.setattr(litevoice_broker.cluster, "RemotingClient", lambda address, **_: brokers)
    return brokers


async def test_lags_of_all_partitions_are_asked_for_together_and_not_all_at_once(brokers: Brokers) -> None:
    lags = await Admin("name-server:9876").partition_lag(Names("up", "down", 64))
    assert [(lag.topic, lag.lag) for lag in lags] == [(f"up-{number:02d}", number) for number in range(64)]
    assert (lags[0].oldest_seconds, lags[1].oldest_seconds) == (None, 7.0)
    assert brokers.most_at_once == LAGS_AT_ONCE


async def test_who_wants_to_know_of_one_partition_asks_for_one(brokers: Brokers) -> None:
    (lag,) = await Admin("name-server:9876").partition_lag(Names("up", "down", 64), [7])
    assert (lag.topic, lag.lag, brokers.asked) == ("up-07", 7, ["up-07"])


async def test_where_a_partition_is_is_asked_for_once(brokers: Brokers) -> None:
    admin = Admin("name-server:9876")
    for _ in range(3):
        assert len(await admin.partition_lag(Names("up", "down", 4))) == 4
    assert brokers.routes == 4


async def test_a_partition_that_does_not_exist_is_named(brokers: Brokers) -> None:
    with pytest.raises(BrokerError, match="up-99 does not exist"):
        await Admin("name-server:9876").partition_lag(Names("up", "down", 100))
