"""One measurement: what broker and gateways say → value and culprits."""

from __future__ import annotations

from litevoice_contracts.control import SessionInfo
from litevoice_contracts.names import partition_of
from litevoice_operator.observe.backlogs import Waiting, located, reply_sample, request_sample


def session(name: str, pending: int, oldest: float, client: str = "10.0.0.9:4000") -> SessionInfo:
    return SessionInfo(
        session_id=name, client=client, principal="demo", age_seconds=60.0, turn=1, responding=False,
        pending_requests=pending, oldest_request_seconds=oldest, reading=True, next_position=4,
    )  # fmt: skip


def test_replies() -> None:
    largest = [Waiting("s_a", 90, 12.9), Waiting("s_b", 10, None), Waiting("s_c", 0, None)]
    oldest = [Waiting("s_gone", 1, 9999.0), Waiting("s_b", 10, 33.3)]
    sample = reply_sample(100, largest, oldest, {"s_a", "s_b", "s_c"}, set())
    assert (sample.value.messages, sample.value.age_seconds) == (100, 33)
    assert [(c.session, c.backlog, c.age_seconds) for c in sample.culprits] == [("s_a", 90, 12), ("s_b", 10, 33)]


def test_nothing_waits_whatever_old_entries_say() -> None:
    sample = reply_sample(0, [], [Waiting("s_gone", 3, 500.0)], {"s_gone"}, set())
    assert (sample.value.messages, sample.value.age_seconds, sample.culprits) == (0, 0, ())


def test_what_waits_for_a_client_that_has_left_is_no_backlog() -> None:
    largest = [Waiting("s_left", 90, 500.0), Waiting("s_slow", 10, 7.0)]
    sample = reply_sample(100, largest, [Waiting("s_left", 90, 500.0)], {"s_left", "s_slow"}, {"s_left"})
    assert (sample.value.messages, sample.value.age_seconds) == (10, 7)
    assert [culprit.session for culprit in sample.culprits] == ["s_slow"]


def test_what_waits_for_a_gateway_is_no_session_s_backlog() -> None:
    largest = [Waiting("g_gone", 30, 600.0), Waiting("s_slow", 10, 7.0)]
    sample = reply_sample(40, largest, [Waiting("g_gone", 30, 600.0)], {"g_gone", "s_slow"}, set())
    assert (sample.value.messages, sample.value.age_seconds) == (10, 7)
    assert [culprit.session for culprit in sample.culprits] == ["s_slow"]


def test_requests_are_told_by_session() -> None:
    partitions = [Waiting(f"X-{number:02d}", 0, None) for number in range(8)]
    partitions[partition_of("s_many", 8)] = Waiting("X-many", 40, 7.5)
    partitions[partition_of("s_few", 8)] = Waiting("X-few", 2, 1.0)
    sessions = {
        "g-1": [session("s_few", 2, 1.0), session("s_none", 0, 0.0)],
        "g-2": [session("s_many", 40, 7.5, "10.9.9.9:1")],
    }
    sample = request_sample(partitions, sessions, 20)
    assert (sample.value.messages, sample.value.age_seconds) == (42, 7)
    assert [(c.session, c.pod, c.client, c.backlog) for c in sample.culprits] == [
        ("s_many", "g-2", "10.9.9.9:1", 40),
        ("s_few", "g-1", "10.0.0.9:4000", 2),
    ]
    assert sample.culprits[0].partition == partition_of("s_many", 8)


def test_what_gateways_keep_of_an_utterance_that_is_being_heard_is_no_backlog() -> None:
    partitions = [Waiting(f"X-{number:02d}", 0, None) for number in range(8)]
    number = partition_of("s_waits", 8)
    heard = next(name for name in map("s_{}".format, range(100)) if partition_of(name, 8) != number)
    partitions[number] = Waiting(f"X-{number:02d}", 5, 2.0)
    listed = [session(heard, 300, 30.0), session("s_waits", 80, 8.0)]
    sample = request_sample(partitions, {"g-1": listed}, 20)
    assert [(c.session, c.backlog) for c in sample.culprits] == [("s_waits", 5)]


def test_requests_without_a_gateway_are_told_by_partition() -> None:
    partitions = [Waiting("X-00", 5, 2.0), Waiting("X-01", 0, None), Waiting("X-02", 9, 1.0)]
    sample = request_sample(partitions, {"g-1": []}, 20)
    assert [(c.session, c.partition, c.backlog) for c in sample.culprits] == [("", 2, 9), ("", 0, 5)]


def test_the_list_is_bounded() -> None:
    many = [session(f"s_{number}", number + 1, 0.0) for number in range(50)]
    sample = request_sample([Waiting("X-00", 100, 1.0)], {"g": many}, 3)
    assert [c.backlog for c in sample.culprits] == [50, 49, 48]


def test_located() -> None:
    culprit = reply_sample(1, [Waiting("s_a", 1, 1.0)], [], {"s_a"}, set()).culprits[0]
    found = located(culprit, "g-1", "node-1", "1.2.3.4:5")
    assert (found.session, found.pod, found.node, found.client) == ("s_a", "g-1", "node-1", "1.2.3.4:5")
