"""The broker's admin protocol in the operator's terms: one connection per VoiceGateway, replaced when its name server
changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from litevoice_broker.admin import Admin
from litevoice_broker.at_once import each
from litevoice_broker.config import AdminAccess
from litevoice_broker.lag import BrokerUse, LiteTopicInfo, joined
from litevoice_contracts.names import ClientId, Names
from litevoice_operator.observe.backlogs import Waiting

LARGEST = 100_000
"""LiteTopics per measurement and broker, 124 bytes each: all that have a backlog. The broker looks at each of them
anyway, and the smallest may be the oldest."""
AT_ONCE = 16
"""Questions about clients."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The name servers that the operator was installed with, and the credentials for them and their brokers."""

    name_server: str
    access: AdminAccess

    def access_to(self, name_server: str, admin_tls: bool) -> AdminAccess:
        """Other name servers get no credentials: otherwise anyone who may create a VoiceGateway could have them sent
        to a server of their own."""
        if name_server == self.name_server:
            return self.access
        return AdminAccess(tls=admin_tls, ca_file=self.access.ca_file)


class Broker:
    """Errors are `litevoice_broker.errors.BrokerError`."""

    def __init__(self, installed: Installed) -> None:
        self._installed = installed
        self._admin: Admin | None = None
        self._used = ("", False)

    async def use(self, name_server: str, *, admin_tls: bool) -> None:
        """Use this name server from now on, ``host:port[;host:port…]``. `admin_tls` does not apply to the one that the
        operator was installed with."""
        if (name_server, admin_tls) != self._used:
            await self.close()
            self._used = (name_server, admin_tls)

    @property
    def name_server(self) -> str:
        """That is used; "" for none."""
        return self._used[0]

    async def close(self) -> None:
        """Calls raise BrokerError from now on."""
        admin, self._admin, self._used = self._admin, None, ("", False)
        if admin is not None:
            await admin.close()

    async def ensure(self, names: Names, expiration_minutes: int, known_partitions: int) -> None:
        """Topics and groups; idempotent. `known_partitions`: those beyond were never used."""
        await self._connected.ensure_names(
            names, expiration_minutes=expiration_minutes, known_partitions=known_partitions
        )

    async def missing(self, names: Names) -> list[str]:
        """Topics and groups that do not exist; cheaper than `ensure`."""
        return await self._connected.names_exist(names)

    async def delete(self, names: Names) -> None:
        """Topics and groups, then the marks."""
        await self._connected.delete_names(names)
        for group in names.owner_groups:
            await self._connected.delete_group(group)

    async def marks(self, names: Names) -> list[str]:
        """Of the owner groups, in their order; empty where there is none."""
        return [await self._connected.group_mark(group) for group in names.owner_groups]

    async def mark(self, names: Names, text: str) -> None:
        """Say whose these topics are from now on."""
        for group in names.owner_groups:
            await self._connected.mark_group(group, text)

    async def exist(self, names: Names) -> bool:
        """Whether any of the topics does."""
        missing = await self._connected.names_exist(names)
        return any(f"topic {topic}" not in missing for topic in (*names.partition_topics, *names.reply_topics))

    async def requests(self, names: Names, partitions: Sequence[int] | None = None) -> list[Waiting]:
        """What waits in each partition, or in these."""
        lags = await self._connected.partition_lag(names, partitions)
        return [Waiting(lag.topic, lag.lag, lag.oldest_seconds) for lag in lags]

    async def replies(self, names: Names) -> tuple[int, list[Waiting]]:
        """Messages in all, and the LiteTopics that they wait in. Costs the broker a walk over all offsets."""
        readers = names.reply_readers
        lags = [await self._connected.lite_lag(group, LARGEST, parent=topic) for topic, group in readers]
        lag = joined(lags, LARGEST * len(lags))
        return lag.total, [Waiting(topic.name, topic.count, topic.oldest_seconds) for topic in lag.by_count]

    async def replies_of(self, names: Names, session_ids: Collection[str]) -> list[Waiting]:
        """What waits for these sessions. Costs the broker no walk."""
        found = []
        for topic, group in names.reply_readers:
            some = [session_id for session_id in session_ids if names.reply_topic_of(session_id) == topic]
            found += await self._connected.lite_lag_of(group, some, topic)
        return [Waiting(one.name, one.count, one.oldest_seconds) for one in found]

    async def owners(self, names: Names, session_ids: Collection[str]) -> dict[str, str]:
        """Session → the pod that is subscribed to its LiteTopic; empty when none is."""
        found = await self._lite_topics(names, session_ids)
        return {session_id: _owner(info) for session_id, info in found.items()}

    async def subscribers(self, names: Names, session_ids: Collection[str]) -> dict[str, list[str]]:
        """Session → the clients that are subscribed to its LiteTopic, one of which is its owner."""
        found = await self._lite_topics(names, session_ids)
        return {session_id: info.subscribers if info else [] for session_id, info in found.items()}

    async def subscribed(self, names: Names, clients: Collection[tuple[int, str]]) -> dict[str, set[str]]:
        """Client → the LiteTopics that it is subscribed to, 10,000 at most: one call for each. `clients`: the broker's
        number, and the client's id there."""

        async def ask(client: tuple[int, str]) -> set[str]:
            broker, client_id = client
            parent, group = names.reply_topic_on(broker), names.gateway_group_on(broker)
            return await self._connected.lite_topics_of(parent, group, client_id)

        found: dict[str, set[str]] = {}
        for (_, client_id), listed in zip(clients, await each(clients, ask, AT_ONCE), strict=True):
            found.setdefault(client_id, set()).update(listed)
        return found

    async def written(self, names: Names, session_id: str) -> tuple[str, int]:
        """The pod that is subscribed to the session's LiteTopic, "" for none, and how many messages were written to it;
        -1 when there is no such LiteTopic."""
        info = (await self._lite_topics(names, [session_id]))[session_id]
        return _owner(info), info.max_offset if info else -1

    async def holders(self, names: Names, partitions: Sequence[int]) -> dict[int, list[str]]:
        """Partition → the worker pods that hold its fence: one, unless something is wrong or just changing."""
        fences = [names.fence(partition) for partition in partitions]
        infos = await self._connected.lite_topics(names.control_topic, fences, names.fence_group)
        return {partition: _pods(info) for partition, info in zip(partitions, infos, strict=True)}

    async def settings(self) -> dict[str, dict[str, str]]:
        """Broker → its settings."""
        return await self._connected.settings()

    async def uses(self) -> dict[str, BrokerUse]:
        """Broker → its version, and how much of it is used."""
        return await self._connected.uses()

    async def _lite_topics(self, names: Names, session_ids: Collection[str]) -> dict[str, LiteTopicInfo | None]:
        found: dict[str, LiteTopicInfo | None] = {}
        for reply_topic, group in names.reply_readers:
            some = [session_id for session_id in session_ids if names.reply_topic_of(session_id) == reply_topic]
            infos = await self._connected.lite_topics(reply_topic, some, group)
            found |= dict(zip(some, infos, strict=True))
        return found

    @property
    def _connected(self) -> Admin:
        if self._admin is None:
            name_server, admin_tls = self._used
            self._admin = Admin(name_server, access=self._installed.access_to(name_server, admin_tls))
        return self._admin


def _owner(info: LiteTopicInfo | None) -> str:
    return next(iter(_pods(info)), "")


def _pods(info: LiteTopicInfo | None) -> list[str]:
    clients = [ClientId.parse(subscriber) for subscriber in info.subscribers] if info else []
    return [client.pod for client in clients if client is not None]
