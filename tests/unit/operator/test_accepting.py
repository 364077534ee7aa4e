"""Which gateways get new clients: a table of cases, and what holds for every fleet."""

from __future__ import annotations

import random
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus
from litevoice_operator.api.labels import ACCEPTING_LABEL, REVISION_LABEL
from litevoice_operator.decide.accepting import accepting
from litevoice_operator.decide.scale import Load, loads
from litevoice_operator.observe.pods import read_pod


def pod(name: str, sessions: int | None = 0, accepts: bool | None = True, **more: Any) -> Load:
    return Load(name, sessions=sessions, max_sessions=0 if sessions is None else 100, accepting=accepts, **more)


def leaving(name: str, accepts: bool | None = True, **more: Any) -> Load:
    return pod(name, 5, accepts, draining=True, **{"ready": False, **more})


STARTING = pod("new", None, True, ready=False, starting=True)
Row = tuple[str, list[Load], set[str] | None, dict[str, bool]]
CASES: list[Row] = [
    ("nobody", [], None, {}),
    ("everybody has room", [pod("a"), pod("b", 89)], set(), {}),
    ("nearly full", [pod("a"), pod("b", 90)], set(), {"b": False}),
    ("still more than room again", [pod("a"), pod("b", 75, False)], {"b"}, {}),
    ("room again", [pod("a"), pod("b", 74, False)], {"b"}, {"b": True}),
    ("a new operator reads the labels", [pod("a"), pod("b", 80, False)], None, {}),
    ("one that was never nearly full", [pod("a"), pod("b", 80)], None, {}),
    ("all are nearly full: all stay", [pod("a", 95), pod("b", 100)], set(), {}),
    ("the last one becomes nearly full: all are routed", [pod("a", 90), pod("b", 99, False)], {"b"}, {"b": True}),
    ("one alone", [pod("a", 100)], set(), {}),
    ("a new one has room for those of the full ones", [pod("a", 95), pod("new", 0)], {"a"}, {"a": False}),
    ("it has room, but is not ready", [pod("a", 95), pod("new", 0, ready=False)], {"a"}, {}),
    ("it starts", [pod("a", 95), STARTING], {"a"}, {}),
    ("it is silent: nobody knows whether it has room", [pod("a", 95), pod("b", None)], {"a"}, {}),
    ("a drain begins", [pod("a"), leaving("b")], set(), {"b": False}),
    ("its readiness has not followed yet", [pod("a"), leaving("b", ready=True)], set(), {"b": False}),
    ("it is taken back, more than half full", [pod("a"), pod("b", 80, False)], set(), {"b": True}),
    ("the others are full: the one that drains goes nevertheless", [pod("a", 95), leaving("b")], set(), {"b": False}),
    ("all drain: whoever takes one back need not wait for the operator", [leaving("a"), leaving("b")], set(), {}),
    ("the last one drains", [leaving("a", False)], set(), {"a": True}),
    ("silence changes nothing", [pod("a"), pod("b", None, False)], set(), {}),
    ("but when only silent ones are left", [leaving("a"), pod("b", None, False)], set(), {"a": False, "b": True}),
    ("pods of an older release have no label", [pod("a", 5, None), pod("b", None, None)], None, {"a": True, "b": True}),
    ("and one of them drains", [pod("a", 5, None), leaving("b", None)], None, {"a": True, "b": False}),
    ("who ends is left alone", [pod("a"), leaving("b", ending=True)], set(), {}),
    ("a rollout: the new one gets the clients", [pod("a", 5, outdated=True), pod("new")], set(), {"a": False}),
    ("not before it is ready", [pod("a", 5, outdated=True), pod("new", ready=False)], set(), {}),
    ("nor when it is nearly full", [pod("a", 5, False, outdated=True), pod("new", 90)], set(),
     {"a": True, "new": False}),
    ("a cordoned node", [pod("a", 5, cordoned=True), pod("b")], set(), {"a": False}),
    ("fewer are enough: who goes next gets none of those that leave another one",
     [pod("a", 5), leaving("b", False, marked=True), pod("c", 9, marked=True)], set(), {"c": False}),
    ("who stays has no room", [pod("a", 95, False), pod("c", 9, marked=True)], {"a"}, {}),
    ("it is needed after all", [pod("a", 5), pod("c", 9, False)], set(), {"c": True}),
    ("only old ones are left", [pod("a", 5, False, outdated=True)], set(), {"a": True}),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "nearly_full", "changes"), CASES, ids=[row[0] for row in CASES])
def test_changes(description: str, pods: list[Load], nearly_full: set[str] | None, changes: dict[str, bool]) -> None:
    assert accepting(pods, nearly_full).changes == changes


def test_who_holds_far_more_than_the_others_gets_no_new_clients_while_they_have_room() -> None:
    assert accepting([pod("a", 60), pod("b", 10)], set(), {"a"}).changes == {"a": False}
    assert accepting([pod("a", 60, False), pod("b", 95)], set(), {"a"}).changes == {"a": True}
    after = accepting([pod("a", 20, False), pod("b", 15)], set(), {})
    assert (after.changes, after.nearly_full) == ({"a": True}, frozenset())


def test_who_is_nearly_full_is_remembered_through_silence() -> None:
    first = accepting([pod("a"), pod("b", 92)], None)
    silent = accepting([pod("a"), pod("b", None, False)], first.nearly_full)
    later = accepting([pod("a"), pod("b", 80, False)], silent.nearly_full)
    assert {first.nearly_full, silent.nearly_full, later.nearly_full} == {frozenset({"b"})}
    assert accepting([pod("a")], later.nearly_full).nearly_full == set(), "a pod that is gone is forgotten"


SELECTORS: list[tuple[str, list[Load], bool]] = [
    ("a new fleet", [], True),
    ("all have the label", [pod("a"), pod("b", 95, False)], True),
    ("one of an older release", [pod("a"), pod("b", 3, None)], False),
    ("one of an older release ends", [pod("a"), pod("b", 3, None, ending=True)], True),
    ("none would be left", [pod("a", 3, False), pod("b", 3, False)], False),
]


@pytest.mark.parametrize(("description", "pods", "by_label"), SELECTORS, ids=[row[0] for row in SELECTORS])
def test_when_the_service_may_select_by_it(description: str, pods: list[Load], by_label: bool) -> None:
    assert accepting(pods, None).by_label is by_label


def test_no_fleet_is_ever_without_a_route() -> None:
    """Whatever the pods hold, say or do not say: one that is ready and stays is routed if there is any."""
    chance = random.Random(13)
    nearly_full: frozenset[str] | None = None
    for _ in range(5_000):
        fleet = [
            pod(
                f"g-{number}",
                sessions := chance.choice((None, 0, 60, 80, 95, 100)),
                chance.choice((True, True, False, None)),
                ready=chance.random() < 0.7,
                draining=sessions is not None and chance.random() < 0.3,
                ending=chance.random() < 0.1,
                outdated=chance.random() < 0.4,
                marked=chance.random() < 0.3,
            )
            for number in range(chance.randrange(1, 5))
        ]
        decided = accepting(fleet, nearly_full)
        staying = [one for one in fleet if not one.ending]
        routed = [one for one in staying if decided.changes.get(one.name, one.accepting)]
        assert bool(routed) == bool(staying)
        reachable = [one for one in staying if one.ready and not one.draining]
        assert not reachable or any(one.ready for one in routed)
        again = accepting(
            [pod(one.name, one.sessions, one in routed, ready=one.ready, draining=one.draining,
                 outdated=one.outdated, marked=one.marked)
             for one in staying],
            decided.nearly_full,
        )  # fmt: skip
        assert again.changes == {}, "it is settled at once"
        nearly_full = chance.choice((decided.nearly_full, None))


def test_what_pods_tell() -> None:
    def seen(label: str | None, revision: str) -> Load:
        labels = {"app.kubernetes.io/component": "gateway", REVISION_LABEL: revision}
        labels |= {ACCEPTING_LABEL: label} if label else {}
        answer = GatewayStatus("a", True, "", 3, 40, 0, 0, DrainReport())
        (load,) = loads([read_pod({"metadata": {"name": "a", "labels": labels}})], {"a": answer}, newest="new")
        return load

    new, old = seen("true", "new"), seen("false", "old")
    assert (new.accepting, new.outdated, new.max_sessions) == (True, False, 40)
    assert (old.accepting, old.outdated) == (False, True)
    assert seen(None, "new").accepting is seen("maybe", "new").accepting is None
    (unknown,) = loads([read_pod({"metadata": {"labels": {"app.kubernetes.io/component": "gateway"}}})], {})
    assert not unknown.outdated, "as long as nobody says what is current"


def rollout_moves(sessions: int, gateways: int, room: int, *, by_label: bool) -> float:
    """Moves per session while pods are replaced one by one, each once a new one is ready. Those that come back go to
    any gateway that the Service selects."""
    chance = random.Random(2)
    at = [f"old-{number % gateways}" for number in range(sessions)]
    fleet = {f"old-{number}": True for number in range(gateways)}  # name: outdated
    labels: dict[str, bool] = dict.fromkeys(fleet, True)
    nearly_full: frozenset[str] = frozenset()
    moves = 0

    def pods(draining: str = "") -> list[Load]:
        return [
            Load(name, sessions=at.count(name), max_sessions=room, accepting=labels[name], outdated=outdated,
                 draining=name == draining, ready=name != draining)
            for name, outdated in fleet.items()
        ]  # fmt: skip

    for number in range(gateways):
        fleet[f"new-{number}"], labels[f"new-{number}"] = False, True
        leaves = f"old-{number}"
        for session in [session for session, name in enumerate(at) if name == leaves]:
            decided = accepting(pods(leaves), nearly_full)
            labels, nearly_full = {**labels, **decided.changes}, decided.nearly_full
            routed = [name for name in fleet if name != leaves and (labels[name] or not by_label)]
            at[session] = chance.choice(routed)
            moves += 1
        del fleet[leaves], labels[leaves]
    assert all(name.startswith("new-") for name in at)
    return moves / sessions


def test_a_rollout_moves_each_session_once() -> None:
    """Case O2: four gateways, 40 sessions. Without the label a session meets old gateways again."""
    assert rollout_moves(40, 4, 100, by_label=False) > 1.3
    assert rollout_moves(40, 4, 100, by_label=True) == 1.0


def test_a_rollout_of_a_fleet_with_little_room_still_moves_most_of_them_once() -> None:
    """75 of 100 everywhere: who was moved to a new gateway until it is nearly full finds an old one then."""
    assert rollout_moves(300, 4, 100, by_label=True) < 1.3 < rollout_moves(300, 4, 100, by_label=False)
