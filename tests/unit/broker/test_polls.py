"""Polls go on whatever happens to one of them, and what happens is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from litevoice_broker import stubs
from litevoice_broker.config import BrokerConfig
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.changes import CALLS_AT_ONCE
from litevoice_broker.lite.channel import POLL_FAILS_SECONDS, REFUSED_SECONDS, UNREST_SECONDS, LiteChannel
from litevoice_broker.lite.commands import What
from litevoice_broker.lite.links import Links
from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.partition_consumer import REFUSED_IN_A_ROW, PartitionConsumer
from litevoice_broker.receiving import BATCH_MESSAGES, Poller, acknowledge
from litevoice_contracts.names import ClientId


class Link:
    """Each poll is answered with the next of `answers`: messages, or what the call raises."""

    def __init__(self, *answers: list[Any] | BaseException) -> None:
        self._answers = list(answers)

    async def receive(self, request: Any, timeout_seconds: float) -> list[Any]:
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        pytest.param(BrokerUnavailable("restarting"), "restarting", id="no answer"),
        pytest.param(BrokerError("FORBIDDEN", code=40300), "FORBIDDEN", id="refused"),
        pytest.param(RuntimeError("a bug"), "a bug", id="anything else"),
        pytest.param(asyncio.CancelledError(), "cut off", id="gRPC cancels calls of a channel that is closed"),
    ],
)
async def test_a_poll_that_fails_is_told_and_followed_by_the_next(failure: BaseException, told: str) -> None:
    reports: list[BrokerError | None] = []
    handled: list[Any] = []
    leaving = asyncio.Event()

    async def handle(messages: list[Any]) -> None:
        handled.extend(messages)
        if len(handled) == 2:
            leaving.set()

    link: Any = Link(["first"], failure, ["second"])
    poller = Poller(link, "group", None, long_poll_seconds=5.0, invisible_seconds=10.0)
    await poller.run(handle, report=reports.append, leaving=leaving)
    assert handled == ["first", "second"]
    assert [error is None for error in reports] == [True, False, True]
    assert told in str(reports[1])


async def test_a_poll_that_is_cancelled_ends() -> None:
    class Waiting:
        async def receive(self, request: Any, timeout_seconds: float) -> list[Any]:
            await asyncio.Event().wait()
            return []

    link: Any = Waiting()
    poller = Poller(link, "group", None, long_poll_seconds=5.0, invisible_seconds=10.0)
    run = asyncio.create_task(poller.run(handle_nothing, report=lambda error: None, leaving=asyncio.Event()))
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


def lite_channel() -> LiteChannel:
    """Not started."""
    admin: Any = None
    return LiteChannel(
        BrokerConfig("127.0.0.1:1", ClientId.new("a", "b", "c")),
        "parent",
        "group",
        on_delivery=lambda delivery: None,
        on_evicted=lambda name: None,
        admin=admin,
    )


async def test_one_poll_that_fails_is_a_hiccup_two_are_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[float] = []
    monkeypatch.setattr(Links, "lost", lambda self, now: lost.append(now))
    channel = lite_channel()
    away = BrokerUnavailable("ReceiveMessage: unavailable")
    for error in (away, None, away, None):
        channel._polled("broker-a", error)
    assert lost == []
    assert channel._sync_soon.is_set(), "but a full sync finds out"
    for _ in range(2):
        channel._polled("broker-a", BrokerError("ReceiveMessage: FORBIDDEN", code=40300))
    assert lost == [], "a broker that refuses is there"
    for _ in range(2):
        channel._polled("broker-b", away)
    assert len(lost) == 1


async def test_polls_that_are_refused_for_long_are_told_whatever_full_syncs_come_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("litevoice_broker.lite.channel.time.monotonic", lambda: now)
    channel = lite_channel()
    refused = BrokerError("ReceiveMessage: FORBIDDEN", code=40300)
    channel._polled("broker-a", refused)
    assert channel._refusal() is None, "a hiccup"
    for _ in range(int(2 * REFUSED_SECONDS)):
        now += 0.5
        channel._polled("broker-b", None)
        channel._polled("broker-a", refused)
    now += 0.1
    assert channel._refusal() is refused
    now += POLL_FAILS_SECONDS
    assert channel._refusal() is None, "the next poll waits at the broker"
    channel._polled("broker-a", refused)
    assert channel._refusal() is None, "a hiccup again"


async def test_a_refused_acknowledgement_is_healed_after_an_outage_and_at_no_other_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    healed: list[Any] = []
    monkeypatch.setattr("litevoice_broker.lite.channel.time.monotonic", lambda: now)
    monkeypatch.setattr(Ownership, "heal", lambda self, names, now: healed.append(names))
    channel = lite_channel()
    channel._ack_refused({"s-1"})
    assert healed == []
    channel._back_at = now
    now += UNREST_SECONDS - 1
    channel._ack_refused({"s-1"})
    now += 2
    channel._ack_refused({"s-1"})
    assert healed == [{"s-1"}]


class Acks:
    """Answers the first acknowledgement with these codes, by receipt."""

    def __init__(self, **codes: int) -> None:
        self._codes = codes

    async def call(self, method: str, request: Any) -> Any:
        assert method == "AckMessage"
        response = stubs.service.AckMessageResponse()
        for entry in request.entries:
            code = self._codes.pop(entry.receipt_handle, stubs.OK)
            response.entries.add(receipt_handle=entry.receipt_handle).status.code = code
        return response


async def test_refused_acknowledgements_are_told_and_not_repeated() -> None:
    messages = [stubs.definition.Message() for _ in range(3)]
    for message, receipt in zip(messages, ("good", "old", "later"), strict=True):
        message.system_properties.receipt_handle = receipt
    invalid, away = stubs.CODE.Value("INVALID_RECEIPT_HANDLE"), stubs.CODE.Value("INTERNAL_SERVER_ERROR")
    link: Any = Acks(old=invalid, later=away)
    refused: list[Any] = []
    left = await acknowledge(link, "group", "topic", messages, patient=lambda _: True, refused=refused.extend)
    assert left == []
    assert refused == [messages[1]]


async def test_takeovers_that_end_together_share_their_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """When ten thousand sessions come back, each has something to acknowledge."""
    acknowledged: list[list[str]] = []
    channel: Any = lite_channel()
    receiver = channel._receiver
    names = [f"s-{number}" for number in range(40)]

    async def call(method: str, request: Any) -> Any:
        assert method == "AckMessage"
        acknowledged.append([entry.lite_topic for entry in request.entries])
        return stubs.service.AckMessageResponse()

    async def told(what: What) -> None: ...

    monkeypatch.setattr(channel._connection, "call", call)
    monkeypatch.setattr(channel._subscriptions, "call", told)
    takeovers = asyncio.gather(*(channel.take_over(name, 3) for name in names))
    await asyncio.sleep(0.01)
    for some in (names[:32], names[32:]):
        await receiver._receive(None, set(), [message(2, name) for name in some])
    await takeovers
    await asyncio.sleep(0.01)
    assert sorted(name for request in acknowledged for name in request) == sorted(names)
    assert len(acknowledged) <= CALLS_AT_ONCE + 2, "as many as there were last steps"
    assert max(map(len, acknowledged)) <= BATCH_MESSAGES
    assert receiver._claimed_later == {}
    await channel.close()


class Resets:
    """An Admin that resets offsets when it is `there`."""

    def __init__(self) -> None:
        self.there = True
        self.done = 0
        self.end, self.committed = 7, 7

    async def reset_offset_to_committed(self, topic: str, group: str) -> int:
        assert (topic, group) == ("topic", "group")
        if not self.there:
            raise BrokerUnavailable("no broker is registered")
        self.done += 1
        return self.committed

    async def offsets(self, topic: str, group: str) -> tuple[int, int]:
        return self.end, self.committed


async def test_a_partitions_lock_is_removed_once_after_each_outage() -> None:
    resets: Any = Resets()
    config = BrokerConfig("127.0.0.1:1", ClientId.new("a", "b", "c"))
    consumer = PartitionConsumer(config, "topic", "group", handler=handle_nothing, admin=resets)
    for error in (None, BrokerError("ReceiveMessage: FORBIDDEN", code=40300), None):
        consumer._polled(error)
        await consumer._free()
    assert resets.done == 0, "the broker was there"
    consumer._polled(BrokerUnavailable("ReceiveMessage: unavailable"))
    resets.there = False
    await consumer._free()
    resets.there = True
    for _ in range(2):
        await consumer._free()
        consumer._polled(None)
    assert resets.done == 1
    assert consumer._patient(1.0), "an acknowledgement had no answer"
    await consumer._free()
    assert resets.done == 2
    for _ in range(2 * REFUSED_IN_A_ROW):
        consumer._ack_refused(["a message"])
        await consumer._free()
    assert resets.done == 2 + REFUSED_IN_A_ROW, "a broker that refuses everything is not asked all the time"


async def test_messages_that_wait_while_a_poll_brings_nothing_are_behind_a_lock_of_nobody() -> None:
    resets: Any = Resets()
    consumer, link = consumer_of(resets)
    await consumer._free()
    for end, done in ((7, 0), (8, 1), (8, 2)):
        resets.end = end
        consumer._polled(None)
        await consumer._free()  # the poll before brought nothing
        assert resets.done == done
    await consumer._take([message(7)])
    await consumer._free()
    assert resets.done == 2, "a poll that brought something shows that there is no lock"
    assert link.acknowledged == [7]


@pytest.mark.parametrize(("committed", "done"), [(7, 1), (8, 0)])
async def test_an_acknowledgement_that_moved_nothing_is_noticed_after_an_outage(committed: int, done: int) -> None:
    resets: Any = Resets()
    resets.end = 8
    consumer, _ = consumer_of(resets)
    consumer._polled(BrokerUnavailable("ReceiveMessage: unavailable"))
    await consumer._free()
    resets.done, resets.committed = 0, committed
    await consumer._take([message(7)])
    await consumer._free()
    assert resets.done == done


class Acknowledges:
    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    async def call(self, method: str, request: Any) -> Any:
        assert method == "AckMessage"
        self.acknowledged += [int(entry.receipt_handle) for entry in request.entries]
        return stubs.service.AckMessageResponse()


class Waits(Acknowledges):
    """Its polls bring a message when `comes` is set; what happened, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.comes = asyncio.Event()
        self.done: list[str] = []

    async def assignments(self, topic: str) -> list[Any]:
        return [stubs.definition.MessageQueue()]

    async def receive(self, request: Any, timeout_seconds: float) -> list[Any]:
        self.done.append("poll")
        await self.comes.wait()
        return [message(7)]

    async def call(self, method: str, request: Any) -> Any:
        if method == "AckMessage":
            return await super().call(method, request)
        self.done.append(f"{method} {request.receipt_handle} {request.invisible_duration.ToMilliseconds()}")
        return stubs.service.ChangeInvisibleDurationResponse()

    async def close(self) -> None:
        self.done.append("close")


async def a_consumer(link: Any, handle: Any) -> Any:
    """That polls over this link."""
    config = BrokerConfig("127.0.0.1:1", ClientId.new("a", "b", "c"))
    consumer: Any = PartitionConsumer(config, "topic", "group", handler=handle)
    link.report = lambda error: None
    consumer._connection = link
    await consumer._connected()
    await asyncio.sleep(0)
    return consumer


@pytest.mark.parametrize("at_work", [False, True])
async def test_what_comes_to_a_consumer_whose_partition_is_somebody_elses_goes_back(at_work: bool) -> None:
    """It would lock the queue for its owner for half a minute: an open poll that is cut off gets it all the same."""
    link, handling = Waits(), asyncio.Event()

    async def handle(messages: Any) -> None:
        handling.set()
        await asyncio.Event().wait()

    consumer = await a_consumer(link, handle)
    if at_work:
        link.comes.set()
        await handling.wait()
    abandoned = asyncio.create_task(consumer.abandon())
    await asyncio.sleep(0.01)
    assert abandoned.done() is at_work, "an open poll may still bring something"
    link.comes.set()
    await abandoned
    assert link.done == ["poll", "ChangeInvisibleDuration 7 50", "close"]
    assert handling.is_set() is at_work
    assert link.acknowledged == []


async def test_a_consumer_that_was_leaving_hands_back_before_its_link_is_closed() -> None:
    link = Waits()
    consumer = await a_consumer(link, handle=lambda messages: None)
    leaving = asyncio.create_task(consumer.leave())
    await asyncio.sleep(0.01)
    abandoned = asyncio.create_task(consumer.abandon())
    await asyncio.sleep(0.01)
    link.comes.set()
    await asyncio.gather(leaving, abandoned)
    assert link.done == ["poll", "ChangeInvisibleDuration 7 50", "close"]


async def test_nothing_is_handled_from_the_moment_in_which_the_partition_is_somebody_elses() -> None:
    """A session that is begun now would be forgotten by nobody: those of the partition have just been."""
    link, steps = Waits(), 0

    async def handle(messages: Any) -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    consumer = await a_consumer(link, handle)
    link.comes.set()
    while not steps:
        await asyncio.sleep(0)
    abandoned, before = asyncio.ensure_future(consumer.abandon()), steps
    await abandoned
    assert steps == before


async def test_a_consumer_whose_partition_is_somebody_elses_does_not_poll_again() -> None:
    resets: Any = Resets()
    asked = asyncio.Event()

    async def offsets(topic: str, group: str) -> tuple[int, int]:
        asked.set()
        await asyncio.Event().wait()
        return 7, 7

    resets.offsets = offsets
    consumer, acknowledges = consumer_of(resets)
    link: Any = Waits()
    link.report = acknowledges.report  # type: ignore[attr-defined]
    consumer._connection = link
    consumer._came = False
    await consumer._connected()
    await asked.wait()
    await consumer.abandon()
    assert link.done == ["close"]


def consumer_of(admin: Any) -> tuple[PartitionConsumer, Acknowledges]:
    async def handle(messages: Any) -> None:
        assert [one.offset for one in messages] == [7]

    config = BrokerConfig("127.0.0.1:1", ClientId.new("a", "b", "c"))
    consumer = PartitionConsumer(config, "topic", "group", handler=handle, admin=admin)
    link: Any = Acknowledges()
    link.report = lambda error: None
    consumer._connection = link
    return consumer, link


def message(offset: int, lite_topic: str = "") -> Any:
    one = stubs.definition.Message()
    one.system_properties.lite_topic = lite_topic
    one.system_properties.queue_offset = offset
    one.system_properties.receipt_handle = str(offset)
    return one


async def handle_nothing(messages: Any) -> None:
    raise AssertionError(messages)
