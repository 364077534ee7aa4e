"""When an alert measures again, and what it tells of being blind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus, SessionInfo
from litevoice_contracts.names import Names
from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus, Target
from litevoice_operator.api.resource import Resource
from litevoice_operator.decide.routing import Mute
from litevoice_operator.observe.backlogs import Sample, Waiting
from litevoice_operator.reconcile.backlog_alert import POLL_SECONDS, AlertReconciler
from litevoice_operator.reconcile.backlogs import SHARED_SECONDS, WALK_FACTOR, Backlogs, Walks
from litevoice_operator.reconcile.pod_cache import PodCache
from tests.unit.operator.test_backlog import session

KEY, NAMES = ("voice", "demo"), Names("requests", "replies", 2)
SPEC = BacklogAlertSpec.model_validate(
    {
        "gatewayRef": {"name": "demo"},
        "target": "Replies",
        "thresholds": [{"severity": "warning", "messages": 100}],
        "dryRun": True,
    }
)
ALERT = Resource.model_validate(
    {"kind": "BacklogAlert", "metadata": {"namespace": "voice", "name": "late", "uid": "1", "generation": 1}}
)


class SlowBroker:
    """Its walk over all replies takes a while."""

    def __init__(self, seconds: float, name_server: str = "a:9876;b:9876") -> None:
        self.seconds, self.name_server, self.walks = seconds, name_server, 0
        self.looked_at: list[set[str]] = []

    async def replies(self, _: Names) -> tuple[int, list[Waiting]]:
        self.walks += 1
        await asyncio.sleep(self.seconds)
        return 3, [Waiting("s_1", 3, 1.0)]

    async def replies_of(self, _: Names, sessions: list[str]) -> list[Waiting]:
        self.looked_at.append({*sessions})
        return [Waiting(session, 70 if session == "s_slow" else 3, 1.0) for session in sessions]

    async def owners(self, *_: object) -> dict[str, str]:
        return {}


def backlogs(broker: SlowBroker, asked: list[set[str]] | None = None, **said: GatewayStatus) -> Backlogs:
    """Of a gateway that has a client who reads too slowly, and one that has said so."""

    async def sessions(of: dict[str, str], *_: object) -> dict[str, list[SessionInfo]]:
        if asked is not None:
            asked.append({*of})
        return {"gateway-0": [session("s_slow", 0, 0.0, reading=False), session("s_fine", 0, 0.0)]}

    gateways = cast(Any, SimpleNamespace(sessions=sessions))
    return Backlogs(KEY, cast(Any, broker), gateways, ThreePods(), "", held=lambda: said)


class ThreePods(PodCache):
    def addresses(self, *_: object) -> dict[str, str]:
        return dict.fromkeys(("slow", "fine", "silent"), "::1")


async def test_between_two_walks_only_gateways_are_asked_that_may_have_clients_who_read_too_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def status(slow_readers: int) -> GatewayStatus:
        return GatewayStatus("g", True, "", 3, 100, slow_readers, 0, DrainReport("none"))

    asked: list[set[str]] = []
    measured = backlogs(SlowBroker(0.15), asked, slow=status(2), fine=status(0))
    await measured.look(NAMES, "Replies")
    await again(measured, monkeypatch, SHARED_SECONDS + 0.5)
    assert asked == [{"slow", "silent"}]


async def again(measured: Backlogs, monkeypatch: pytest.MonkeyPatch, seconds: float) -> Sample:
    """A look so much later."""
    later = time.monotonic() + seconds
    monkeypatch.setattr("litevoice_operator.reconcile.backlogs.time", SimpleNamespace(monotonic=lambda: later))
    sample = await measured.look(NAMES, "Replies")
    monkeypatch.undo()
    return sample


async def test_between_two_walks_only_what_matters_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, looked_at in ((0.0, []), (0.15, [{"s_1", "s_slow"}])):
        broker = SlowBroker(seconds)
        measured = backlogs(broker)
        assert measured.next_in("Replies", 0.0) == 0.0
        first = await measured.look(NAMES, "Replies")
        assert await measured.look(NAMES, "Replies") is first, "it is shared"
        assert 0.0 < measured.next_in("Replies", 0.0) <= SHARED_SECONDS
        assert measured.next_in("Requests", 0.0) == 0.0
        second = await again(measured, monkeypatch, SHARED_SECONDS + 0.5)
        assert (broker.looked_at, broker.walks) == (looked_at, 1 if looked_at else 2)
        if looked_at:
            assert [(load.session, load.backlog) for load in second.loads] == [("s_slow", 70), ("s_1", 3)]
            assert second.value.messages == 73
            await again(measured, monkeypatch, WALK_FACTOR * (seconds + 0.2) + 1)
            assert broker.walks == 2


@pytest.mark.parametrize(
    ("description", "second", "shares"),
    [
        ("the same brokers", "a:9876;b:9876", True),
        ("the same brokers in another order", "b:9876;a:9876", True),
        ("other brokers", "c:9876", False),
    ],
)
async def test_those_at_the_same_brokers_share_their_time(description: str, second: str, shares: bool) -> None:
    walks, nothing = Walks(), cast(Any, None)
    broker = cast(Any, SlowBroker(0.15))
    one = Backlogs(("voice", "one"), broker, nothing, PodCache(), "", walks)
    two = Backlogs(("voice", "two"), cast(Any, SlowBroker(0.15, second)), nothing, PodCache(), "", walks)
    await one.look(NAMES, "Replies")
    await two.look(NAMES, "Replies")
    assert (two._walk_after - time.monotonic() > WALK_FACTOR * 0.28) == shares, description
    one.forget()
    assert walks.took(("voice", "two"), second, 1.0) == 1.0, "who is gone takes nothing"


@pytest.mark.parametrize(
    ("description", "walk_in", "target", "expected"),
    [
        ("it is over before", 3.0, "Replies", 4.5),
        ("it may begin a little later", 4.8, "Replies", 4.8),
        ("it may begin much later", 5.1, "Replies", 4.5),
        ("nobody walks for that", 4.8, "Turns", 4.5),
    ],
)
async def test_a_walk_that_may_begin_a_little_later_is_waited_for(
    description: str, walk_in: float, target: Target, expected: float
) -> None:
    measured = backlogs(SlowBroker(0.0))
    measured._walk_after = time.monotonic() + walk_in
    assert measured.next_in(target, 4.5) == pytest.approx(expected, abs=0.1), description


async def test_an_alert_measures_again_soon_however_long_a_walk_takes() -> None:
    async def written(*_: object) -> None: ...

    notifier = SimpleNamespace(
        channels=(), put=lambda *_: None, webhooks=list, alertmanagers=list, under_way=lambda *_: []
    )
    outbox = SimpleNamespace(under_way=lambda _: False)
    resources = SimpleNamespace(write_status=written)
    shared = SimpleNamespace(resources=resources, outbox=outbox, notifier=notifier, views={}, alerts={})
    reconciler, measured = AlertReconciler(cast(Any, shared), cast(Any, None), KEY), backlogs(SlowBroker(0.3))
    pause_seconds = await reconciler._measure(ALERT, SPEC, measured, NAMES)
    assert pause_seconds == pytest.approx(POLL_SECONDS, abs=0.5)
    measured.forget()


class Partitions:
    """As many messages wait in each as it says."""

    def __init__(self) -> None:
        self.messages = 0

    async def requests(self, names: Names) -> list[Waiting]:
        return [Waiting(topic, self.messages, 1.0) for topic in names.partition_topics]


async def test_gateways_list_their_sessions_for_requests_only_while_some_wait_or_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, broker = [], Partitions()

    async def sessions(*given: object) -> dict[str, list[object]]:
        asked.append(given)
        return {}

    gateways = cast(Any, SimpleNamespace(sessions=sessions))
    measured = Backlogs(KEY, cast(Any, broker), gateways, PodCache(), "")

    async def look() -> int:
        measured.forget()
        await measured.look(NAMES, "Requests")
        return len(asked)

    assert await look() == 1, "who served which session is remembered from the start"
    assert await look() == 1
    broker.messages = 3
    assert await look() == 2
    assert await look() == 3
    broker.messages = 0
    assert await look() == 3
    monkeypatch.setattr(measured, "_listed_until", 0.0)
    assert await look() == 4


@pytest.mark.parametrize(
    ("description", "mute", "expected"),
    [
        ("nothing holds it back", None, ["firing", "resolved"]),
        ("a drain", Mute("a gateway is being drained", passes=True), ["firing", "resolved"]),
        ("a silence", Mute("silenced by ann"), []),
    ],
)
async def test_webhooks_are_told_once_of_being_blind_and_of_seeing(
    description: str, mute: Mute | None, expected: list[str]
) -> None:
    told = list[str]()

    async def posted(*_: object) -> bool:
        return True

    async def tell(name: str, about: Mapping[str, str], body: Mapping[str, Any], once: tuple[str, float]) -> bool:
        assert (name, about["uid"], body["groupLabels"]["alertname"]) == ("chat", "1/blind", "LitevoiceBacklogBlind")
        assert once[0].startswith("blind" if body["status"] == "firing" else "seeing")
        told.append(body["status"])
        return False  # not yet: it goes on by itself

    notifier = SimpleNamespace(
        channels=("chat",), put=lambda *_: None, webhooks=list, alertmanagers=lambda _: [], under_way=lambda *_: [],
        tell=tell,
    )  # fmt: skip
    shared = SimpleNamespace(
        resources=None, outbox=SimpleNamespace(send=posted, under_way=lambda _: False), notifier=notifier, views={},
        alerts={},
    )  # fmt: skip
    reconciler, wanted = (
        AlertReconciler(cast(Any, shared), cast(Any, None), KEY),
        SPEC.model_copy(update={"dry_run": False, "routes": ["chat"]}),
    )
    status = BacklogAlertStatus()
    for blind in ("True", "True", "False", "False"):
        seen = {"type": "Blind", "status": blind, "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "x"}
        conditions = BacklogAlertStatus.model_validate({"conditions": [seen]}).conditions
        status = await reconciler._tell(ALERT, wanted, status.model_copy(update={"conditions": conditions}), mute)
        assert status.blind_told == (blind == "True")
    assert told == expected, description
