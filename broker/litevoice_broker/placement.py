"""Which master gets a VoiceGateway's topics. Pure.

What belongs together stands together, on one master only, and is never made a second time elsewhere while its master is
away: a name server does not list what was on it, and what is made on another one then would split sessions.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence

from litevoice_broker.errors import BrokerUnavailable
from litevoice_contracts.names import Names


def place(
    names: Names,
    listed: Mapping[str, Collection[str]],
    masters: Sequence[str],
    new: Collection[str],
    known_partitions: int | None = None,
) -> dict[str, str]:
    """Topic → master, for the topics that are to be made.

    `listed`: masters of each topic. `new`: masters that do not have these names' groups yet, which are made after all
    topics: only there can a topic be missing without having been there before. But for the topics of partitions beyond
    `known_partitions` (None: all are known), which were never used: they are made beside what they belong to, and
    nowhere else, so not a second time either.

    Raises BrokerUnavailable when a missing topic must be on a master that is away.
    """
    known = names.partitions if known_partitions is None else known_partitions
    added = {names.partition_topic(partition) for partition in range(known, names.partitions)}
    missing = [topic for broker in range(names.brokers) for topic in names.topics_on(broker) if not listed[topic]]
    if missing and len(masters) < names.brokers:
        raise BrokerUnavailable(
            f"rocketmq.brokers: {names.brokers}, but the name server lists only {', '.join(masters)}; "
            f"topic {missing[0]} is on another one, or will be"
        )
    placed: dict[str, str] = {}
    turn = zlib.crc32(names.request_topic.encode())  # VoiceGateways with one broker each do not share the same one
    candidates = [master for master in masters if master in new]
    for broker in range(names.brokers):
        topics = names.topics_on(broker)
        absent = [topic for topic in topics if not listed[topic]]
        if not absent:
            continue
        homes = {master for topic in topics for master in listed[topic]}
        fitting = [master for master in candidates if master in homes or not homes]
        if not fitting and len(homes) == 1 and added.issuperset(absent):
            fitting = [master for master in masters if master in homes]
        if not fitting:
            raise BrokerUnavailable(
                f"topic {absent[0]} is not listed, its broker is away; if it was deleted, delete group "
                f"{names.worker_group} on {' or '.join(sorted(homes) or masters)} to have it made again"
            )
        placed |= dict.fromkeys(absent, fitting[(turn + broker) % len(fitting)])
    return placed
