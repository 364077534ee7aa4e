"""The gateway's own LiteTopic: opened, kept, exchanged; and what its messages say."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_broker.errors import BrokerUnavailable
from litevoice_contracts.conversation import Mark
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import Progress
from litevoice_contracts.names import SESSION_ID, new_gateway_id
from litevoice_contracts.news import PartitionNews, SessionNews, WorkerNews
from litevoice_gateway.news import RECENT_SECONDS, RENEW_SECONDS, NewsTopic, Workers

NEWS = WorkerNews("w-1", [PartitionNews(3, 0.25)], [SessionNews("s_1", Progress(Mark(7, 41))), SessionNews("s_2")])


class Broker:
    """What a channel is subscribed to."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.away = False

    async def subscribe(self, names: Collection[str]) -> None:
        if self.away:
            raise BrokerUnavailable("away")
        self.names |= set(names)

    async def release(self, name: str) -> None:
        self.names.remove(name)


async def test_opened_once_and_tried_again_while_the_broker_is_away() -> None:
    broker = Broker()
    topic = NewsTopic(broker, lambda: new_gateway_id(8), 0)
    broker.away = True
    await topic.keep(1)
    broker.away = False
    for now in (2, 3):
        await topic.keep(now)
    assert broker.names == {topic.name}
    assert SESSION_ID.fullmatch(topic.name)
    assert not topic.name.startswith("s_"), "no session has this name"


async def test_a_quiet_one_is_exchanged_because_it_may_have_expired() -> None:
    broker = Broker()
    topic = NewsTopic(broker, lambda: new_gateway_id(8), 0)
    await topic.keep(0)
    first = topic.name
    topic.heard(200)
    await topic.keep(RENEW_SECONDS)
    assert topic.name == first
    await topic.keep(200 + RENEW_SECONDS)
    assert topic.name != first
    assert broker.names == {topic.name}


def test_news_are_read_and_what_cannot_be_read_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers()
    assert workers.take(NEWS.encode(), 1) == NEWS
    assert workers.take(b"nonsense", 1) is None
    assert workers.take(WorkerNews("w", v=9).encode(), 1) is None
    assert caplog.messages == ["news skipped"] * 2


def test_a_partition_that_another_worker_reads_is_noticed_once() -> None:
    workers = Workers()
    other = WorkerNews("w-2", [PartitionNews(3, 0), PartitionNews(4, 0)])
    assert [workers.new_readers(news) for news in (NEWS, NEWS, other, other, NEWS)] == [{3}, set(), {3, 4}, set(), {3}]


def test_what_a_worker_has_lost_is_asked_about_though_the_other_reader_is_known() -> None:
    """It has read beside that one until now, perhaps also what has asked."""
    workers = Workers()
    other = WorkerNews("w-2", [PartitionNews(3, 0)])
    told = [NEWS, other, WorkerNews("w-1", [PartitionNews(4, 0)], lost=[3]), other]
    assert [workers.new_readers(news) for news in told] == [{3}, {3}, {3, 4}, set()]


def test_the_workers_are_full_when_all_that_are_heard_of_say_so() -> None:
    workers = Workers()
    assert not workers.full(0)
    workers.take(WorkerNews("w-1", full=True).encode(), 1)
    assert workers.full(2)
    workers.take(WorkerNews("w-2").encode(), 3)
    assert not workers.full(4)
    workers.take(WorkerNews("w-1", full=True).encode(), 12)
    assert workers.full(3 + RECENT_SECONDS), "the other one has said nothing for long"


def test_the_lag_is_the_largest_that_was_told_of_lately() -> None:
    workers = Workers()
    workers.take(WorkerNews("w-1", [PartitionNews(0, 7.0), PartitionNews(1, 0.5)]).encode(), 0)
    assert workers.lag(1) == 7.0
    workers.take(WorkerNews("w-1", [PartitionNews(1, 0.25)]).encode(), 5)
    assert workers.lag(RECENT_SECONDS) == 0.25


def test_the_workers_are_as_busy_as_the_busiest_that_was_heard_of_lately() -> None:
    workers = Workers()
    assert workers.busy(0) == 0
    workers.take(WorkerNews("w-1", busy=0.9).encode(), 0)
    workers.take(WorkerNews("w-2", busy=0.5).encode(), 5)
    assert workers.busy(6) == 0.9
    workers.take(WorkerNews("w-1", busy=0.4).encode(), 7)
    assert workers.busy(8) == 0.5
    assert workers.busy(5 + RECENT_SECONDS) == 0.4


@given(st.binary(max_size=100))
def test_no_body_crashes_the_reader(body: bytes) -> None:
    try:
        WorkerNews.decode(body)
    except InvalidField:
        return
