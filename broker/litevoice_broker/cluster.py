"""A RocketMQ cluster through the admin protocol: which masters it has, which of them a topic is on, and connections to
them. The name server knows; while it is away, what it said before counts where that can do no harm."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

from litevoice_broker.config import AdminAccess
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.fastjson import parse
from litevoice_broker.remoting import Refused, RemotingClient
from litevoice_contracts.addresses import join_address, parse_addresses
from litevoice_contracts.errors import InvalidField

_TOPIC_CONFIG, _ROUTE, _CLUSTER = 351, 105, 106
_TOPIC_NOT_EXIST = 17
_NAME_SERVER_SECONDS = 1.0
"""How long questions about owners wait for it, once the brokers are known: in a moment the answer is no longer true."""
_MASTER = "0"


class Cluster:
    """Its arguments, and what every method raises: see Admin.

    Attributes:
        name_servers: ``host:port`` of each, in the order in which they are tried.
    """

    def __init__(self, name_server: str, *, access: AdminAccess | None, timeout_seconds: float) -> None:
        try:
            self.name_servers = [join_address(*pair) for pair in parse_addresses("name_server", name_server)]
        except InvalidField as error:
            raise BrokerError(str(error)) from error
        self._timeout_seconds = timeout_seconds
        self._access = access or AdminAccess()
        self._access.ssl_context()  # to say at once what does not fit
        self._clients: dict[str, RemotingClient] = {}
        self._last_masters: dict[str, str] = {}
        self._serve: dict[str, dict[str, bool]] = {}  # parent topic → master → whether it has the topic

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    async def masters(self) -> dict[str, str]:
        """Broker name → ``host:port``, sorted by name. Raises BrokerUnavailable when none is registered."""
        table = (await self._ask_name_server(_CLUSTER)).get("brokerAddrTable") or {}
        found = {
            name: entry["brokerAddrs"][_MASTER] for name, entry in table.items() if _MASTER in entry["brokerAddrs"]
        }
        if not found:
            raise BrokerUnavailable(f"nameServer: no RocketMQ broker is registered at {';'.join(self.name_servers)}")
        self._last_masters = dict(sorted({**self._last_masters, **found}.items()))
        return dict(sorted(found.items()))

    async def known_masters(self) -> dict[str, str]:
        """The masters, and those that were known before, so that owners are known nevertheless: the name server may be
        away, or be back and not know every broker again, for up to 30 s."""
        if not self._last_masters:
            return await self.masters()
        with contextlib.suppress(BrokerUnavailable, TimeoutError):
            async with asyncio.timeout(_NAME_SERVER_SECONDS):
                await self.masters()
        return self._last_masters

    def client(self, address: str) -> RemotingClient:
        client = self._clients.get(address)
        if client is None:
            client = RemotingClient(address, access=self._access, timeout_seconds=self._timeout_seconds)
            self._clients[address] = client
        return client

    async def route(self, topic: str) -> list[str]:
        """Names of the brokers that hold the topic."""
        try:
            route = await self._ask_name_server(_ROUTE, {"topic": topic})
        except Refused as error:
            if error.code == _TOPIC_NOT_EXIST:
                return []
            raise
        return sorted(data["brokerName"] for data in route.get("queueDatas", []) if data.get("writeQueueNums", 0) > 0)

    async def wait_for_route(self, topic: str) -> None:
        deadline = time.monotonic() + self._timeout_seconds
        while not await self.route(topic):
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"topic {topic} was created but the name server does not list it")
            await asyncio.sleep(0.05)

    async def topic_config(self, address: str, topic: str) -> dict[str, Any] | None:
        """None when that broker does not hold the topic."""
        try:
            config = parse((await self.client(address).call(_TOPIC_CONFIG, {"topic": topic, "lo": "true"})).body)
        except Refused as error:
            if error.code == _TOPIC_NOT_EXIST:
                return None
            raise
        return config if isinstance(config, dict) else None

    async def known_address(self, topic: str) -> str:
        """See `only_address`; when the name server does not know it, or is away, the brokers themselves are asked."""
        masters = await self.known_masters()
        try:
            async with asyncio.timeout(_NAME_SERVER_SECONDS):
                return await self.only_address(masters, topic)
        except (BrokerError, TimeoutError) as error:
            for address in masters.values():
                with contextlib.suppress(BrokerUnavailable):
                    if await self.topic_config(address, topic) is not None:
                        return address
            if isinstance(error, BrokerError) and not isinstance(error, BrokerUnavailable):
                raise
            raise BrokerUnavailable(f"nameServer: no answer, and no known broker has topic {topic}") from None

    async def only_address(self, masters: Mapping[str, str], topic: str) -> str:
        """Of the master that a topic of one broker is on, as the name server says. Raises BrokerError when the topic
        does not exist."""
        brokers = await self.route(topic)
        if not brokers:
            raise BrokerError(f"topic {topic} does not exist")
        if brokers[0] not in masters:
            raise BrokerUnavailable(f"topic {topic} is on {brokers[0]}, which has no master at the moment")
        return masters[brokers[0]]

    async def serving(self, parent: str) -> dict[str, str]:
        """The masters that serve the parent topic, and those of which that is not known yet. Raises BrokerUnavailable
        when one that does is away: what the others know is not all."""
        masters, serve = await self.known_masters(), self._serve.setdefault(parent, {})
        away = next((name for name, serves in serve.items() if serves and name not in masters), None)
        if away is not None:
            raise BrokerUnavailable(f"topic {parent} is on {away}, which has no master at the moment")
        return {name: address for name, address in masters.items() if serve.get(name, True)}

    async def ask_serving(
        self, masters: Mapping[str, str], parent: str, code: int, fields: Mapping[str, object]
    ) -> list[dict[str, Any]]:
        """The answers of those that serve the parent topic, one at least. Raises BrokerUnavailable when none does."""
        answers, serve = [], self._serve[parent]
        for broker, address in masters.items():
            try:
                answers.append(parse((await self.client(address).call(code, fields)).body))
            except Refused as error:
                if error.code != _TOPIC_NOT_EXIST:
                    raise
                serve[broker] = False
            else:
                serve[broker] = True
        if not answers:
            serve.clear()  # it may be on another one some day
            raise BrokerUnavailable(f"no broker serves topic {parent} at the moment")
        return answers

    async def _ask_name_server(self, code: int, fields: Mapping[str, object] | None = None) -> dict[str, Any]:
        reason = ""
        for address in self.name_servers:
            try:
                body = parse((await self.client(address).call(code, fields)).body)
                return body if isinstance(body, dict) else {}
            except BrokerUnavailable as error:
                reason = str(error)
        raise BrokerUnavailable(f"nameServer: {reason}")
