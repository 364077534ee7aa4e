"""Stands in for `RemotingClient`: name server and broker, as the admin calls see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.remoting import Answer, Refused
from tests.simulation.loop import CURRENT
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.network import Network

_PORT = ":10911"
"""Of each broker."""


class ModelRemoting:
    """`name_server_up` is False while the name server is down. Who may not reach the broker is cut off from `admin`."""

    def __init__(self, network: Network, brokers: Sequence[ModelBroker]) -> None:
        self.network = network
        self.brokers = brokers
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
        asked = next((broker for broker in model.brokers if self._address == broker.name + _PORT), None)
        up = asked.up if asked is not None else model.name_server_up
        if not up:
            raise BrokerUnavailable(f"cannot reach {self._address}: connection refused")
        answer = self._answer(code, fields or {}) if asked is None else self._broker_answers(asked, code, fields or {})
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        await asyncio.sleep(model.network.delay("admin"))
        return Answer({}, body)

    def _answer(self, code: int, fields: Mapping[str, Any]) -> object:
        """The name server's."""
        brokers = self._model.brokers
        match code:
            case 106:
                return {
                    "brokerAddrTable": {
                        broker.name: {"brokerAddrs": {"0": broker.name + _PORT}} for broker in brokers if broker.up
                    }
                }
            case 105:
                having = [broker.name for broker in brokers if fields["topic"] in broker.topics]
                if not having:
                    raise Refused("no such topic", code=17)
                return {"queueDatas": [{"brokerName": name, "writeQueueNums": 1} for name in having]}
        raise AssertionError(f"the model does not know admin code {code}")

    @staticmethod
    def _broker_answers(broker: ModelBroker, code: int, fields: Mapping[str, Any]) -> object:
        if fields.get("parentTopic", "") not in ("", *broker.lite):
            raise Refused("no such topic", code=17)
        match code:
            case 208:
                partition = broker.partitions[fields["topic"]]
                offsets = {"brokerOffset": len(partition.messages), "consumerOffset": partition.committed}
                queue = {"brokerName": broker.name, "queueId": 0}  # fastjson writes objects as keys
                return f'{{"offsetTable":{{{json.dumps(queue)}:{json.dumps(offsets)}}}}}'.encode()
            case 351:
                if fields["topic"] not in broker.topics:
                    raise Refused("no such topic", code=17)
                return {"topicName": fields["topic"], "readQueueNums": 1, "writeQueueNums": 1}
            case 222:
                broker.partitions[fields["topic"]].reset(int(fields["offset"]))
                return {}
            case 200076:
                topics = broker.lite[fields["parentTopic"]]
                name = fields["liteTopic"]
                group = next(group for group, its in broker.lite_groups.items() if its is topics)
                return {
                    "topicOffset": {"maxOffset": topics.length(name)},
                    "subscriber": [{"clientId": client, "group": group} for client in topics.subscribers(name)],
                }
            case 200077:
                topics = broker.lite[fields["parentTopic"]]
                return {"liteTopicSet": [f"%LMQ%$x${name}" for name in topics.subscribed(fields["clientId"])]}
            case 200078:
                topics = broker.lite_groups[fields["group"]]
                lags = sorted(((one.lag, name) for name, one in topics.topics.items() if one.lag > 0), reverse=True)
                most = [{"liteTopic": name, "lagCount": count} for count, name in lags[: int(fields["topK"])]]
                return {"totalLagCount": sum(count for count, _ in lags), "lagCountTopK": most}
            case 200079:
                if fields["group"] in broker.lite_groups:
                    broker.lite_groups[fields["group"]].dispatch(fields["clientId"])
                return {}
        raise AssertionError(f"the model does not know admin code {code}")
