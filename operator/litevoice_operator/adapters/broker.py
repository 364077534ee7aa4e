"""The broker's admin protocol in the operator's terms: one connection per VoiceGateway, replaced when its name server
changes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess
from litevoice_broker.lag import LiteTopicInfo, LiteTopicLag
from litevoice_contracts.names import ClientId, Names
from litevoice_operator.observe.backlogs import Waiting

LARGEST = 500
"""LiteTopics per measurement: far more than any top list shows, because their ages count, too (a broker that does not
collect latencies lists no oldest ones)."""
OLDEST_CHECKED = 10
"""LiteTopics with the oldest messages whose existence is checked: the broker also lists expired ones."""


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

    async def close(self) -> None:
        """Calls raise BrokerError from now on."""
        admin, self._admin, self._used = self._admin, None, ("", False)
        if admin is not None:
            await admin.close()

    async def ensure(self, names: Names, expiration_minutes: int) -> None:
        """Topics and groups; idempotent."""
        await self._connected.ensure_names(names, expiration_minutes=expiration_minutes)

    async def missing(self, names: Names) -> list[str]:
        """Topics and groups that do not exist; cheaper than `ensure`."""
        return await self._connected.names_exist(names)

    async def delete(self, names: Names) -> None:
        await self._connected.delete_names(names)

    async def requests(self, names: Names) -> list[Waiting]:
        """What waits in each partition, by number."""
        lags = await self._connected.partition_lag(names)
        return [Waiting(lag.topic, lag.lag, lag.oldest_seconds) for lag in lags]

    async def replies(self, names: Names) -> tuple[int, list[Waiting], list[Waiting], set[str]]:
        """Messages in all, the largest LiteTopics, the oldest ones, and which of both exist."""
        lag = await self._connected.lite_lag(names.gateway_group, LARGEST)
        largest, oldest = [_waiting(topic) for topic in lag.by_count], [_waiting(topic) for topic in lag.by_age]
        existing = {waiting.name for waiting in largest}
        unsure = [waiting.name for waiting in oldest[:OLDEST_CHECKED] if waiting.name not in existing]
        found = await self._connected.lite_topics(names.reply_topic, unsure)
        existing |= {name for name, info in zip(unsure, found, strict=True) if info is not None}
        return lag.total, largest, oldest, existing

    async def owners(self, names: Names, session_ids: Collection[str]) -> dict[str, str]:
        """Session → the pod that is subscribed to its LiteTopic; empty when none is."""
        found = await self._connected.lite_topics(names.reply_topic, session_ids)
        return {session_id: _owner(info) for session_id, info in zip(session_ids, found, strict=True)}

    @property
    def _connected(self) -> Admin:
        if self._admin is None:
            name_server, admin_tls = self._used
            self._admin = Admin(name_server, access=self._installed.access_to(name_server, admin_tls))
        return self._admin


def _owner(info: LiteTopicInfo | None) -> str:
    owners = [ClientId.parse(subscriber) for subscriber in info.subscribers] if info else []
    return next((owner.pod for owner in owners if owner is not None), "")


def _waiting(topic: LiteTopicLag) -> Waiting:
    return Waiting(topic.name, topic.count, topic.oldest_seconds)
