"""Name server and proxy at an IPv6 address: the admin protocol, both ways of sending and both consumers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.lite.channel import Delivery
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_contracts.addresses import join_address
from litevoice_dev.ports import free_port
from tests.integration.gateway.process import Wire
from tests.integration.sending import send_fifo, send_lite
from tests.waiting import until

LOOPBACK = "::1"
INTERFACES = Path("/proc/net/if_inet6")


@pytest.mark.skipif(
    not INTERFACES.exists() or f"{1:032x} " not in INTERFACES.read_text(), reason="this machine has no ::1"
)
async def test_everything_works_over_ipv6(kit: Any) -> None:
    proxy, name_server = free_port(), free_port()
    async with Wire(kit.endpoints, proxy, LOOPBACK), Wire(kit.name_server, name_server, LOOPBACK):
        kit.admin = Admin(join_address(LOOPBACK, name_server))
        assert await kit.admin.names_exist(kit.names) == []
        config = kit.config(endpoints=join_address(LOOPBACK, proxy))
        replies: list[Delivery] = []
        requests: list[PartitionMessage] = []

        async def take(messages: Sequence[PartitionMessage]) -> None:
            requests.extend(messages)

        channel = await kit.channel(replies.append, config=config)
        topic = kit.names.partition_topic(0)
        consumer = kit.closed_later(PartitionConsumer(config, topic, kit.names.worker_group, handler=take))
        await consumer.start()
        await channel.take_over("s-six", 0)
        producer = await kit.producer(config=config)
        await send_lite(producer, kit.names.reply_topic, "s-six", b"down")
        await send_fifo(producer, topic, "s-six", {}, b"up")
        await until(lambda: [reply.body for reply in replies] == [b"down"], lambda: replies)
        await until(lambda: [request.body for request in requests] == [b"up"], lambda: requests)
        await kit.close()  # while there is still a way to say goodbye
