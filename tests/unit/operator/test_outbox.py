"""Notifications leave in their order, whatever the API server does with one of them, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

import pytest

from litevoice_operator.adapters.cluster import ClusterError
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.reconcile import outbox as module
from litevoice_operator.reconcile.outbox import Outbox
from tests.waiting import until

ABOUT = {"namespace": "shop", "name": "replies", "uid": "u-1"}
OTHER = {**ABOUT, "name": "requests", "uid": "u-2"}
REFUSED, AWAY = ClusterError(403, "the namespace is being terminated"), ClusterError(0, "no route to host")


def event(number: int) -> EventText:
    return EventText("Warning", "Firing", str(number))


class Channel:
    """The API server's side: answers each attempt as told, takes everything after that."""

    def __init__(self) -> None:
        self.answers: list[ClusterError | asyncio.Event] = []
        self.taken: list[str] = []

    async def post(self, about: Mapping[str, str], text: EventText) -> None:
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, ClusterError):
                raise answer
            await answer.wait()
        assert about in (ABOUT, OTHER)
        self.taken.append(text.message)


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
async def outbox(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outbox[EventText]]:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    outbox = Outbox(channel.post, patience_seconds=0.05)
    yield outbox
    await outbox.close()


async def test_what_was_sent_has_left(channel: Channel, outbox: Outbox[EventText]) -> None:
    await outbox.send(ABOUT, event(1))
    assert channel.taken == ["1"]


async def test_the_same_is_not_sent_beside_itself(channel: Channel, outbox: Outbox[EventText]) -> None:
    hangs, once = asyncio.Event(), EventText("Warning", "Firing", "1", ("Firing warning", 1.0))
    channel.answers = [hangs]
    assert not await outbox.send(ABOUT, once)
    assert not await outbox.send(ABOUT, once)
    hangs.set()
    await until(lambda: channel.taken == ["1"])
    await until(lambda: not outbox.under_way(ABOUT))
    assert await outbox.send(ABOUT, once), "it has left meanwhile"
    assert channel.taken == ["1"]


async def test_nobody_waits_for_a_channel_that_hangs_and_the_order_holds(
    channel: Channel, outbox: Outbox[EventText]
) -> None:
    hangs = asyncio.Event()
    channel.answers = [hangs]
    async with asyncio.timeout(2):
        await outbox.send(ABOUT, event(1))
        await outbox.send(ABOUT, event(2))
    assert channel.taken == []
    hangs.set()
    await until(lambda: channel.taken == ["1", "2"])


async def test_one_object_does_not_wait_for_another(channel: Channel, outbox: Outbox[EventText]) -> None:
    channel.answers = [asyncio.Event()]
    await outbox.send(ABOUT, event(1))
    await outbox.send(OTHER, event(2))
    assert channel.taken == ["2"]


async def test_an_api_server_that_is_away_is_asked_again(channel: Channel, outbox: Outbox[EventText]) -> None:
    channel.answers = [AWAY, AWAY]
    await outbox.send(ABOUT, event(1))
    await until(lambda: channel.taken == ["1"])


async def test_what_is_refused_is_logged_and_stops_nothing(
    channel: Channel, outbox: Outbox[EventText], caplog: pytest.LogCaptureFixture
) -> None:
    channel.answers = [REFUSED]
    with caplog.at_level(logging.WARNING):
        await outbox.send(ABOUT, event(1))
        await outbox.send(ABOUT, event(2))
    assert channel.taken == ["2"]
    (record,) = caplog.records
    assert (record.__dict__["object"], record.__dict__["error"]) == ("shop/replies", str(REFUSED))


async def test_a_full_outbox_drops_the_oldest(
    channel: Channel, outbox: Outbox[EventText], caplog: pytest.LogCaptureFixture
) -> None:
    hangs = asyncio.Event()
    channel.answers = [hangs, hangs, hangs]
    await asyncio.gather(*(outbox.send(ABOUT, event(number)) for number in range(module.MAX_WAITING + 2)))
    hangs.set()
    await until(lambda: len(channel.taken) == module.MAX_WAITING)
    assert channel.taken == [str(number) for number in range(2, module.MAX_WAITING + 2)]
    assert [record.__dict__["error"] for record in caplog.records if record.name.endswith("outbox")] == [
        "the outbox is full"
    ] * 2
