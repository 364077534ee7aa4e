"""Names: ids prove whose they are, and every broker name is legal before the broker sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import (
    MAX_PARTITIONS,
    SESSION_ID,
    ClientId,
    Names,
    _tag,
    is_gateway_id,
    new_gateway_id,
    new_session_id,
    owns_session,
    partition_of,
    partitions_of,
)
from tests.early_ids import early_gateway_id, early_session_id

KEY = b"k" * 32


@pytest.mark.parametrize("session_id", [
    new_session_id(KEY, "team-a", 1), new_session_id(KEY, "team-a", MAX_PARTITIONS), early_session_id(KEY, "team-a"),
], ids=["s1", "s100", "s"])  # fmt: skip
def test_a_session_id_is_its_makers_and_nobody_elses(session_id: str) -> None:
    assert SESSION_ID.fullmatch(session_id)
    assert owns_session(KEY, "team-a", session_id)
    assert not owns_session(KEY, "team-b", session_id)
    assert not owns_session(b"x" * 32, "team-a", session_id)


@given(st.integers(0, 46), st.sampled_from("AZaz09_-"), st.sampled_from((early_session_id, new_session_id)))
def test_a_changed_character_breaks_the_proof(at: int, character: str, new: Callable[[bytes, str, int], str]) -> None:
    session_id = new(KEY, "team-a", 16)
    changed = session_id[:at] + character + session_id[at + 1 :]
    assert owns_session(KEY, "team-a", changed) == (changed == session_id)


@given(st.text(max_size=80))
def test_no_text_is_owned_by_accident(text: str) -> None:
    assert not owns_session(KEY, "team-a", text)


def test_session_ids_do_not_repeat() -> None:
    assert len({new_session_id(KEY, "p", 8) for _ in range(2000)}) == 2000


def test_partitions_are_stable_and_spread() -> None:
    assert partition_of("s_fixed", 8) == 5  # a change here would move every live session: never change the hash
    counts = [0] * 8
    for _ in range(4000):
        counts[partition_of(new_session_id(KEY, "p", 8), 8)] += 1
    assert min(counts) > 350


def signed(number: str) -> str:
    """An id as whoever has the key could make it."""
    given = f"{number}_{'r' * 24}"
    return f"s{given}_{_tag(KEY, 'team-a', given)}"


@pytest.mark.parametrize(("number", "made_for"), [
    ("1", 1), ("9", 9), ("16", 16), ("99", 99), ("100", 100),
    *((wrong, None) for wrong in ("0", "-1", "101", "1000", "07", "1.", "x", " 8", "٣")),
])  # fmt: skip
def test_an_id_says_how_many_partitions_it_was_made_for(number: str, made_for: int | None) -> None:
    session_id = signed(number)
    assert owns_session(KEY, "team-a", session_id) == (made_for is not None)
    assert partitions_of(session_id, 4) == (made_for or 4)
    assert Names("x", "y", 4).covers(session_id) == ((made_for or 4) <= 4)


def test_the_number_is_part_of_the_proof() -> None:
    session_id = new_session_id(KEY, "team-a", 4)
    early = early_session_id(KEY, "team-a")
    for forged in (session_id.replace("s4_", "s8_"), session_id.replace("s4_", "s_"), early.replace("s_", "s4_", 1)):
        assert not owns_session(KEY, "team-a", forged)


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100))
def test_a_session_keeps_its_partition_and_its_broker_when_there_are_more(few: int, more: int, brokers: int) -> None:
    before = Names("x", "y", few, min(few, brokers))
    after = Names("x", "y", max(few, more), before.brokers)
    for name in (new_session_id(KEY, "p", few), new_gateway_id(few)):
        assert before.covers(name)
        assert after.covers(name)
        assert partition_of(name, after.partitions) == partition_of(name, few) < few
        assert after.session_partition_topic(name) == before.session_partition_topic(name)
        assert after.broker_of(name) == before.broker_of(name) < before.brokers


def test_an_id_without_a_number_goes_by_the_setting() -> None:
    early = early_session_id(KEY, "p")
    assert (partitions_of(early, 8), partitions_of(early, 16)) == (8, 16)


@pytest.mark.parametrize(("name", "is_gateway"), [
    (new_gateway_id(1), True), (new_gateway_id(100), True), (early_gateway_id(), True), ("g_1", True),
    (new_session_id(KEY, "p", 8), False), (early_session_id(KEY, "p"), False),
    ("g0_1", False), ("g101_1", False), ("g", False), ("", False),
], ids=["g1", "g100", "g", "no tag", "s8", "s", "none", "too many", "cut", "empty"])  # fmt: skip
def test_a_gateways_own_topic_is_no_sessions(name: str, *, is_gateway: bool) -> None:
    assert is_gateway_id(name) == is_gateway
    assert not (is_gateway and owns_session(KEY, "p", name))
    assert SESSION_ID.fullmatch(name) or not name


@pytest.mark.parametrize(
    ("description", "names", "field"),
    [
        ("defaults", Names.default("prod", "voice", 8), None),
        ("longest request topic", Names("r" * 112, "y", 1), None),
        ("request topic too long", Names("r" * 125, "y", 1), "rocketmq.requestTopic"),
        ("group of the request topic too long", Names("r" * 113, "y", 1), "rocketmq.requestTopic"),
        ("reply topic too long", Names("x", "r" * 112, 1), "rocketmq.replyTopic"),
        ("space in the topic", Names("a b", "y", 1), "rocketmq.requestTopic"),
        ("empty reply topic", Names("x", "", 1), "rocketmq.replyTopic"),
        ("no partition", Names("x", "y", 0), "rocketmq.partitions"),
        ("three-digit partitions", Names("x", "y", 101), "rocketmq.partitions"),
        ("a broker for each partition", Names("x", "y", 3, 3), None),
        ("a broker without a partition", Names("x", "y", 3, 4), "rocketmq.brokers"),
        ("no broker", Names("x", "y", 3, 0), "rocketmq.brokers"),
        ("longest reply topic", Names("x", "r" * 111, 2), None),
        ("no room for the second one's number", Names("x", "r" * 109, 2, 2), "rocketmq.replyTopic"),
        ("a reply topic that would be a partition", Names("x", "x", 2, 2), "rocketmq.replyTopic"),
    ],
)
def test_validate_names_the_field(description: str, names: Names, field: str | None) -> None:
    if field is None:
        names.validate()
        return
    with pytest.raises(InvalidField) as caught:
        names.validate()
    assert caught.value.field == field, description


def test_derived_names_are_distinct() -> None:
    names = Names.default("ns", "gw", 3, 2)
    every = [*names.partition_topics, *names.reply_topics, names.control_topic]
    groups = [*names.gateway_groups, names.worker_group, names.fence_group, *names.owner_groups]
    assert len({*every, *groups}) == len(every) + len(groups)
    assert names.partition_topics == ("lv-ns_gw-requests-00", "lv-ns_gw-requests-01", "lv-ns_gw-requests-02")


@pytest.mark.parametrize(("one", "other"), [
    (("voice", "prod-eu"), ("voice-prod", "eu")), (("a", "b-c"), ("a-b", "c")), (("a-b", "a"), ("a", "b-a")),
])  # fmt: skip
def test_no_two_voice_gateways_have_the_same_names(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = Names.default(*one, 2), Names.default(*other, 2)
    assert not {*first.partition_topics, first.reply_topic} & {*second.partition_topics, second.reply_topic}


def test_one_broker_has_the_names_that_it_always_had() -> None:
    names = Names("x", "y", 8)
    assert (names.reply_topics, names.gateway_groups) == (("y",), ("y-gateways",))
    assert set(names.topics_on(0)) == {*names.partition_topics, "y", "x-control"}


@given(st.integers(1, 100), st.data())
def test_a_session_lives_on_one_broker_entirely(partitions: int, data: st.DataObject) -> None:
    names = Names("x", "y", partitions, data.draw(st.integers(1, partitions)))
    session_id = new_session_id(KEY, "p", partitions)
    homes = {topic: broker for broker in range(names.brokers) for topic in names.topics_on(broker)}
    assert homes[names.session_partition_topic(session_id)] == homes[names.reply_topic_of(session_id)]
    assert sorted(homes) == sorted([*names.partition_topics, *names.reply_topics, names.control_topic])
    assert sum(len(names.topics_on(broker)) for broker in range(names.brokers)) == len(homes)


def test_client_ids_survive_the_broker() -> None:
    client_id = ClientId.new("voice-gateway-abc", "10.244.1.7", "gateway")
    assert ClientId.parse(str(client_id)) == client_id
    assert ClientId.parse("host@1234@somebody") is None
