"""When an alert measures again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from litevoice_contracts.names import Names
from litevoice_operator.api.backlog_alert import BacklogAlertSpec
from litevoice_operator.api.resource import Resource
from litevoice_operator.observe.backlogs import Waiting
from litevoice_operator.reconcile.backlog_alert import POLL_SECONDS, AlertReconciler
from litevoice_operator.reconcile.backlogs import SHARED_FACTOR, SHARED_SECONDS, Backlogs, Walks
from litevoice_operator.reconcile.pod_cache import PodCache

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

    async def replies(self, _: Names) -> tuple[int, list[Waiting]]:
        self.walks += 1
        await asyncio.sleep(self.seconds)
        return 3, [Waiting("s_1", 3, 1.0)]

    async def owners(self, *_: object) -> dict[str, str]:
        return {}


def backlogs(broker: SlowBroker) -> Backlogs:
    nothing = cast(Any, None)
    return Backlogs(KEY, cast(Any, broker), nothing, PodCache(), "")


async def test_a_measurement_is_shared_for_longer_the_longer_it_took() -> None:
    for seconds in (0.0, 0.15):
        broker = SlowBroker(seconds)
        shared = backlogs(broker)
        assert shared.fresh_in("Replies") == 0.0
        await shared.look(NAMES, "Replies")
        await shared.look(NAMES, "Replies")
        assert broker.walks == 1
        at_least = max(SHARED_SECONDS, SHARED_FACTOR * seconds)
        assert at_least - 0.5 < shared.fresh_in("Replies")
        assert shared.fresh_in("Requests") == 0.0


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
    assert (two.fresh_in("Replies") > SHARED_FACTOR * 0.28) == shares, description
    one.forget()
    assert walks.took(("voice", "two"), second, 1.0) == 1.0, "who is gone takes nothing"


@pytest.mark.parametrize("seconds", [0.0, 0.3])
async def test_an_alert_measures_again_when_there_is_something_new_and_not_before(seconds: float) -> None:
    async def written(*_: object) -> None: ...

    notifier = SimpleNamespace(
        channels=(), put=lambda *_: None, webhooks=list, alertmanagers=list, under_way=lambda *_: []
    )
    outbox = SimpleNamespace(under_way=lambda _: False)
    resources = SimpleNamespace(write_status=written)
    shared = SimpleNamespace(resources=resources, outbox=outbox, notifier=notifier, views={}, alerts={})
    reconciler, measured = AlertReconciler(cast(Any, shared), cast(Any, None), KEY), backlogs(SlowBroker(seconds))
    pause_seconds = await reconciler._measure(ALERT, SPEC, measured, NAMES)
    fresh_in = measured.fresh_in("Replies")
    assert pause_seconds == pytest.approx(max(POLL_SECONDS, fresh_in), abs=0.5)
    assert (fresh_in > POLL_SECONDS) == (seconds > 0)
    measured.forget()
