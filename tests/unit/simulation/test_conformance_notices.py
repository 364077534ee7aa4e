"""The conformance suite itself: a model that is kinder than RocketMQ, or harsher, does not pass it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest

from tests.conformance.traps import RESTARTS, SLOW, TRAPS, spring
from tests.conformance.traps import name as name_of
from tests.simulation.model import lite_topics, partition_topic, proxy
from tests.simulation.model.lite_topics import LiteTopic, LiteTopics
from tests.simulation.model.network import Link
from tests.simulation.model.partition_topic import PartitionTopic
from tests.simulation.model.proxy import Proxy
from tests.simulation.model.written import Written
from tests.unit.simulation.test_conformance import Model, over_a_restart, run

Patch = pytest.MonkeyPatch
_subscribe, _unsubscribe, _poll, _reset = (
    LiteTopics.subscribe,
    LiteTopics.unsubscribe,
    LiteTopics.poll,
    PartitionTopic.reset,
)
_forget, _restart = LiteTopics.forget_client, LiteTopics.restart
_by_receipt, _die, _gone = Proxy._by_receipt, Proxy.die, Proxy._gone


def no_order_lock(patch: Patch) -> None:
    patch.setattr(partition_topic._Lock, "holds", lambda lock, now: False)


def no_blocks(patch: Patch) -> None:
    patch.setattr(LiteTopic, "blocked", lambda topic, now: False)


def one_call_takes_over(patch: Patch) -> None:
    def subscribe(topics: LiteTopics, client: str, names: Collection[str], offset: int | None) -> None:
        if offset is not None:
            for name in names:
                topics._topic(name).offset.value = -1
        _subscribe(topics, client, names, offset)

    patch.setattr(LiteTopics, "subscribe", subscribe)


def nobody_is_told_of_oneself(patch: Patch) -> None:
    def subscribe(topics: LiteTopics, client: str, names: Collection[str], offset: int | None) -> None:
        _unsubscribe(topics, client, names)
        _subscribe(topics, client, names, offset)

    patch.setattr(LiteTopics, "subscribe", subscribe)


def full_syncs_evict(patch: Patch) -> None:
    patch.setattr(LiteTopics, "replace", lambda topics, client, names: _subscribe(topics, client, names, None))


def full_syncs_wake_nobody(patch: Patch) -> None:
    def replace(topics: LiteTopics, client: str, names: Iterable[str]) -> None:
        for name in names:
            topics._topic(name).subscribers.append(client)
            topics._events.setdefault(client, {})[name] = None

    patch.setattr(LiteTopics, "replace", replace)


def evicted_clients_get_nothing(patch: Patch) -> None:
    def poll(topics: LiteTopics, client: str, *arguments: Any) -> Any:
        for name in list(topics._events.get(client, {})):
            if client not in topics.subscribers(name):
                del topics._events[client][name]
        return _poll(topics, client, *arguments)

    patch.setattr(LiteTopics, "poll", poll)


def blocks_go_with_their_client(patch: Patch) -> None:
    def forget(topics: LiteTopics, client: str) -> None:
        for name in topics.subscribed(client):
            topics._topic(name).unacknowledged.clear()
        _forget(topics, client)

    patch.setattr(LiteTopics, "forget_client", forget)


def larger_batches(patch: Patch) -> None:
    patch.setattr(lite_topics, "BATCH_MESSAGES", 64)


def receipts_do_not_run_out(patch: Patch) -> None:
    def by_receipt(one: Proxy, topic: str, receipt: str, invisible: float | None) -> bool:
        return _by_receipt(one, topic, f"{receipt.rpartition('/')[0]}/inf", invisible)

    patch.setattr(Proxy, "_by_receipt", by_receipt)


def messages_have_any_size(patch: Patch) -> None:
    patch.setattr(proxy, "MOST_BYTES", 1 << 30)


def resets_wake(patch: Patch) -> None:
    def reset(partition: PartitionTopic, offset: int) -> None:
        _reset(partition, offset)
        partition.wake()

    patch.setattr(PartitionTopic, "reset", reset)


def lost_messages_are_handed_back(patch: Patch) -> None:
    def look(one: Proxy, key: tuple[str, str], poll: Any) -> None:
        if poll.link.alive:
            found(one, key, poll)

    found = Proxy._look
    patch.setattr(Proxy, "_look", look)


def everything_is_written_at_once(patch: Patch) -> None:
    patch.setattr(Written, "killed", lambda written: None)


def nothing_is_written(patch: Patch) -> None:
    patch.setattr(Written, "_write", lambda written: None)


def receipts_of_before_a_restart_do_nothing(patch: Patch) -> None:
    def restart(topics: LiteTopics) -> None:
        _restart(topics)
        for topic in topics.topics.values():
            topic.batch = -1

    patch.setattr(LiteTopics, "restart", restart)


def subscriptions_end_with_their_proxy(patch: Patch) -> None:
    def die(one: Proxy) -> None:
        for client in list(one._links):
            for broker in one._brokers:
                broker.forget_client(client)
        _die(one)

    patch.setattr(Proxy, "die", die)


def only_the_last_link_counts(patch: Patch) -> None:
    def gone(one: Proxy, client: str, link: Link) -> None:
        if one._links[client] is link:
            _gone(one, client, link)

    patch.setattr(Proxy, "_gone", gone)


def nothing_expires(patch: Patch) -> None:
    patch.setattr(LiteTopics, "expire", lambda topics, older_than: [])


NOTICED: dict[Callable[[Patch], None], str] = {
    no_order_lock: "one_batch_until_it_is_acknowledged",
    no_blocks: "the_next_batch_comes_only_when_the_last_one_is_acknowledged",
    one_call_takes_over: "one_call_at_the_committed_position_stays_blocked_and_two_free_it",
    nobody_is_told_of_oneself: "every_subscriber_is_told_the_caller_included",
    full_syncs_evict: "a_full_sync_evicts_nobody",
    full_syncs_wake_nobody: "a_full_sync_wakes_an_open_poll",
    evicted_clients_get_nothing: "what_was_dispatched_before_an_eviction_still_comes",
    blocks_go_with_their_client: "whose_link_is_cut_has_no_subscriptions_and_still_blocks",
    larger_batches: "a_batch_has_32_messages_at_most",
    receipts_do_not_run_out: "what_is_not_acknowledged_comes_again_in_its_time_and_its_receipts_have_run_out",
    messages_have_any_size: "what_is_too_large_too_long_or_for_nobody_is_refused",
    resets_wake: "a_reset_wakes_no_open_poll_but_its_end_looks_once_more",
    lost_messages_are_handed_back: "a_poll_of_a_link_that_was_cut_takes_a_message_that_then_blocks",
    subscriptions_end_with_their_proxy: "subscriptions_outlive_their_proxy",
    only_the_last_link_counts: "whose_former_link_is_cut_has_no_subscriptions",
    nothing_expires: "expiry_drops_messages_and_subscription_and_tells_nobody",
    everything_is_written_at_once: "offsets_of_the_last_seconds_are_forgotten_those_before_are_not",
    nothing_is_written: "acknowledgements_of_the_last_seconds_are_forgotten_those_before_are_not",
    receipts_of_before_a_restart_do_nothing: "receipts_of_before_commit_all_before_them",
}


@pytest.mark.parametrize("planted", NOTICED, ids=name_of)
def test_the_suite_notices(planted: Callable[[Patch], None], monkeypatch: Patch) -> None:
    expected = NOTICED[planted]
    restarts = {name_of(trap): trap for trap in RESTARTS}

    async def work(model: Model) -> None:
        if expected in restarts:
            assert await over_a_restart(restarts[expected], model) == {}
        else:
            await spring(next(trap for trap in (*TRAPS, *SLOW) if name_of(trap) == expected), model)

    run(0, monkeypatch, work)  # as it is, it passes
    planted(monkeypatch)
    with pytest.raises((AssertionError, TimeoutError)):
        run(0, monkeypatch, work)
