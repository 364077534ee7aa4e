"""One measurement: what broker and gateways say → value and culprits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs

from litevoice_broker.config import AdminAccess
from litevoice_broker.lag import LiteLag, LiteTopicLag
from litevoice_contracts.control import SessionInfo
from litevoice_contracts.names import Names, partition_of
from litevoice_operator.adapters import broker as broker_module
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.observe.backlogs import (
    Waiting,
    in_question,
    renewed,
    reply_sample,
    request_sample,
    turn_sample,
)


def session(
    name: str, pending: int, oldest: float, client: str = "10.0.0.9:4000", stalled: float = 0.0, reading: bool = True
) -> SessionInfo:
    return SessionInfo(
        session_id=name, client=client, principal="demo", age_seconds=60.0, turn=1, responding=False,
        pending_requests=pending, oldest_request_seconds=oldest, reading=reading, next_position=4,
        stalled_seconds=stalled,
    )  # fmt: skip


def test_replies() -> None:
    sample = reply_sample(100, [Waiting("s_a", 90, 12.9), Waiting("s_b", 10, 33.3), Waiting("s_c", 0, None)])
    assert (sample.value.messages, sample.value.age_seconds, sample.value.sessions) == (100, 33, 2)
    assert [(load.session, load.backlog, load.age_seconds) for load in sample.loads] == [
        ("s_a", 90, 12),
        ("s_b", 10, 33),
    ]


def test_the_oldest_counts_however_small_and_however_many_are_larger() -> None:
    waiting = [*(Waiting(f"s_{number}", 2, 1.0) for number in range(2000)), Waiting("s_oldest", 1, 600.0)]
    sample = reply_sample(4001, waiting)
    assert (sample.value.age_seconds, sample.value.sessions) == (600, 2001)


async def test_with_several_brokers_no_more_is_cut_than_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lite_lag(group: str, top: int, *, parent: str) -> LiteLag:
        assert parent.startswith("down")
        listed = [LiteTopicLag(f"s_{group}_{number}", 5, 1.0) for number in range(9)]
        listed.append(LiteTopicLag(f"s_{group}_oldest", 1, 600.0))
        return LiteLag(46, listed[:top], [])

    monkeypatch.setattr(broker_module, "LARGEST", 10)
    broker = Broker(Installed("x:1", AdminAccess()))
    broker._admin = cast(Any, SimpleNamespace(lite_lag=lite_lag))
    sample = reply_sample(*await broker.replies(Names("up", "down", 2, 2)))
    assert (sample.value.messages, sample.value.age_seconds, sample.value.sessions) == (92, 600, 20)


def test_a_session_on_two_brokers_is_one() -> None:
    sample = reply_sample(12, [Waiting("s_a", 7, 3.0), Waiting("s_a", 5, 9.0)])
    assert [(load.session, load.backlog, load.age_seconds) for load in sample.loads] == [("s_a", 12, 9)]


def test_what_was_looked_at_again_counts_as_it_is_now_and_the_rest_as_it_was() -> None:
    before = reply_sample(110, [Waiting("s_a", 90, 12.0), Waiting("s_b", 10, 33.0), Waiting("s_c", 5, 2.0)])
    now = renewed(before, [Waiting("s_a", 0, None), Waiting("s_c", 8, 7.5), Waiting("s_new", 40, 1.0)])
    assert [(load.session, load.backlog, load.age_seconds) for load in now.loads] == [
        ("s_new", 40, 1),
        ("s_b", 10, 33),
        ("s_c", 8, 7),
    ]
    assert (now.value.messages, now.value.age_seconds) == (110 - 90 + 3 + 40, 33)
    assert renewed(before, []) == before


def test_the_worst_and_those_who_do_not_read_are_looked_at_again() -> None:
    sample = reply_sample(18, [Waiting("s_a", 9, 1.0), Waiting("s_b", 8, 2.0), Waiting("s_old", 1, 600.0)])
    assert in_question(sample, ["s_slow", "s_a"], 1) == ["s_slow", "s_a", "s_old"]


def test_nothing_waits() -> None:
    sample = reply_sample(0, [Waiting("s_a", 0, None)])
    assert (sample.value.messages, sample.value.age_seconds, sample.loads) == (0, 0, ())


def test_what_waits_for_a_gateway_is_no_session_s_backlog() -> None:
    sample = reply_sample(40, [Waiting("g_gone", 30, 600.0), Waiting("s_slow", 10, 7.0)])
    assert (sample.value.messages, sample.value.age_seconds) == (10, 7)
    assert [load.session for load in sample.loads] == ["s_slow"]


def test_turns_without_progress() -> None:
    listed = {
        "g-1": [session("s_slow", 40, 3.0, stalled=3.2), session("s_fine", 90, 60.0, stalled=0.4)],
        "g-2": [session("s_stuck", 1, 61.0, "10.9.9.9:1", stalled=61.0)],
    }
    sample = turn_sample(8, listed)
    assert (sample.value.age_seconds, sample.value.sessions, sample.unseen) == (61, 2, "")
    assert [(load.session, load.pod, load.client, load.age_seconds) for load in sample.loads] == [
        ("s_stuck", "g-2", "10.9.9.9:1", 61),
        ("s_slow", "g-1", "10.0.0.9:4000", 3),
    ]


def test_a_session_that_two_gateways_list_is_the_one_with_the_newer_connection() -> None:
    old = structs.replace(session("s_1", 4, 90.0), age_seconds=600.0, stalled_seconds=90.0)
    new = structs.replace(session("s_1", 1, 3.0), age_seconds=5.0, stalled_seconds=3.0)
    (stalled,) = turn_sample(1, {"new": [new], "old": [old]}).loads
    (waits,) = request_sample([Waiting("X-00", 9, 3.0)], {"old": [old], "new": [new]}).loads
    assert [(load.pod, load.age_seconds) for load in (stalled, waits)] == [("new", 3), ("new", 3)]


def test_pods_that_do_not_answer_are_named() -> None:
    assert turn_sample(8, {}, ["g-1"]).unseen == "gateway pods do not answer: g-1"
    assert turn_sample(8, {}, [f"g-{n}" for n in range(7)]).unseen.endswith("g-3, g-4, …")


def test_requests_are_told_by_session() -> None:
    partitions = [Waiting(f"X-{number:02d}", 0, None) for number in range(8)]
    partitions[partition_of("s_many", 8)] = Waiting("X-many", 40, 7.5)
    partitions[partition_of("s_few", 8)] = Waiting("X-few", 2, 1.0)
    sessions = {
        "g-1": [session("s_few", 2, 1.0), session("s_none", 0, 0.0)],
        "g-2": [session("s_many", 40, 7.5, "10.9.9.9:1")],
    }
    sample = request_sample(partitions, sessions)
    assert (sample.value.messages, sample.value.age_seconds) == (42, 7)
    assert [(load.session, load.pod, load.client, load.backlog) for load in sample.loads] == [
        ("s_many", "g-2", "10.9.9.9:1", 40),
        ("s_few", "g-1", "10.0.0.9:4000", 2),
    ]
    assert sample.loads[0].partition == partition_of("s_many", 8)


def test_a_session_counts_in_the_partition_that_it_was_made_for() -> None:
    partitions = [Waiting(f"X-{number:02d}", 1, 1.0) for number in range(8)]
    of_two, of_more = "s2_before", next(name for n in range(100) if partition_of(name := f"s99_{n}", 8) >= 8)
    sample = request_sample(partitions, {"g-1": [session(of_two, 1, 1.0), session(of_more, 1, 1.0)]})
    assert [(load.session, load.partition) for load in sample.loads] == [(of_two, partition_of(of_two, 2))]


def test_what_a_gateway_has_not_read_of_its_own_topic_is_no_sessions() -> None:
    waiting = [Waiting("s16_a", 3, 1.0), Waiting("g16_b", 4, 2.0), Waiting("g_c", 5, 3.0)]
    sample = reply_sample(12, waiting)
    assert ([load.session for load in sample.loads], sample.value.messages) == (["s16_a"], 3)


def test_what_gateways_keep_of_an_utterance_that_is_being_heard_is_no_backlog() -> None:
    partitions = [Waiting(f"X-{number:02d}", 0, None) for number in range(8)]
    number = partition_of("s_waits", 8)
    heard = next(name for name in map("s_{}".format, range(100)) if partition_of(name, 8) != number)
    partitions[number] = Waiting(f"X-{number:02d}", 5, 2.0)
    listed = [session(heard, 300, 30.0), session("s_waits", 80, 8.0)]
    sample = request_sample(partitions, {"g-1": listed})
    assert [(load.session, load.backlog) for load in sample.loads] == [("s_waits", 5)]


def test_requests_without_a_gateway_are_told_by_partition() -> None:
    partitions = [Waiting("X-00", 5, 2.0), Waiting("X-01", 0, None), Waiting("X-02", 9, 1.0)]
    sample = request_sample(partitions, {"g-1": []})
    assert [(load.session, load.partition, load.backlog) for load in sample.loads] == [("", 2, 9), ("", 0, 5)]


def test_who_holds_it() -> None:
    (load,) = reply_sample(1, [Waiting("s_a", 1, 1.0)]).loads
    found = load.held_by("Held", "g-1", "1.2.3.4:5").culprit
    assert (found.session, found.pod, found.client, found.owner) == ("s_a", "g-1", "1.2.3.4:5", "Held")
    assert load.culprit.owner is None
