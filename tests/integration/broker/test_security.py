"""TLS, where it is offered beside plain text; test_broker_guarded.py has what demands it, and credentials."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.channel import Delivery
from litevoice_broker.producer import Producer
from litevoice_contracts.names import Names
from tests.integration.sending import send_lite
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import until


async def test_tls_with_our_own_authority(kit: Any, rocketmq: SharedRocketMQ) -> None:
    tls = {"tls": True, "ca_file": rocketmq.certificate}
    seen: list[Delivery] = []
    channel = await kit.channel(seen.append, config=kit.config("owner", **tls))
    producer = await kit.producer(config=kit.config("producer", **tls))
    await channel.take_over("s-tls", 0)
    await send_lite(producer, kit.names.reply_topic, "s-tls", b"over TLS")
    await until(lambda: [delivery.body for delivery in seen] == [b"over TLS"])


async def test_tls_refuses_an_unknown_authority(kit: Any) -> None:
    producer = Producer(kit.config("producer", tls=True), kit.names.partition_topics)
    kit.closed_later(producer)
    await producer.start()
    await until(lambda: "endpoints: cannot reach proxy" in producer.unready_reason)
    assert not producer.ready


async def test_admin_over_tls(rocketmq: SharedRocketMQ, names: Names) -> None:
    """Name server and broker speak plain text and TLS on the same port."""
    admin = Admin(rocketmq.name_server, access=AdminAccess(tls=True, ca_file=rocketmq.certificate))
    assert await admin.names_exist(names) == []
    assert [lag.lag for lag in await admin.partition_lag(names)] == [0, 0]
    await admin.close()


async def test_admin_refuses_an_unknown_authority(rocketmq: SharedRocketMQ) -> None:
    admin = Admin(rocketmq.name_server, access=AdminAccess(tls=True))
    with pytest.raises(BrokerError, match=r"admin_tls: the certificate of .* does not match ca_file"):
        await admin.cluster.masters()


async def test_admin_refuses_a_certificate_of_another_address(rocketmq: SharedRocketMQ) -> None:
    elsewhere = f"localhost:{rocketmq.name_server_port}"
    admin = Admin(elsewhere, access=AdminAccess(tls=True, ca_file=rocketmq.certificate))
    with pytest.raises(BrokerError, match=r"the certificate of localhost:\d+ does not match .*Hostname mismatch"):
        await admin.cluster.masters()
