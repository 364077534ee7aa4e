"""What a gateway that stood still sends of what its clients had said before, and what it claims again."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from litevoice_contracts.settings import BrokerSettings, GatewaySettings
from litevoice_gateway import standstill
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.pauses import STOOD_STILL_SECONDS
from litevoice_gateway.settings import Keys
from litevoice_gateway.standing import Phase


class Homes:
    """One broker, which says whose the sessions are when `answers` is set: it tells of those that are owned then."""

    def __init__(self, owned: set[str], taken: set[str]) -> None:
        self.owned, self.taken, self.sent = owned, taken, 0
        self.resumed: list[str] = []
        self.unlisted: dict[str, int] = {}
        self.read = 3
        self.answers = asyncio.Event()
        self.hub: Any = None
        self.channel = self.producer = self.news = self
        self.name = "gateway-0"

    def of(self, _: object) -> Homes:
        return self

    of_partition = of

    def own(self, name: str) -> bool:
        return name in self.owned

    async def release(self, name: str) -> None:
        self.owned.discard(name)

    def yield_to_others(self, _: str) -> None: ...

    def position(self, name: str) -> int | None:
        return self.read if name in self.owned else None

    async def resume(self, name: str) -> None:
        if name in self.owned:
            self.resumed.append(name)

    def enqueue_fifo(self, *_: object) -> None:
        self.sent += 1

    async def close(self) -> None: ...

    async def look_again(self) -> dict[str, int]:
        await self.answers.wait()
        for name in self.owned & self.taken:
            self.owned.discard(name)
            self.hub._evicted(name)
        return self.unlisted


def thawed(homes: Homes) -> Any:
    """A hub that has stood still until now."""
    broker = BrokerSettings(
        endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down", partitions=1
    )
    settings = GatewaySettings(broker=broker, api_keys_dir="/", keys_dir="/")
    hub: Any = Hub(settings, Keys(b"k" * 32, b"t" * 16), Metrics(), "gateway-0", "10.0.0.1")
    hub._homes, homes.hub = homes, hub
    hub._standstill.beat_at -= STOOD_STILL_SECONDS + 1
    return hub


@pytest.mark.parametrize("owned", [True, False])
@pytest.mark.parametrize("taken", [True, False])
async def test_what_waits_leaves_only_when_the_session_is_still_ours(*, owned: bool, taken: bool) -> None:
    """The client's last attempt to come back has ended here before the broker has answered: that gives the session up,
    and the broker would not tell that it is somebody else's. Its worker, too, may be another one by now, to whom all
    this would be new (two turns of half an hour of `make chaos` were computed twice)."""
    homes = Homes({"s_1"} if owned else set(), {"s_1"} if taken else set())
    hub = thawed(homes)
    told: list[BaseException | None] = []
    connection = SimpleNamespace(partition=0, session=SimpleNamespace(id="s_1"))
    hub.publish(connection, b"what it had said", told.append)
    giving_up = asyncio.create_task(hub._let_go("s_1"))
    await asyncio.sleep(0.3)
    assert (homes.sent, homes.owned, told) == (0, {"s_1"} if owned else set(), [])
    homes.answers.set()
    await asyncio.wait_for(giving_up, 1.0)
    assert homes.sent == (owned and not taken)
    assert len(told) == (not homes.sent)
    assert not homes.owned


class Reader:
    """A connection of it."""

    def __init__(self, **has: object) -> None:
        self.__dict__.update(has)


@pytest.mark.parametrize("has_left", [True, False])
@pytest.mark.parametrize("taken", [True, False])
async def test_replies_that_a_slow_reader_left_at_the_broker_are_claimed_when_the_session_is_still_ours(
    *, taken: bool, has_left: bool
) -> None:
    """It reads on, or has left and goes elsewhere: its last gateway takes for it what waits. Claimed at the thaw, its
    session would be taken from where it is by then."""
    homes = Homes({"s_1"}, {"s_1"} if taken else set())
    hub = thawed(homes)
    settled = asyncio.Event()
    settled.set()
    session = SimpleNamespace(id="s_1", is_answered=True)
    connection = Reader(session=session, settled=settled, evicted=hub.sessions.clear)
    if not has_left:
        hub.sessions["s_1"] = connection
    claiming = hub._release(connection, moved=False) if has_left else hub.resume_replies(connection)
    task = asyncio.create_task(claiming)
    await asyncio.sleep(0.1)
    assert homes.resumed == []
    homes.answers.set()
    await asyncio.sleep(0.1)
    assert homes.resumed == ([] if taken else ["s_1"])
    task.cancel()


async def test_nobody_waits_for_the_answer_of_a_hub_that_is_closed() -> None:
    """Its slow readers' connections outlive it for a moment, and asked at each turn of the loop."""
    homes = Homes({"s_1"}, set())
    hub = thawed(homes)
    connection = Reader(session=SimpleNamespace(id="s_1"))
    claiming = asyncio.create_task(hub.resume_replies(connection))
    await asyncio.sleep(0.1)
    assert not claiming.done()
    await hub.close()
    await asyncio.wait_for(claiming, 1.0)
    assert homes.resumed == []


class Doubtful:
    """A connection of a session for which the broker, which has forgotten the gateway, lists nobody."""

    def __init__(self, hub: Any, *, phase: Phase = Phase.LIVE, gone: bool = False) -> None:
        self.session = SimpleNamespace(
            id="s_1", phase=phase, reading_replies=True, newest_epoch=7, read_epoch=7, is_replaced=False
        )
        self.partition, self.gone, self.hub = 0, gone, hub
        self.evictions = 0
        hub.connections.add(self)
        if phase is not Phase.ENDED:
            hub.sessions["s_1"] = self

    def evicted(self) -> None:
        self.evictions += 1
        self.session.is_replaced = True
        if self.session.phase is not Phase.CLOSING:
            del self.hub.sessions["s_1"]

    def cut(self) -> None:
        self.session.phase = Phase.ENDED
        publish(self.hub, self)


@pytest.fixture
def homes() -> Homes:
    made = Homes({"s_1"}, set())
    made.unlisted = {"s_1": 5}
    made.answers.set()
    return made


def publish(hub: Any, connection: Doubtful) -> list[BaseException | None]:
    """At the thaw; returns what becomes of it."""
    told: list[BaseException | None] = []
    hub.publish(connection, b"what it had said", told.append)
    return told


@pytest.mark.parametrize("overtaken", [True, False])
@pytest.mark.parametrize("stands_still_again", [True, False])
async def test_whether_another_gateway_has_had_what_nobody_is_listed_for_its_log_tells(
    homes: Homes, *, overtaken: bool, stands_still_again: bool
) -> None:
    """Its client is still connected, as far as is seen. Before the log is read, nothing leaves, also when the gateway
    stands still once more meanwhile; the broker lists it again by then."""
    hub = thawed(homes)
    connection = Doubtful(hub)
    told = publish(hub, connection)
    await asyncio.sleep(0.3)
    assert (homes.sent, told) == (0, [])
    connection.session.newest_epoch = connection.session.read_epoch = 8 if overtaken else 7
    if stands_still_again:
        hub._standstill.beat_at -= STOOD_STILL_SECONDS + 1
        homes.unlisted = {}
        hub._standstill.awake(time.monotonic())
        await asyncio.sleep(0.1)
        assert (homes.sent, told) == (0, [])
    homes.read = 5
    await asyncio.sleep(0.3)
    assert (homes.sent, len(told)) == ((0, 1) if overtaken else (1, 0))
    assert (connection.evictions, homes.owned) == ((1, set()) if overtaken else (0, {"s_1"}))
    assert hub._doubts is None


@pytest.mark.parametrize(("gone", "replaced"), [(True, False), (False, True), (False, False)])
async def test_what_a_client_that_is_gone_had_said_does_not_leave_when_nobody_is_listed(
    homes: Homes, *, gone: bool, replaced: bool
) -> None:
    """Nobody reads its log (seed 19156 of the simulator: another gateway had had it, between a broker's restart and the
    thaw). Nor when it has come anew, and left again. Who waits for its Close has not been elsewhere."""
    hub = thawed(homes)
    connection = Doubtful(hub, phase=Phase.ENDED, gone=gone)
    connection.session.is_replaced = replaced
    told = publish(hub, connection)
    await asyncio.sleep(0.3)
    assert (homes.sent, len(told)) == ((0, 1) if gone or replaced else (1, 0))


@pytest.mark.parametrize("meanwhile", [True, False])
async def test_what_it_had_said_before_it_came_anew_leaves_only_if_it_came_before_the_standstill(
    homes: Homes, *, meanwhile: bool
) -> None:
    """At the thaw it came from elsewhere, perhaps: what waited for it goes ahead of its new epoch otherwise."""
    hub = thawed(homes)
    connection = Doubtful(hub, phase=Phase.ENDED)
    connection.session.is_replaced = True
    newest = Doubtful(hub, phase=Phase.RESTORING)
    newest.session.newest_epoch = -1
    if meanwhile:
        hub._standstill.comes(newest)
    publish(hub, connection)
    await asyncio.sleep(0.1)
    homes.read = 5
    await asyncio.sleep(0.3)
    assert homes.sent == (not meanwhile)
    assert hub.sessions["s_1"] is newest and not newest.evictions


@pytest.mark.parametrize("taken", [True, False])
async def test_nothing_more_of_a_client_that_was_told_to_go_leaves_when_it_is_elsewhere(*, taken: bool) -> None:
    """Its Close was waited for, and what it had said till then was still to be collected."""
    homes = Homes({"s_1"}, {"s_1"} if taken else set())
    homes.answers.set()
    hub = thawed(homes)
    connection = Doubtful(hub, phase=Phase.CLOSING)
    publish(hub, connection)
    await asyncio.sleep(0.3)
    assert homes.sent == (not taken)
    assert connection.session.phase is (Phase.ENDED if taken else Phase.CLOSING)


async def test_what_is_being_restored_is_not_taken_for_overtaken(homes: Homes) -> None:
    """The epochs that come are those of earlier owners."""
    hub = thawed(homes)
    connection = Doubtful(hub, phase=Phase.RESTORING)
    connection.session.newest_epoch = -1
    hub._standstill.awake(time.monotonic())
    await asyncio.sleep(0.1)
    connection.session.read_epoch, homes.read = 8, 5
    await asyncio.sleep(0.2)
    assert (connection.evictions, homes.owned) == (0, {"s_1"})


@pytest.mark.parametrize("reads", [True, False])
async def test_a_log_that_does_not_come_holds_nothing_up_for_long(
    homes: Homes, monkeypatch: pytest.MonkeyPatch, *, reads: bool
) -> None:
    """Nor does that of a client that does not read, at all."""
    monkeypatch.setattr(standstill, "READ_SECONDS", 0.4)
    hub = thawed(homes)
    connection = Doubtful(hub)
    connection.session.reading_replies = reads
    publish(hub, connection)
    await asyncio.sleep(0.25)
    assert homes.sent == (not reads)
    await asyncio.sleep(0.5)
    assert (homes.sent, connection.evictions) == (1, 0)
