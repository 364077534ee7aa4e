"""Which clients got no session, and why."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_contracts.news import SessionNews, WorkerNews
from litevoice_contracts.settings import BrokerSettings, GatewaySettings
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from litevoice_gateway.refusals import KEPT_SECONDS, MAX_KEPT, Refusals
from litevoice_gateway.settings import Keys
from tests.unit.gateway.test_connections import Wire
from tests.waiting import until

FOREVER = float("inf")


def test_they_are_found_by_address_and_principal_the_latest_first() -> None:
    refusals = Refusals()
    refusals.add("10.1.0.9:1", "alice", "", "full", "sessions", 0.0)
    refusals.add("10.1.0.9:2", "bob", "s_2", "broker-quota", "2000", 5.0)
    found = refusals.of("10.1.0.9", "", FOREVER, 6.0)
    assert [(one.client, one.session_id, one.seconds) for one in found] == [
        ("10.1.0.9:2", "s_2", 1.0),
        ("10.1.0.9:1", "", 6.0),
    ]
    assert [one.principal for one in refusals.of("10.1.0.9:1", "", FOREVER, 6.0)] == ["alice"]
    assert [one.principal for one in refusals.of("", "bob", FOREVER, 6.0)] == ["bob"]
    assert refusals.of("10.1.0", "", FOREVER, 6.0) == []
    assert [one.principal for one in refusals.of("", "", 2.0, 6.0)] == ["bob"], "younger than two seconds"


def test_they_are_forgotten() -> None:
    refusals = Refusals()
    for number in range(MAX_KEPT + 10):
        refusals.add("10.1.0.9:1", str(number), "", "full", "sessions", 0.0)
    assert len(refusals.of("", "", FOREVER, KEPT_SECONDS)) == MAX_KEPT
    assert refusals.of("", "", FOREVER, KEPT_SECONDS + 1) == []


def gateway() -> Hub:
    broker = BrokerSettings(
        endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down", partitions=1
    )
    settings = GatewaySettings(broker=broker, api_keys_dir="/", keys_dir="/")
    return Hub(settings, Keys(b"k" * 32, b"t" * 16), Metrics(), "gateway-0", "10.0.0.1")


def raising(error: Exception) -> Callable[[Any], Awaitable[None]]:
    async def subscribe(_: Any) -> None:
        raise error

    return subscribe


QUOTA = BrokerError("SyncLiteSubscription: LITE_SUBSCRIPTION_QUOTA_EXCEEDED: 2000", code=40011)


@pytest.mark.parametrize(
    ("error", "cause", "says"),
    [
        (QUOTA, "broker-quota", f"the message broker: {QUOTA}"),
        (BrokerError("no such group"), "broker-refused", "the message broker: no such group"),
        (BrokerUnavailable("restarting"), "broker-silent", "the message broker: restarting"),
        (TimeoutError(), "broker-silent", "the message broker does not answer"),
    ],
)
async def test_a_session_that_the_broker_does_not_take(
    error: Exception, cause: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, wire = gateway(), Wire()
    connection = hub.accept(OpenAIRealtime(lambda: "item"), "alice", wire, "10.1.0.9:4711")
    monkeypatch.setattr(hub._homes.of(connection.session.id).channel, "subscribe", raising(error))
    await until(lambda: wire.closes)
    (found,) = hub.refusals.of("10.1.0.9", "", FOREVER, time.monotonic())
    assert (found.cause, found.says, found.session_id) == (cause, says, connection.session.id)
    assert wire.closes == [1013]


async def test_a_session_that_the_workers_have_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, wire = gateway(), Wire()
    connection = hub.accept(OpenAIRealtime(lambda: "item"), "alice", wire, "10.1.0.9:4711")
    hub._take_news(WorkerNews("worker-0@1", sessions=[SessionNews(connection.session.id, refused=True)]).encode())
    (found,) = hub.refusals.of("", "alice", FOREVER, time.monotonic())
    assert (found.cause, found.says) == ("full", "the workers have as many sessions as they may")
    assert wire.closes == [1013]


async def test_a_session_whose_replies_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, wire = gateway(), Wire()
    connection = hub.accept(OpenAIRealtime(lambda: "item"), "alice", wire, "10.1.0.9:4711")
    hub._failed(connection.session.id)
    hub._failed("of nobody")
    (found,) = hub.refusals.of("", "alice", FOREVER, time.monotonic())
    assert (found.cause, wire.closes) == ("broker-refused", [1013])
