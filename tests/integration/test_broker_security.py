"""TLS and AK/SK credentials against a proxy that demands them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from litevoice_broker.lite_channel import Delivery
from litevoice_broker.producer import Producer
from litevoice_dev.rocketmq import LocalRocketMQ, Part


async def test_tls_with_our_own_authority(kit: Any, test_certificate: tuple[Path, Path]) -> None:
    tls = {"tls": True, "ca_file": str(test_certificate[1])}
    seen: list[Delivery] = []
    channel = await kit.channel(seen.append, config=kit.config("owner", **tls))
    producer = await kit.producer(config=kit.config("producer", **tls))
    await channel.take_over("s-tls", 0)
    await producer.send_lite(kit.names.reply_topic, "s-tls", b"over TLS")
    await kit.until(lambda: [delivery.body for delivery in seen] == [b"over TLS"])


async def test_tls_refuses_an_unknown_authority(kit: Any) -> None:
    producer = Producer(kit.config("producer", tls=True), kit.names.partition_topics)
    kit.closed_later(producer)
    await producer.start()
    await kit.until(lambda: "cannot reach proxy" in producer.unready_reason)
    assert not producer.ready


@pytest.fixture(scope="module")
def guarded_proxy(rocketmq: LocalRocketMQ, credentials: dict[str, str]) -> Iterator[Part]:
    """A second proxy before the same broker, which lets only signed calls in."""
    proxy = rocketmq.add_proxy(
        settings={
            "authenticationEnabled": True,
            "authenticationProvider": "org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
            "authenticationMetadataProvider": "org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider",
            "innerClientAuthenticationCredentials": json.dumps(
                {"accessKey": credentials["access_key"], "secretKey": credentials["secret_key"]}
            ),
        }
    )
    try:
        proxy.start()
        yield proxy
    finally:
        rocketmq.proxy_parts.remove(proxy)
        proxy.kill()


async def test_signed_calls_are_let_in(kit: Any, guarded_proxy: Part, credentials: dict[str, str]) -> None:
    signed = {"endpoints": guarded_proxy.address, **credentials}
    seen: list[Delivery] = []
    channel = await kit.channel(seen.append, config=kit.config("owner", **signed))
    producer = await kit.producer(config=kit.config("producer", **signed))
    await channel.take_over("s-signed", 0)
    await producer.send_lite(kit.names.reply_topic, "s-signed", b"signed")
    await kit.until(lambda: [delivery.body for delivery in seen] == [b"signed"])


@pytest.mark.parametrize(
    "changes",
    [{"access_key": "", "secret_key": ""}, {"secret_key": "wrong"}, {"access_key": "nobody"}],
    ids=["none", "wrong secret", "unknown user"],
)
async def test_others_are_told_why_not(
    kit: Any, guarded_proxy: Part, credentials: dict[str, str], changes: dict[str, str]
) -> None:
    config = kit.config("producer", endpoints=guarded_proxy.address, **{**credentials, **changes})
    producer = Producer(config, kit.names.partition_topics)
    kit.closed_later(producer)
    await producer.start()
    await kit.until(lambda: "UNAUTHORIZED" in producer.unready_reason)
    assert not producer.ready
    assert credentials["secret_key"] not in producer.unready_reason
