"""Names: ids prove whose they are, and every broker name is legal before the broker sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import SESSION_ID, ClientId, Names, new_session_id, owns_session, partition_of

KEY = b"k" * 32


def test_a_session_id_is_its_makers_and_nobody_elses() -> None:
    session_id = new_session_id(KEY, "team-a")
    assert SESSION_ID.fullmatch(session_id)
    assert owns_session(KEY, "team-a", session_id)
    assert not owns_session(KEY, "team-b", session_id)
    assert not owns_session(b"x" * 32, "team-a", session_id)


@given(st.integers(0, 46), st.sampled_from("AZaz09_-"))
def test_a_changed_character_breaks_the_proof(at: int, character: str) -> None:
    session_id = new_session_id(KEY, "team-a")
    changed = session_id[:at] + character + session_id[at + 1 :]
    assert owns_session(KEY, "team-a", changed) == (changed == session_id)


@given(st.text(max_size=80))
def test_no_text_is_owned_by_accident(text: str) -> None:
    assert not owns_session(KEY, "team-a", text)


def test_session_ids_do_not_repeat() -> None:
    assert len({new_session_id(KEY, "p") for _ in range(2000)}) == 2000


def test_partitions_are_stable_and_spread() -> None:
    assert partition_of("s_fixed", 8) == 5  # a change here would move every live session: never change the hash
    counts = [0] * 8
    for _ in range(4000):
        counts[partition_of(new_session_id(KEY, "p"), 8)] += 1
    assert min(counts) > 350


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
    session_id = new_session_id(KEY, "p")
    homes = {topic: broker for broker in range(names.brokers) for topic in names.topics_on(broker)}
    assert homes[names.session_partition_topic(session_id)] == homes[names.reply_topic_of(session_id)]
    assert sorted(homes) == sorted([*names.partition_topics, *names.reply_topics, names.control_topic])
    assert sum(len(names.topics_on(broker)) for broker in range(names.brokers)) == len(homes)


def test_client_ids_survive_the_broker() -> None:
    client_id = ClientId.new("voice-gateway-abc", "10.244.1.7", "gateway")
    assert ClientId.parse(str(client_id)) == client_id
    assert ClientId.parse("host@1234@somebody") is None
