"""The model broker has RocketMQ's traps. Each test names where the real one shows it."""

from __future__ import annotations

from random import Random

import pytest

from litevoice_broker.lite.receiver import HAND_BACK_SECONDS, INVISIBLE_SECONDS
from tests.unit.broker.model_broker import Clock, ModelBroker

N = "s-1"


class Broker(ModelBroker):
    """Five messages wait in `N`; clients are `a` and `b`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.notices: list[str] = []
        super().__init__(
            self.clock,
            Random(1),
            on_notice=lambda client, name: self.notices.append(client),
            on_wake=lambda client: None,
        )
        for _ in range(5):
            self.send(N)

    def positions(self, client: str) -> list[int]:
        return [message.position for message in self.poll(client)]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_one_call_at_the_committed_position_stays_blocked(broker: Broker) -> None:
    """test_trap_one_call_at_the_committed_position_stays_blocked"""
    broker.subscribe("a", [N], 2)
    assert broker.positions("a") == [2, 3, 4]
    broker.subscribe("b", [N], 2)
    assert broker.positions("b") == []
    broker.subscribe("b", [N], 1)
    broker.subscribe("b", [N], 2)
    assert broker.positions("b") == [2, 3, 4]


def test_every_subscriber_is_told_the_caller_included(broker: Broker) -> None:
    """test_trap_repeated_subscription_is_no_eviction"""
    broker.subscribe("a", [N], 0)
    broker.subscribe("b", [N], 0)
    broker.subscribe("b", [N], 1)
    assert broker.notices == ["a", "b"]
    assert broker.subscribers(N) == ["b"]


def test_a_full_sync_puts_a_loser_back_and_tells_nobody(broker: Broker) -> None:
    """test_a_loser_that_its_full_sync_has_put_back_leaves_at_once"""
    broker.subscribe("a", [N], 0)
    broker.subscribe("b", [N], 0)
    broker.notices.clear()
    broker.replace("a", [N])
    assert (broker.subscribers(N), broker.notices) == (["b", "a"], [])
    broker.replace("a", [])
    assert broker.subscribers(N) == ["b"]


def test_the_next_batch_comes_when_the_last_one_is_acknowledged(broker: Broker) -> None:
    """test_pause_leaves_messages_at_the_broker_and_resume_brings_them_all"""
    broker.subscribe("a", [N], 0)
    batch = broker.poll("a")
    assert [message.position for message in batch] == [0, 1, 2, 3, 4]
    broker.send(N)
    for message in batch:
        assert broker.positions("a") == []
        broker.acknowledge(message)
    assert broker.positions("a") == [5]


@pytest.mark.parametrize("handed_back", [True, False])
def test_what_is_not_acknowledged_comes_again_in_time(broker: Broker, handed_back: bool) -> None:
    """ADR 3: a message that reached a loser too early held up the owner for 10 s"""
    broker.subscribe("a", [N], 0)
    broker.acknowledge(broker.poll("a")[0])
    seconds = INVISIBLE_SECONDS
    if handed_back:
        broker.subscribe("a", [N], 1)  # the offset that is committed: nothing is freed
        broker.subscribe("a", [N], 0)
        seconds = HAND_BACK_SECONDS
        for message in broker.poll("a"):
            broker.change_invisible(message, seconds)
    broker.clock.run(seconds - 0.01)
    assert broker.positions("a") == []
    broker.clock.run(0.02)
    assert broker.positions("a") == ([0, 1, 2, 3, 4] if handed_back else [1, 2, 3, 4])


def test_receipts_of_before_a_takeover_say_nothing(broker: Broker) -> None:
    """test_hundred_takeovers_between_live_owners_under_traffic"""
    broker.subscribe("a", [N], 0)
    late = broker.poll("a")
    broker.subscribe("b", [N], 1)
    for message in late:
        broker.acknowledge(message)
    assert broker.positions("b") == [1, 2, 3, 4]


def test_a_client_whose_link_is_gone_is_not_subscribed_but_still_blocks(broker: Broker) -> None:
    """test_twenty_takeovers_after_kill_9_of_the_owner_with_unacknowledged_messages"""
    broker.subscribe("a", [N], 0)
    broker.poll("a")
    broker.forget_client("a")
    broker.replace("b", [N])
    assert broker.subscribers(N) == ["b"]
    assert broker.positions("b") == []


def test_a_restarted_broker_has_the_messages_and_no_subscribers(broker: Broker) -> None:
    """test_broker_kill_9_and_restart"""
    broker.subscribe("a", [N], 3)
    broker.restart()
    assert (broker.subscribers(N), broker.length(N)) == ([], 5)
    broker.subscribe("b", [N], 3)
    assert broker.notices == []
    broker.replace("a", [N])
    assert broker.subscribers(N) == ["b", "a"]
