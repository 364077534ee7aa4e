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
    names = Names.default("ns", "gw", 3)
    every = [*names.partition_topics, names.reply_topic, names.control_topic]
    groups = [names.gateway_group, names.worker_group, names.fence_group]
    assert len({*every, *groups}) == len(every) + len(groups)
    assert names.partition_topics == ("lv-ns-gw-requests-00", "lv-ns-gw-requests-01", "lv-ns-gw-requests-02")


def test_client_ids_survive_the_broker() -> None:
    client_id = ClientId.new("voice-gateway-abc", "10.244.1.7", "gateway")
    assert ClientId.parse(str(client_id)) == client_id
    assert ClientId.parse("host@1234@somebody") is None
