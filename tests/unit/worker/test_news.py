"""What a worker tells gateways beside replies."""

from __future__ import annotations

from litevoice_contracts.conversation import Mark
from litevoice_contracts.envelopes import MessageId
from litevoice_contracts.events import Progress
from litevoice_contracts.news import PartitionNews, SessionNews, WorkerNews
from litevoice_worker.commands import Tell
from litevoice_worker.news import GATEWAY_SECONDS, Load, News


def test_each_gateway_hears_of_its_own_sessions_only() -> None:
    news = News("w")
    news.arrived("g_1", 3, 0.1, 0)
    news.arrived("g_2", 3, 0.2, 0)
    news.settled("g_1", "s_1", Tell(Progress(Mark(1, 5)), 1, None))
    news.settled("g_1", "s_1", Tell(Progress(Mark(1, 9)), 2, MessageId(7, 3)))
    at_work = [("g_1", "s_1"), ("g_1", "s_2"), ("g_2", "s_3")]
    settled = SessionNews("s_1", Progress(Mark(1, 9)), attempt=2, after=MessageId(7, 3))
    assert dict(news.take(at_work, Load(), 1)) == {
        "g_1": WorkerNews("w", [PartitionNews(3, 0.1)], [settled, SessionNews("s_2")]),
        "g_2": WorkerNews("w", [PartitionNews(3, 0.2)], [SessionNews("s_3")]),
    }
    assert dict(news.take([], Load(), 2))["g_1"].sessions == [], "told once"


def test_a_gateway_that_is_gone_is_told_nothing_more() -> None:
    news = News("w")
    news.arrived("g_1", 3, 0.1, 0)
    assert news.take([("g_1", "s_1")], Load(), GATEWAY_SECONDS), "it waits for a session"
    assert news.take([], Load(), GATEWAY_SECONDS) == []
    news.settled("g_1", "s_1", Tell(Progress(Mark(1, 9)), 0, None))
    assert news.take([], Load(), GATEWAY_SECONDS) == []


def test_a_partition_that_was_handed_over_is_not_told_of() -> None:
    news = News("w")
    news.arrived("g_1", 3, 0.1, 0)
    news.arrived("g_1", 4, 0.1, 0)
    news.keep_partitions({4})
    assert dict(news.take([], Load(), 1))["g_1"].partitions == [PartitionNews(4, 0.1)]


def test_a_partition_that_another_worker_took_is_told_of_once_to_who_has_sent_something_for_it() -> None:
    news = News("w")
    news.arrived("g_1", 3, 0.1, 0)
    news.arrived("g_2", 4, 0.1, 0)
    news.lost(3)
    news.keep_partitions({4})
    told = dict(news.take([], Load(), 1))
    assert told == {"g_1": WorkerNews("w", lost=[3]), "g_2": WorkerNews("w", [PartitionNews(4, 0.1)])}
    assert "g_1" not in dict(news.take([], Load(), 2))


def test_a_full_worker_says_so_and_whom_it_has_refused() -> None:
    news = News("w")
    news.arrived("g_1", 3, 0.1, 0)
    news.refused("g_1", "s_9")
    told = dict(news.take([], Load(full=True, busy=0.5, unheard_seconds=2.0), 1))["g_1"]
    assert (told.full, told.busy, told.sessions) == (True, 0.5, [SessionNews("s_9", refused=True)])
    assert told.partitions == [PartitionNews(3, 2.1)], "what it has taken and not heard is behind, too"
    assert dict(news.take([], Load(), 2))["g_1"].sessions == []
