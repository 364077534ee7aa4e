"""How many gateways, and which one goes: tables of cases."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus
from litevoice_operator.api.scaling import Autoscaling
from litevoice_operator.decide.scale import (
    Load,
    Size,
    Wish,
    asked_for,
    loads,
    scaled_event,
    scaling_finding,
    size,
    victims,
)
from litevoice_operator.observe.pods import DELETION_COST, read_pod

NOW = 10_000.0


def autoscaling(**more: Any) -> Autoscaling:
    return Autoscaling.model_validate({"minReplicas": 2, "maxReplicas": 10, "sessionsPerPod": 100, **more})


ASKED: list[tuple[str, int, dict[str, Any], int]] = [
    ("nobody", 0, {}, 0),
    ("room of 20 %", 100, {}, 2),
    ("exactly full with its room", 500, {"bufferPercent": 20}, 6),
    ("one more", 501, {"bufferPercent": 20}, 7),
    ("the example", 950, {"bufferPercent": 10}, 11),
    ("no room", 400, {"bufferPercent": 0}, 4),
    ("room for so many", 400, {"buffer": 150}, 6),
    ("room for nobody's successors", 0, {"buffer": 150}, 2),
]


@pytest.mark.parametrize(("description", "sessions", "more", "gateways"), ASKED, ids=[row[0] for row in ASKED])
def test_what_sessions_ask_for(description: str, sessions: int, more: dict[str, Any], gateways: int) -> None:
    assert asked_for(sessions, autoscaling(**more)) == gateways


def fleet(*sessions: int | None, **more: Any) -> list[Load]:
    return [Load(f"g-{number}", sessions=held, **more) for number, held in enumerate(sessions)]


LONG_AGO, JUST_NOW = (Wish(NOW - 301, 9),), (Wish(NOW - 100, 4),)
SIZES: list[tuple[str, dict[str, Any], int, list[Load], tuple[Wish, ...], int, str]] = [
    ("a new fleet", {}, 0, [], (), 2, ""),
    ("as many as are needed", {}, 3, fleet(80, 80, 80), (), 3, ""),
    ("up at once", {}, 2, fleet(100, 100), (), 3, ""),
    ("up by what is known, though somebody is silent", {}, 2, fleet(200, None), (), 3, ""),
    ("up beyond the bound", {}, 9, fleet(*[100] * 9), (), 10, "AtMaximum"),
    ("at the bound, and it is enough", {"maxReplicas": 3}, 3, fleet(80, 80, 80), (), 3, ""),
    ("at the bound, and it is not", {"maxReplicas": 3}, 3, fleet(100, 100, 100), (), 3, "AtMaximum"),
    ("down, long enough after", {}, 4, fleet(50, 50, 50, 50), LONG_AGO, 3, ""),
    ("down not yet", {}, 4, fleet(50, 50, 50, 50), JUST_NOW, 4, "Stabilizing"),
    ("down to what was needed lately", {}, 6, fleet(*[30] * 6), JUST_NOW, 4, ""),
    ("down to the least", {}, 4, fleet(1, 0, 0, 0), (), 2, "AtMinimum"),
    ("nobody left, and that is the least", {"minReplicas": 1}, 2, fleet(0, 0), (), 1, "AtMinimum"),
    ("not down while one of four is silent", {}, 4, fleet(50, 50, 50, None), LONG_AGO, 4, "PodsSilent"),
    ("not down while 2 of 39 are silent", {"maxReplicas": 50}, 39, fleet(*[10] * 37, None, None), (), 39, "PodsSilent"),
    ("down while 1 of 40 is silent", {"maxReplicas": 50}, 40, fleet(*[10] * 39, None), (), 5, ""),
    ("not down while one starts", {}, 4, [*fleet(50, 50, 50), Load("new", ready=False, sessions=None, starting=True)],
     LONG_AGO, 4, "Starting"),
    ("not down while one is away", {}, 4, fleet(50, 50, 50), LONG_AGO, 4, "Starting"),
    ("one that ends is not one that starts", {}, 3,
     [*fleet(30, 30, 30), Load("old", ready=False, sessions=5, ending=True)], (), 2, ""),
    ("one that drains is not one that starts", {}, 4, [*fleet(50, 50, 50), Load("old", ready=False, draining=True)],
     LONG_AGO, 2, ""),
    ("nor is it silent when it misses an answer", {}, 4,
     [*fleet(50, 50, 50), Load("old", ready=False, sessions=None, draining=True)], LONG_AGO, 2, ""),
    ("the bound was lowered", {"maxReplicas": 3}, 5, fleet(*[90] * 5), (), 3, "AtMaximum"),
    ("the bound was lowered, whoever is silent", {"maxReplicas": 3}, 5, fleet(90, 1, 1, 1, None), (), 3, "AtMaximum"),
    ("the least was raised", {"minReplicas": 5}, 2, fleet(1, 1), (), 5, ""),
    ("no window", {"scaleDown": {"stabilizationSeconds": 0}}, 4, fleet(60, 60, 60, 0), JUST_NOW, 3, ""),
]  # fmt: skip


@pytest.mark.parametrize(("description", "more", "current", "pods", "wishes", "replicas", "limit"), SIZES,
                         ids=[row[0] for row in SIZES])  # fmt: skip
def test_size(
    description: str, more: dict[str, Any], current: int, pods: list[Load], wishes: tuple[Wish, ...], replicas: int,
    limit: str,
) -> None:  # fmt: skip
    found = size(autoscaling(**more), current, pods, wishes, NOW)
    assert (found.replicas, found.limited.reason if found.limited else "") == (replicas, limit)
    finding = scaling_finding(found)
    assert (finding.status, finding.reason) == (("True", limit) if limit else ("False", "AsSessionsAsk"))


def test_how_long_it_waits() -> None:
    found = size(autoscaling(), 4, fleet(50, 50, 50, 50), JUST_NOW, NOW)
    assert found.wait_seconds == pytest.approx(200)
    assert "4 gateways were needed 100 s ago" in scaling_finding(found).message
    later = size(autoscaling(), 4, fleet(50, 50, 50, 50), found.wishes, NOW + 200)
    assert (later.replicas, later.limited) == (3, None)


def test_wishes_stay_few() -> None:
    """One per look would be 300 with a window of 5 minutes; a higher or later one makes an earlier one needless."""
    wishes: tuple[Wish, ...] = ()
    chance = random.Random(5)
    for second in range(2000):
        load = fleet(*[chance.randrange(100) for _ in range(6)])
        wishes = size(autoscaling(), 6, load, wishes, NOW + second).wishes
        assert len(wishes) <= autoscaling().max_replicas


def test_a_load_that_swings_scales_down_once() -> None:
    """Up and down every minute: the fleet stays as large as the peaks need, and follows when they are over."""
    seen: list[int] = []
    replicas, wishes = 2, size(autoscaling(), 2, [], (), NOW).wishes
    for step in range(120):
        now = NOW + 10 * step
        sessions = 500 if step < 60 and step % 12 < 6 else 60
        found = size(autoscaling(), replicas, fleet(*[sessions // replicas] * replicas), wishes, now)
        replicas, wishes = found.replicas, found.wishes
        seen.append(replicas)
    assert seen[0] == 6
    assert set(seen[:60]) == {6}
    assert seen[-1] == 2
    assert sorted(seen, reverse=True) == seen


VICTIMS: list[tuple[str, list[Load], list[str]]] = [
    ("fewest in a turn", [Load("a", sessions=9, in_turn=1), Load("b", sessions=3, in_turn=2)], ["a", "b"]),
    ("then fewest sessions", [Load("a", sessions=9, in_turn=1), Load("b", sessions=3, in_turn=1)], ["b", "a"]),
    ("then by name", [Load("b"), Load("a")], ["a", "b"]),
    ("a cordoned node first", [Load("a"), Load("b", sessions=50, in_turn=9, cordoned=True)], ["b", "a"]),
    ("one that drains already, before all", [Load("a", cordoned=True), Load("b", sessions=90, draining=True)],
     ["b", "a"]),
    ("the silent last", [Load("a", sessions=None), Load("b", sessions=90, in_turn=9)], ["b", "a"]),
    ("one that never ran is not silent", [Load("a", sessions=None, ready=False, starting=True), Load("b", sessions=1)],
     ["a", "b"]),
    ("silent on a cordoned node: still last", [Load("a", sessions=None, cordoned=True), Load("b", sessions=5)],
     ["b", "a"]),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "order"), VICTIMS, ids=[row[0] for row in VICTIMS])
def test_victims(description: str, pods: list[Load], order: list[str]) -> None:
    assert victims(pods, 2) == order
    assert victims(list(reversed(pods)), 1) == order[:1]
    assert victims(pods, 0) == victims(pods, -1) == []


def test_loads_of_what_was_seen() -> None:
    def pod(name: str, component: str = "gateway", node: str = "n", **metadata: Any) -> Any:
        labels = {"app.kubernetes.io/component": component}
        running: list[Any] = [{"state": {"running": {}}}]
        return read_pod(
            {
                "metadata": {"name": name, "labels": labels, **metadata},
                "spec": {"nodeName": node, "terminationGracePeriodSeconds": 90 if name == "a" else None},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
                    "containerStatuses": running,
                },
            }
        )

    def answer(sessions: int, state: Any = "none") -> GatewayStatus:
        return GatewayStatus("", True, "", sessions, 100, 0, 0, DrainReport(state=state))

    pods = [
        pod("a", annotations={DELETION_COST: "-1"}),
        pod("b", annotations={DELETION_COST: "1"}),
        pod("c", deletionTimestamp="2026-01-01T00:00:00Z"), pod("d"), pod("e", node=""),
        pod("f"), pod("w", "worker"),
    ]  # fmt: skip
    found = loads(
        pods,
        {
            "a": msgspec.structs.replace(answer(3), in_turn=1, drain_rate_per_second=50),
            "b": answer(4, "draining"),
            "c": answer(5, "drained"),
        },
        {"f"},
    )
    assert found == [
        Load("a", sessions=3, in_turn=1, marked=True, max_sessions=100, grace_seconds=90, drain_rate=50),
        Load("b", sessions=4, draining=True, max_sessions=100),
        Load("c", sessions=5, ending=True, draining=True, empty=True, max_sessions=100),
        Load("d", sessions=None),
        Load("e", sessions=None, starting=True),
        Load("f", sessions=None, draining=True),
    ]


def test_what_is_told() -> None:
    assert scaled_event(0, Size(2, ())) is None
    assert scaled_event(2, Size(2, (), sessions=9)) is None
    up, down = scaled_event(2, Size(3, (), sessions=250)), scaled_event(3, Size(2, (), sessions=10))
    assert up is not None
    assert down is not None
    assert (up.reason, up.message) == ("ScaledUp", "from 2 to 3 gateways for 250 sessions")
    assert (down.reason, down.message) == ("ScaledDown", "from 3 to 2 gateways for 10 sessions")
    assert scaling_finding(None).reason == "ScaledByOthers"
