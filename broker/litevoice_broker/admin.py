"""Topics, groups, lag and owners through RocketMQ's admin protocol: for the operator, worker hand-over and tests.

Every call goes to the masters that the name server lists at that moment, so brokers may come and go (see `cluster`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from litevoice_broker.at_once import each
from litevoice_broker.cluster import Cluster
from litevoice_broker.config import AdminAccess
from litevoice_broker.errors import BrokerError
from litevoice_broker.fastjson import parse
from litevoice_broker.lag import (
    BrokerUse,
    LiteLag,
    LiteTopicInfo,
    LiteTopicLag,
    PartitionLag,
    broker_clock,
    broker_use,
    client_lite_topics,
    joined,
    lag_of_one,
    lite_topic_info,
    lite_topic_lags,
    oldest_request_seconds,
)
from litevoice_broker.placement import place
from litevoice_broker.remoting import Refused
from litevoice_contracts.names import Names
from litevoice_contracts.settings import BrokerSettings

__all__ = ["HEARTBEAT_SYNC_GROUP", "Admin", "LiteLag", "LiteTopicInfo", "LiteTopicLag", "PartitionLag"]

HEARTBEAT_SYNC_GROUP = "CID_DefaultHeartBeatSyncerTopic"
"""Proxies share their clients' heartbeats through it; they cannot create it when groups are not made automatically."""

_CREATE_TOPIC, _DELETE_TOPIC, _DELETE_TOPIC_AT_NAME_SERVER = 17, 215, 216
_CREATE_GROUP, _DELETE_GROUP, _GROUP_CONFIG = 200, 207, 352
_BROKER_CONFIG, _BROKER_RUNTIME = 26, 28
_CONSUME_STATS, _RESET_OFFSET, _TIME_SPAN = 208, 222, 303
_LITE_BROKER = 200074
_LITE_TOPIC, _LITE_CLIENT, _LITE_GROUP, _LITE_DISPATCH = 200076, 200077, 200078, 200079
_MAX_CLIENT_NAMES = 10_000
_READ_WRITE = 6
LAGS_AT_ONCE = 16


class Admin:
    """`name_server`: ``host:port[;host:port…]``, tried in this order. `access`: without it in plain text, not signed.

    Every method raises NotPermitted when a broker does not accept the credentials, and BrokerUnavailable when it cannot
    be reached.
    """

    def __init__(self, name_server: str, *, access: AdminAccess | None = None, timeout_seconds: float = 5.0) -> None:
        self.cluster = Cluster(name_server, access=access, timeout_seconds=timeout_seconds)
        self._homes: dict[str, str] = {}  # partition's topic → name of its only broker

    @classmethod
    def from_settings(cls, settings: BrokerSettings) -> Admin:
        """Reads credentials and authorities. Raises BrokerError that names what does not fit."""
        return cls(settings.name_server, access=AdminAccess.from_settings(settings))

    async def close(self) -> None:
        await self.cluster.close()

    async def settings(self) -> dict[str, dict[str, str]]:
        """Broker name → the settings that its master runs with, defaults included."""
        found = {}
        for name, address in (await self.cluster.masters()).items():
            body = (await self.cluster.client(address).call(_BROKER_CONFIG, {})).body.decode(errors="replace")
            pairs = (line.partition("=") for line in body.splitlines())
            found[name] = {key.strip(): value.strip() for key, separator, value in pairs if separator}
        return found

    async def uses(self) -> dict[str, BrokerUse]:
        """Broker name → what its master is, and how much of it is used."""
        found = {}
        for name, address in (await self.cluster.masters()).items():
            client = self.cluster.client(address)
            lite, runtime = [parse((await client.call(code, {})).body) for code in (_LITE_BROKER, _BROKER_RUNTIME)]
            found[name] = broker_use(lite, runtime)
        return found

    # --- topics and groups

    async def ensure_fifo_topic(self, topic: str, *, broker: str = "") -> None:
        """One FIFO topic with exactly one queue on exactly one master: only so its order survives a send request.

        A topic that exists already stays where it is, another one is made on `broker`, without one on the first master.
        Raises BrokerError when it exists in another form.
        """
        masters = await self.cluster.masters()
        existing = await self.cluster.route(topic)
        for name in existing:
            config = await self.cluster.topic_config(masters[name], topic) if name in masters else None
            if config and (config["writeQueueNums"] != 1 or _attribute(config, "message.type") != "FIFO"):
                raise BrokerError(
                    f"topic {topic} exists on {name} with {config['writeQueueNums']} queues and message.type "
                    f"{_attribute(config, 'message.type') or 'NORMAL'}; expected 1 queue and FIFO; delete it first"
                )
        if len(existing) > 1:
            raise BrokerError(f"topic {topic} exists on {', '.join(existing)}; it must be on one broker only")
        if not existing:
            await self._create_topic(_master(masters, broker), topic, queues=1, attributes={"message.type": "FIFO"})
            await self.cluster.wait_for_route(topic)

    async def ensure_lite_topic(self, topic: str, *, expiration_minutes: int, broker: str = "") -> None:
        """Parent of LiteTopics, on one master, like `ensure_fifo_topic`: with several, a proxy picks a LiteTopic's
        broker anew whenever the name server lists others. `expiration_minutes` counts from a LiteTopic's last message.

        Brokers wait 15 minutes at least (minLiteTTl); more than 35,791 overflow and expire at once.

        Raises BrokerError when the topic exists with another message type.
        """
        masters = await self.cluster.masters()
        attributes = {"message.type": "LITE", "lite.topic.expiration": str(expiration_minutes)}
        existing = await self.cluster.route(topic)
        for name in existing:
            config = await self.cluster.topic_config(masters[name], topic) if name in masters else None
            if config and _attribute(config, "message.type") != "LITE":
                raise BrokerError(
                    f"topic {topic} exists on {name} with message.type "
                    f"{_attribute(config, 'message.type') or 'NORMAL'}; expected LITE; delete it first"
                )
            if config and _attribute(config, "lite.topic.expiration") != str(expiration_minutes):
                await self._create_topic(masters[name], topic, queues=8, attributes=attributes)
        if not existing:
            await self._create_topic(_master(masters, broker), topic, queues=8, attributes=attributes)
            await self.cluster.wait_for_route(topic)

    async def ensure_group(
        self,
        group: str,
        *,
        orderly: bool,
        lite_bind_topic: str = "",
        exclusive: bool = False,
        client_quota: int = 100_000,
    ) -> None:
        """A consumer group, on all masters.

        `client_quota`: LiteTopics that one client may own (the broker's own default is 2,000). The event limit is set
        as high: with the default of 100, messages of more than 100 pending LiteTopics stall for 10 to 35 s.
        """
        attributes: dict[str, str] = {}
        if lite_bind_topic:
            attributes = {
                "+lite.bind.topic": lite_bind_topic,
                "+lite.sub.client.quota": str(client_quota),
                "+lite.sub.client.max.event.cnt": str(client_quota),
            }
            if exclusive:
                attributes["+lite.sub.model"] = "Exclusive"
        body = json.dumps(
            {
                "groupName": group,
                "consumeEnable": True,
                "consumeFromMinEnable": False,
                "consumeBroadcastEnable": False,
                "consumeMessageOrderly": orderly,
                "retryQueueNums": 1,
                "retryMaxTimes": 16,
                "brokerId": 0,
                "whichBrokerWhenConsumeSlowly": 1,
                "notifyConsumerIdsChangedEnable": True,
                "attributes": attributes,
            }
        ).encode()
        for address in (await self.cluster.masters()).values():
            await self.cluster.client(address).call(_CREATE_GROUP, {}, body)

    async def ensure_names(self, names: Names, *, expiration_minutes: int, known_partitions: int | None = None) -> None:
        """Everything one VoiceGateway needs at the brokers; idempotent. See `place`."""
        await self.ensure_group(HEARTBEAT_SYNC_GROUP, orderly=False)
        masters = await self.cluster.masters()
        listed = {topic: await self.cluster.route(topic) for topic in _topics(names)}
        new = set()
        if not all(listed.values()):
            new = {name for name, at in masters.items() if not await self._group_exists(at, names.worker_group)}
        placed = place(names, listed, list(masters), new, known_partitions)
        for topic in _topics(names):
            master = placed.get(topic, "")
            if topic in names.partition_topics:
                await self.ensure_fifo_topic(topic, broker=master)
            else:
                await self.ensure_lite_topic(topic, expiration_minutes=expiration_minutes, broker=master)
        for reply_topic, group in names.reply_readers:
            await self.ensure_group(group, orderly=True, lite_bind_topic=reply_topic, exclusive=True)
        await self.ensure_group(names.fence_group, orderly=True, lite_bind_topic=names.control_topic, exclusive=True)
        await self.ensure_group(names.worker_group, orderly=True)  # the last: where it is, everything has been made

    async def delete_names(self, names: Names) -> None:
        """Removes what `ensure_names` made, but for the group that proxies share; idempotent."""
        masters = await self.cluster.masters()
        for address in masters.values():
            client = self.cluster.client(address)
            for group in _groups(names):
                await client.call(_DELETE_GROUP, {"groupName": group, "cleanOffset": "true"})
            for topic in _topics(names):
                await client.call(_DELETE_TOPIC, {"topic": topic})
        for name_server in self.cluster.name_servers:
            for topic in _topics(names):
                await self.cluster.client(name_server).call(_DELETE_TOPIC_AT_NAME_SERVER, {"topic": topic})

    async def names_exist(self, names: Names) -> list[str]:
        """What is missing, like ``topic X-03``, ``group X-workers on broker-a``; [] when complete."""
        missing = []
        for topic in _topics(names):
            if not await self.cluster.route(topic):
                missing.append(f"topic {topic}")
        for name, address in (await self.cluster.masters()).items():
            for group in (*_groups(names), HEARTBEAT_SYNC_GROUP):
                if not await self._group_exists(address, group):
                    missing.append(f"group {group} on {name}")
        return missing

    async def mark_group(self, group: str, text: str) -> None:
        """A group that nobody consumes in and that carries `text` (letters, digits, ``_`` and ``-``), on all masters:
        RocketMQ has no place for notes about topics."""
        await self.ensure_group(group, orderly=False, lite_bind_topic=text)

    async def group_mark(self, group: str) -> str:
        """The text of `mark_group` on any master; empty: there is no such group."""
        for address in (await self.cluster.masters()).values():
            config = await self._group_config(address, group)
            if text := _attribute(config, "lite.bind.topic"):
                return text
        return ""

    async def delete_group(self, group: str) -> None:
        """Idempotent."""
        for address in (await self.cluster.masters()).values():
            await self.cluster.client(address).call(_DELETE_GROUP, {"groupName": group, "cleanOffset": "true"})

    # --- lag and owners

    async def partition_lag(self, names: Names, partitions: Iterable[int] | None = None) -> list[PartitionLag]:
        """One entry per partition, or per one of `partitions`. Raises BrokerError when a topic does not exist."""
        masters, group = await self.cluster.masters(), names.worker_group
        topics = names.partition_topics if partitions is None else map(names.partition_topic, partitions)
        return await each(topics, lambda topic: self._one_partition_lag(masters, topic, group), LAGS_AT_ONCE)

    async def lite_lag(self, group: str, top: int, *, parent: str = "") -> LiteLag:
        """Summed over masters; with `parent`, the group's topic, over those that serve it. Costs the broker a walk over
        all offsets of the group: poll it once per group. With `parent` ages are by the broker's clock."""
        lags = []
        for address in (await self.cluster.serving(parent) if parent else await self.cluster.masters()).values():
            body = parse((await self.cluster.client(address).call(_LITE_GROUP, {"group": group, "topK": top})).body)
            now = (await self._clock(address, parent, group) if parent else None) or time.time()
            by_count, by_age = (lite_topic_lags(body.get(field), now) for field in ("lagCountTopK", "lagTimestampTopK"))
            lags.append(LiteLag(max(0, int(body.get("totalLagCount", 0))), by_count, by_age))
        return joined(lags, top)

    async def lite_lag_of(self, group: str, names: Collection[str], parent: str) -> list[LiteTopicLag]:
        """What `group` has not consumed of these LiteTopics, in their order: one call for each, which costs no walk. 0
        of one that was never consumed, or that does not exist."""
        masters = await self.cluster.serving(parent) if names else {}
        clocks = {at: await self._clock(at, parent, group) or time.time() for at in masters.values()}

        async def ask(name: str) -> LiteTopicLag:
            fields = {"group": group, "topK": 1, "liteTopic": name}
            calls = [self.cluster.client(at).call(_LITE_GROUP, fields) for at in clocks]
            answers = [parse(answer.body) for answer in await asyncio.gather(*calls)]
            return lag_of_one(name, zip(answers, clocks.values(), strict=True))

        return await each(names, ask, LAGS_AT_ONCE)

    async def lite_topic(self, parent: str, name: str, group: str) -> LiteTopicInfo | None:
        """Its log, and who of `group` is subscribed. None when no master has a message or such a subscriber."""
        (found,) = await self.lite_topics(parent, [name], group)
        return found

    async def lite_topics(self, parent: str, names: Collection[str], group: str) -> list[LiteTopicInfo | None]:
        """Like `lite_topic`, for each of `names` in their order; all requests are in flight at once.

        Raises BrokerUnavailable while a master that serves the parent topic is away, but not for others.
        """
        if not names:
            return []
        masters = await self.cluster.serving(parent)
        return await asyncio.gather(*(self._lite_topic(masters, parent, name, group) for name in names))

    async def lite_topics_of(self, parent: str, group: str, client_id: str) -> set[str]:
        """The LiteTopics that every master of the parent topic lists that client as a subscriber of: 10,000 of them at
        most, in one call to each master."""
        fields = {"parentTopic": parent, "group": group, "clientId": client_id, "maxCount": _MAX_CLIENT_NAMES}
        answers = await self.cluster.ask_serving(await self.cluster.serving(parent), parent, _LITE_CLIENT, fields)
        return set.intersection(*(client_lite_topics(answer) for answer in answers))

    async def dispatch_lite_topics(self, parent: str, group: str, client_id: str) -> None:
        """Wakes that client for every LiteTopic in which something waits for it."""
        for address in (await self.cluster.serving(parent)).values():
            await self.cluster.client(address).call(_LITE_DISPATCH, {"group": group, "clientId": client_id})

    async def _lite_topic(self, masters: Mapping[str, str], parent: str, name: str, group: str) -> LiteTopicInfo | None:
        found: LiteTopicInfo | None = None
        fields = {"parentTopic": parent, "liteTopic": name}
        for answer in await self.cluster.ask_serving(masters, parent, _LITE_TOPIC, fields):
            info = lite_topic_info(answer, group)
            if not info.max_offset and not info.subscribers:
                continue  # the broker answers for names that it never heard of too
            if found is None or info.max_offset > found.max_offset or (info.subscribers and not found.subscribers):
                found = info
        return found

    async def offsets(self, topic: str, group: str) -> tuple[int, int]:
        """The next offset of a topic with one queue, and the group's committed one."""
        return await self._offsets(await self.cluster.known_address(topic), topic, group)

    async def reset_offset_to_committed(self, topic: str, group: str, *, before: int = 0) -> int:
        """Frees the order lock of a consumer that died with un-acknowledged messages; returns the offset of the next
        message: the committed one, or up to `before` messages earlier.

        Without it the topic stands still until the dead consumer's invisible time is over. Call it only when the
        last consumer is gone: what a live one holds would be delivered again.
        """
        address = await self.cluster.known_address(topic)
        _, committed = await self._offsets(address, topic, group)
        committed = max(0, committed - before)
        await self.cluster.client(address).call(
            _RESET_OFFSET,
            {"topic": topic, "group": group, "queueId": 0, "offset": committed, "timestamp": -1, "isForce": "true"},
        )
        return committed

    # --- inside

    async def _create_topic(self, address: str, topic: str, *, queues: int, attributes: Mapping[str, str]) -> None:
        await self.cluster.client(address).call(
            _CREATE_TOPIC,
            {
                "topic": topic,
                "defaultTopic": "TBW102",
                "readQueueNums": queues,
                "writeQueueNums": queues,
                "perm": _READ_WRITE,
                "topicFilterType": "SINGLE_TAG",
                "topicSysFlag": 0,
                "order": "false",
                "attributes": ",".join(f"+{name}={value}" for name, value in attributes.items()),
            },
        )

    async def _group_exists(self, address: str, group: str) -> bool:
        return bool(await self._group_config(address, group))

    async def _group_config(self, address: str, group: str) -> dict[str, Any]:
        """{} when there is no such group."""
        try:
            answer = await self.cluster.client(address).call(_GROUP_CONFIG, {"group": group})
        except Refused:
            return {}
        config = parse(answer.body) if answer.body else {}
        return config if isinstance(config, dict) else {}

    async def _offsets(self, address: str, topic: str, group: str) -> tuple[int, int]:
        """Broker offset and committed consumer offset of the topic's only queue."""
        answer = await self.cluster.client(address).call(_CONSUME_STATS, {"consumerGroup": group, "topic": topic})
        for queue, offsets in parse(answer.body).get("offsetTable", {}).items():
            if dict(queue).get("queueId") == 0:
                return int(offsets["brokerOffset"]), max(0, int(offsets["consumerOffset"]))
        raise BrokerError(f"the broker knows no queue of topic {topic} for group {group}")

    async def _one_partition_lag(self, masters: Mapping[str, str], topic: str, group: str) -> PartitionLag:
        """Its broker is asked for once: a topic stays where it is until it is deleted."""
        home = self._homes.pop(topic, "")
        address = masters.get(home) or await self.cluster.only_address(masters, topic)
        broker_offset, consumer_offset = await self._offsets(address, topic, group)
        self._homes[topic] = next(name for name, at in masters.items() if at == address)
        lag = max(0, broker_offset - consumer_offset)
        oldest = None
        if lag:
            oldest = oldest_request_seconds(await self._spans(address, topic, group))
        return PartitionLag(topic, lag, oldest)

    async def _clock(self, address: str, parent: str, group: str) -> float | None:
        """What time it is at a broker, Unix seconds, from a topic that LiteTopics are under: no group reads the topic
        itself. None when the topic is not there."""
        try:
            return broker_clock(await self._spans(address, parent, group))
        except Refused:
            return None

    async def _spans(self, address: str, topic: str, group: str) -> list[dict[str, Any]]:
        answer = await self.cluster.client(address).call(_TIME_SPAN, {"topic": topic, "group": group})
        spans: list[dict[str, Any]] = parse(answer.body).get("consumeTimeSpanSet", [])
        return spans


def _attribute(config: Mapping[str, Any], name: str) -> str:
    return str((config.get("attributes") or {}).get(name, ""))


def _master(masters: Mapping[str, str], name: str) -> str:
    """Address of that master, or of the first."""
    return masters[name or next(iter(masters))]


def _topics(names: Names) -> list[str]:
    return [topic for broker in range(names.brokers) for topic in names.topics_on(broker)]


def _groups(names: Names) -> tuple[str, ...]:
    return (names.worker_group, *names.gateway_groups, names.fence_group)
