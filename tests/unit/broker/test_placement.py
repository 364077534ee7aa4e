"""Where topics are made: what belongs together on one master, and nothing twice."""

from __future__ import annotations

import pytest

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.placement import place
from litevoice_contracts.names import Names

NAMES = Names("x", "y", 4, 2)
TOPICS = [*NAMES.partition_topics, *NAMES.reply_topics, NAMES.control_topic]
FIRST, SECOND = NAMES.topics_on(0), NAMES.topics_on(1)


def listed(*, on_a: tuple[str, ...] = (), on_b: tuple[str, ...] = ()) -> dict[str, list[str]]:
    return {topic: ["a"] * (topic in on_a) + ["b"] * (topic in on_b) for topic in TOPICS}


def test_each_broker_gets_its_share() -> None:
    placed = place(NAMES, listed(), ["a", "b"], {"a", "b"})
    assert sorted(placed) == sorted(TOPICS)
    homes = [{placed[topic] for topic in topics} for topics in (FIRST, SECOND)]
    assert homes in ([{"a"}, {"b"}], [{"b"}, {"a"}])
    assert place(NAMES, listed(), ["a", "b"], {"a", "b"}) == placed, "the same in every operator"


def test_voice_gateways_with_one_broker_each_do_not_share_the_same_one() -> None:
    used = set()
    for number in range(20):
        names = Names(f"x{number}", "y", 4)
        (home,) = set(place(names, dict.fromkeys(names.topics_on(0), ()), ["a", "b"], {"a", "b"}).values())
        used.add(home)
    assert used == {"a", "b"}


def test_what_was_interrupted_goes_on_where_it_began() -> None:
    placed = place(NAMES, listed(on_b=FIRST[:2], on_a=SECOND[:1]), ["a", "b"], {"a", "b"})
    assert placed == {**dict.fromkeys(FIRST[2:], "b"), **dict.fromkeys(SECOND[1:], "a")}


def test_a_broker_that_came_back_empty_gets_its_topics_again() -> None:
    assert place(NAMES, listed(on_a=FIRST), ["a", "b"], {"b"}) == dict.fromkeys(SECOND, "b")


def test_nothing_is_made_when_nothing_is_missing() -> None:
    assert place(NAMES, listed(on_a=FIRST, on_b=SECOND), ["a"], set()) == {}
    everywhere = {topic: ["a", "b"] for topic in Names("x", "y", 4).topics_on(0)}  # made before there were `brokers`
    assert place(Names("x", "y", 4), everywhere, ["a", "b"], set()) == {}


MORE = Names("x", "y", 7, 2)


def of_more(present: dict[str, list[str]]) -> dict[str, list[str]]:
    return {**{topic: list[str]() for topic in MORE.partition_topics}, **present}


def test_more_partitions_come_to_where_the_others_of_their_broker_are() -> None:
    present = of_more(listed(on_b=FIRST, on_a=SECOND))
    assert place(MORE, present, ["a", "b", "c"], {"c"}, 4) == {"x-04": "b", "x-05": "a", "x-06": "b"}
    present["x-04"] = ["b"]
    assert place(MORE, present, ["a", "b", "c"], set(), 4) == {"x-05": "a", "x-06": "b"}


@pytest.mark.parametrize(("description", "present", "masters", "known", "says"), [
    ("nobody says that they are new", listed(on_b=FIRST, on_a=SECOND), ["a", "b"], None, "x-04 is not listed"),
    ("one that was known is missing, too", listed(on_b=FIRST[1:], on_a=SECOND), ["a", "b"], 4, "x-00 is not listed"),
    ("their broker is away", listed(on_b=FIRST), ["b", "c"], 4, "x-01 is not listed"),
    ("too few are there", listed(on_b=FIRST), ["b"], 4, "rocketmq.brokers: 2"),
    ("the others are everywhere", listed(on_b=FIRST, on_a=tuple(TOPICS)), ["a", "b"], 4, "x-04 is not"),
])  # fmt: skip
def test_more_partitions_are_not_made_twice(
    description: str, present: dict[str, list[str]], masters: list[str], known: int | None, says: str
) -> None:
    with pytest.raises(BrokerUnavailable, match=says):
        print(description, place(MORE, of_more(present), masters, set(), known))


@pytest.mark.parametrize(
    ("description", "names", "present", "masters", "new", "says"),
    [
        ("fewer brokers than asked for", NAMES, listed(), ["a"], {"a"}, "rocketmq.brokers: 2, but .* only a;"),
        ("one of two is away", NAMES, listed(on_a=FIRST), ["a"], set(), "rocketmq.brokers: 2, but .* only a;"),
        (
            "one of three is away",
            NAMES,
            listed(on_a=FIRST),
            ["a", "c"],
            set(),
            "x-01 is not listed, its broker is away",
        ),
        ("the only one of two is away", Names("x", "y", 4), listed(), ["b"], set(), "x-00 is not listed"),
        ("deleted by hand", NAMES, listed(on_a=FIRST, on_b=SECOND[1:]), ["a", "b"], set(), "group x-workers on b to"),
    ],
)
def test_a_topic_is_never_made_twice(
    description: str, names: Names, present: dict[str, list[str]], masters: list[str], new: set[str], says: str
) -> None:
    with pytest.raises(BrokerUnavailable, match=says):
        print(description, place(names, present, masters, new))
