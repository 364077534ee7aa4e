"""When an alert measures again, and what it tells of being blind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from prometheus_client import REGISTRY

from litevoice_contracts.control import DrainReport, GatewayStatus, SessionInfo
from litevoice_contracts.names import Names
from litevoice_operator.adapters.gateways import Holder
from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus, Target
from litevoice_operator.api.resource import Resource
from litevoice_operator.decide.budget import LEAST_ALERT_PAUSE
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.routing import Mute
from litevoice_operator.observe.backlogs import Load, Sample, Waiting
from litevoice_operator.reconcile.backlog_alert import AlertReconciler
from litevoice_operator.reconcile.backlogs import ASKED_WALK_FACTOR, SHARED_SECONDS, WALK_FACTOR, Backlogs, Walks
from litevoice_operator.reconcile.pod_cache import PodCache
from tests.unit.operator.test_admin_api import pod
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

    async def holder(*_: object) -> Holder:
        return Holder("", None, all_answered=True)

    gateways = cast(Any, SimpleNamespace(sessions=sessions, session=holder))
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


async def again(
    measured: Backlogs, monkeypatch: pytest.MonkeyPatch, seconds: float, factor: float = WALK_FACTOR
) -> Sample:
    """A look so much later."""
    later = time.monotonic() + seconds
    monkeypatch.setattr("litevoice_operator.reconcile.backlogs.time", SimpleNamespace(monotonic=lambda: later))
    sample = await measured.look(NAMES, "Replies", factor)
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


@pytest.mark.parametrize(("factor", "walks"), [(WALK_FACTOR, 1), (ASKED_WALK_FACTOR, 2)])
async def test_while_somebody_asks_the_broker_walks_more_often(
    factor: float, walks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = SlowBroker(0.15)
    measured = backlogs(broker)
    await measured.look(NAMES, "Replies")
    await again(measured, monkeypatch, 0.15 * 40, factor)
    assert broker.walks == walks


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
    assert (two._walk_after() - time.monotonic() > WALK_FACTOR * 0.28) == shares, description
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
    measured._walked_at = time.monotonic() + walk_in
    assert measured.next_in(target, 4.5) == pytest.approx(expected, abs=0.1), description


async def test_an_alert_measures_again_soon_however_long_a_walk_takes() -> None:
    async def written(*_: object) -> None: ...

    notifier = SimpleNamespace(
        channels=(),
        put=lambda *_: None,
        webhooks=list,
        alertmanagers=list,
        under_way=lambda *_: [],
        failing=lambda _: {},
    )
    outbox = SimpleNamespace(under_way=lambda _: False)
    resources = SimpleNamespace(write_status=written)
    shared = SimpleNamespace(resources=resources, outbox=outbox, notifier=notifier, views={}, alerts={})
    reconciler, measured = AlertReconciler(cast(Any, shared), cast(Any, None), KEY), backlogs(SlowBroker(0.3))
    pause_seconds = await reconciler._measure(ALERT, SPEC, measured, NAMES)
    assert pause_seconds == pytest.approx(LEAST_ALERT_PAUSE, abs=0.5)
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


class Voices:
    """A notifier and an outbox: what webhooks were told, as (channel, alert, status)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.shown: list[str] = []
        self.channels = ("chat",)
        self.shared = cast(
            Any, SimpleNamespace(resources=self, outbox=self, notifier=self, views={}, alerts={}, body=None)
        )
        self.body: Resource | None = None

    async def read(self, _: object, __: object, read: Any) -> object:
        return None if self.body is None else (self.body, read(self.body))

    async def exists(self, *_: object) -> bool:
        return True

    async def write_status(self, *_: object) -> None: ...

    async def send(self, *_: object) -> bool:
        return True

    def under_way(self, *given: object) -> Any:
        return [] if len(given) > 1 else False

    def put(self, _: object, __: object, why: str = "") -> None:
        self.shown.append(why)

    def webhooks(self, routes: list[str]) -> list[str]:
        return list(routes)

    def alertmanagers(self, _: object) -> list[str]:
        return []

    def failing(self, _: object) -> dict[str, str]:
        return {}

    async def tell(self, name: str, _: object, body: Mapping[str, Any], once: tuple[str, float]) -> bool:
        self.told.append((name, body["groupLabels"]["alertname"], body["status"]))
        return True


LOUD = SPEC.model_copy(update={"dry_run": False, "routes": ["chat"]})


def blind(status: str) -> BacklogAlertStatus:
    seen = {"type": "Blind", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "x"}
    return BacklogAlertStatus.model_validate({"conditions": [seen]})


async def test_a_webhook_is_told_after_a_silence_that_an_alert_is_blind_still() -> None:
    voices = Voices()
    reconciler = AlertReconciler(voices.shared, cast(Any, None), KEY)
    status = await reconciler._tell(ALERT, LOUD, blind("True"), Mute("silenced by ann"))
    assert (status.blind_told, voices.told) == (True, [])
    for _ in range(2):
        status = await reconciler._tell(ALERT, LOUD, status, None)
    assert voices.told == [("chat", "LitevoiceBacklogBlind", "firing")]
    sees = status.model_copy(update={"conditions": blind("False").conditions})
    await reconciler._tell(ALERT, LOUD, sees, None)
    assert voices.told[1:] == [("chat", "LitevoiceBacklogBlind", "resolved")]


@pytest.mark.parametrize(
    ("mute", "why"),
    [(Mute("silenced by ann"), "silenced by ann: told no longer"), (Mute("a drain", passes=True), ""), (None, "")],
)
async def test_what_ends_in_a_drain_is_over_and_not_held_back(mute: Mute | None, why: str) -> None:
    voices = Voices()
    await AlertReconciler(voices.shared, cast(Any, None), KEY)._tell(ALERT, LOUD, BacklogAlertStatus(), mute)
    assert voices.shown == [why]


@pytest.mark.parametrize("again", [False, True])
async def test_who_knows_that_a_deleted_alert_fires_is_told_that_it_is_over(again: bool) -> None:
    voices = Voices()
    reconciler = AlertReconciler(voices.shared, cast(Any, None), KEY)
    last = "Firing warning 2026-01-01T00:00:00Z"
    firing = {"state": "Firing", "severity": "warning", "since": "2026-01-01T00:00:00Z", "lastTransition": last,
              "blindTold": True, "told": [{"recipient": "chat", "transition": last}]}  # fmt: skip
    body = {"kind": "BacklogAlert", "spec": LOUD.to_object(), "status": blind("True").to_object() | firing}
    metadata = {"namespace": "voice", "name": "late", "generation": 1}
    voices.body = Resource.model_validate(body | {"metadata": metadata | {"uid": "1"}})
    await reconciler.reconcile()
    assert voices.told == []
    voices.body = Resource.model_validate(body | {"status": {}, "metadata": metadata | {"uid": "2"}}) if again else None
    await reconciler.reconcile()
    assert sorted(voices.told) == [
        ("chat", "LitevoiceBacklog", "resolved"),
        ("chat", "LitevoiceBacklogBlind", "resolved"),
    ]


async def test_a_number_that_nobody_watches_any_more_is_shown_no_more() -> None:
    def shown() -> float | None:
        labels = {"namespace": "voice", "gateway": "demo", "target": "replies"}
        return REGISTRY.get_sample_value("litevoice_backlog_messages", labels)

    voices, measured = Voices(), backlogs(SlowBroker(0.0))
    voices.shared.views["voice", "demo"] = SimpleNamespace(backlogs=measured, problem=None, names=NAMES)
    body = {"kind": "BacklogAlert", "spec": SPEC.to_object()}
    reconcilers = []
    for name in ("one", "two"):
        metadata = {"namespace": "voice", "name": name, "uid": name, "generation": 1}
        voices.body = Resource.model_validate(body | {"metadata": metadata})
        reconcilers.append(AlertReconciler(voices.shared, cast(Any, None), ("voice", name)))
        await reconcilers[-1].reconcile()
    await reconcilers[0].close()
    assert shown() == 3.0
    voices.body = Resource.model_validate(
        body | {"spec": {**SPEC.to_object(), "gatewayRef": {"name": "other"}}, "metadata": metadata}
    )
    await reconcilers[1].reconcile()
    assert shown() is None


def firing_alert(**changes: Any) -> dict[str, Any]:
    last = "Firing warning 2026-01-01T00:00:00Z"
    status = {"state": "Firing", "severity": "warning", "since": "2026-01-01T00:00:00Z", "lastTransition": last,
              "told": [{"recipient": "chat", "transition": last}]}  # fmt: skip
    spec = {**LOUD.to_object(), "keepFiringForSeconds": 600, **changes}
    metadata = {"namespace": "voice", "name": "late", "uid": "1", "generation": 1}
    return {"kind": "BacklogAlert", "metadata": metadata, "spec": spec, "status": status}


async def test_an_alert_that_is_made_to_watch_something_else_begins_anew() -> None:
    voices, measured = Voices(), backlogs(SlowBroker(0.0))
    for name in ("demo", "other"):
        voices.shared.views["voice", name] = SimpleNamespace(backlogs=measured, problem=None, names=NAMES)
    reconciler = AlertReconciler(voices.shared, cast(Any, None), KEY)
    voices.body = Resource.model_validate(firing_alert())
    await reconciler.reconcile()
    assert (reconciler._status.state, voices.told) == ("Firing", []), "it clears"
    voices.body = Resource.model_validate(firing_alert(gatewayRef={"name": "other"}))
    await reconciler.reconcile()
    assert (reconciler._status.state, voices.told) == ("Inactive", [("chat", "LitevoiceBacklog", "resolved")])
    measured.forget()


async def test_what_was_below_before_nothing_was_seen_is_to_be_seen_below_again() -> None:
    voices, measured = Voices(), backlogs(SlowBroker(0.0))
    view = SimpleNamespace(backlogs=measured, problem=None, names=NAMES)
    voices.shared.views["voice", "demo"] = view
    reconciler = AlertReconciler(voices.shared, cast(Any, None), KEY)
    voices.body = Resource.model_validate(firing_alert())
    await reconciler.reconcile()
    assert (reconciler._state is not None, reconciler._status.clearing_since is not None) == (True, True)
    view.problem = Problem("BrokerUnavailable", "no broker", lasting=False)
    await reconciler.reconcile()
    assert reconciler._state is not None
    assert (reconciler._state.clearing_since, reconciler._status.clearing_since) == (None, None)
    measured.forget()


# Who holds a session


class Pods(PodCache):
    def addresses(self, *_: object) -> dict[str, str]:
        return {"gateway-0": "10.0.0.1", "gateway-1": "10.0.0.2"}


@pytest.mark.parametrize(
    ("description", "listed", "holder", "silent", "expected"),
    [
        ("who is listed has it", "gateway-0", "gateway-0", "", ("Held", "gateway-0")),
        ("who is listed has left it to another", "gateway-0", "gateway-1", "", ("Held", "gateway-1")),
        ("who is listed does not know it, nor does any other", "gateway-0", "", "", ("Orphaned", "")),
        ("who is listed is frozen", "gateway-0", "", "gateway-0", ("Unknown", "gateway-0")),
        ("who is listed is gone", "gateway-9", "", "", ("Orphaned", "")),
        ("who is listed is gone, and another one has it", "gateway-9", "gateway-1", "", ("Held", "gateway-1")),
        ("nobody is listed, and one is silent", "", "", "gateway-1", ("Unknown", "")),
    ],
)
async def test_who_holds_a_session_is_known_or_not(
    description: str, listed: str, holder: str, silent: str, expected: tuple[str, str]
) -> None:
    async def owners(*_: object) -> dict[str, str]:
        return {"s_1": listed}

    async def asked(addresses: dict[str, str], *_: object) -> Holder:
        if holder in addresses:
            return Holder(holder, session("s_1", 1, 1.0), all_answered=True)
        return Holder("", None, all_answered=silent not in addresses)

    gateways, broker = cast(Any, SimpleNamespace(session=asked)), cast(Any, SimpleNamespace(owners=owners))
    (found,) = await Backlogs(KEY, broker, gateways, Pods(), "").locate(NAMES, [Load("s_1", 1, 1)])
    assert (found.owner, found.pod) == expected, description


@pytest.mark.parametrize(
    ("description", "changes", "unseen"),
    [
        ("it is frozen, and not ready any more for that", {}, True),
        ("it ends", {"terminating": True}, False),
        ("its container has ended", {"trouble": "CrashLoopBackOff"}, False),
    ],
)
async def test_a_gateway_that_is_not_ready_and_does_not_answer_makes_no_turn_better(
    description: str, changes: dict[str, Any], unseen: bool
) -> None:
    async def sessions(*_: object) -> dict[str, list[SessionInfo]]:
        return {}

    pods = PodCache()
    pods.put(replace(pod("gateway-0", "gateway", "10.0.0.1"), ready=False, **changes))
    measured = Backlogs(KEY, cast(Any, None), cast(Any, SimpleNamespace(sessions=sessions)), pods, "")
    assert bool((await measured.look(NAMES, "Turns")).unseen) == unseen, description


@pytest.mark.parametrize(("state", "draining"), [("none", False), ("draining", True), ("drained", False)])
def test_sessions_move_from_when_a_gateway_is_told_to_drain_until_it_is_empty(
    state: Literal["none", "draining", "drained"], draining: bool
) -> None:
    told = GatewayStatus("g", True, "", 3, 100, 0, 0, DrainReport(state))
    assert backlogs(SlowBroker(0.0), gateway=told).draining == draining
