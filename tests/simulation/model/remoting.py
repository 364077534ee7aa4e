"""Stands in for `RemotingClient`: name server and broker, as the admin calls see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.remoting import Answer, Refused
from tests.simulation.loop import CURRENT
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.network import Network

BROKER_ADDRESS = "broker-0:10911"


class ModelRemoting:
    """`name_server_up` is False while the name server is down. Who may not reach the broker is cut off from `admin`."""

    def __init__(self, network: Network, broker: ModelBroker) -> None:
        self.network = network
        self.broker = broker
        self.name_server_up = True

    def client(self, address: str, **_: Any) -> ModelRemotingClient:
        return ModelRemotingClient(self, address)


class ModelRemotingClient:
    def __init__(self, model: ModelRemoting, address: str) -> None:
        self._model = model
        self._address = address

    async def close(self) -> None: ...

    async def call(self, code: int, fields: Mapping[str, object] | None = None, body: bytes = b"") -> Answer:
        model = self._model
        process = CURRENT.get()
        await asyncio.sleep(model.network.delay("admin"))
        if process is not None and model.network.is_cut(process.name, "admin"):
            await asyncio.sleep(5.0)
            raise BrokerUnavailable(f"no answer from {self._address} within 5 s")
        up = model.broker.up if self._address == BROKER_ADDRESS else model.name_server_up
        if not up:
            raise BrokerUnavailable(f"cannot reach {self._address}: connection refused")
        answer = self._answer(code, fields or {})
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await asyncio.sleep(model.network.delay("admin"))
        return Answer({}, body)

    def _answer(self, code: int, fields: Mapping[str, Any]) -> object:
        broker = self._model.broker
        match code:
            case 106:
                if not broker.up:
                    return {"brokerAddrTable": {}}
                return {"brokerAddrTable": {"broker-0": {"brokerAddrs": {"0": BROKER_ADDRESS}}}}
            case 105:
                if fields["topic"] not in broker.topics:
                    raise Refused("no such topic", code=17)
                return {"queueDatas": [{"brokerName": "broker-0", "writeQueueNums": 1}]}
            case 208:
                partition = broker.partitions[fields["topic"]]
                offsets = {"brokerOffset": len(partition.messages), "consumerOffset": partition.committed}
                queue = {"brokerName": "broker-0", "queueId": 0}  # fastjson writes objects as keys
                return f'{{"offsetTable":{{{json.dumps(queue)}:{json.dumps(offsets)}}}}}'.encode()
            case 222:
                broker.partitions[fields["topic"]].reset(int(fields["offset"]))
                return {}
            case 200076:
                topics = broker.lite[fields["parentTopic"]]
                name = fields["liteTopic"]
                return {
                    "topicOffset": {"maxOffset": topics.length(name)},
                    "subscriber": [{"clientId": client} for client in topics.subscribers(name)],
                }
            case 200077:
                topics = broker.lite[fields["parentTopic"]]
                return {"liteTopicSet": [f"%LMQ%$x${name}" for name in topics.subscribed(fields["clientId"])]}
            case 200079:
                for topics in broker.lite.values():
                    topics.dispatch(fields["clientId"])
                return {}
        raise AssertionError(f"the model does not know admin code {code}")
