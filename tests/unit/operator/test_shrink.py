"""How a fleet becomes smaller, step by step: a table of cases, and whole stories with a ReplicaSet that does what the
real one does."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport
from litevoice_operator.api.voice_gateway_status import LastDrain
from litevoice_operator.decide.rollout import Batch, rollout
from litevoice_operator.decide.scale import Load
from litevoice_operator.decide.shrink import (
    Mark,
    Sets,
    Shrink,
    drained_event,
    draining_event,
    forced_events,
    shrink,
    taken_back_event,
)

NOW, LIMIT, ROOM = 10_000.0, 90.0, 30


def shrunk(pods: list[Load], current: int, wanted: int, asked: dict[str, float] | None = None) -> Shrink:
    """A fleet of one revision, of which nothing is replaced."""
    return shrink(pods, Sets({"": current}, ""), Batch((), wanted), current, wanted, asked or {}, LIMIT, NOW)


def going(name: str, sessions: int | None = 3, **more: Any) -> Load:
    """It was chosen and told."""
    return Load(name, ready=False, sessions=sessions, marked=True, draining=True, **more)


def empty(name: str) -> Load:
    return going(name, 0, empty=True)


MARKED = Load("b", sessions=3, marked=True)
STARTING = Load("new", ready=False, sessions=None, starting=True)
Row = tuple[str, list[Load], int, int, int, dict[str, Any]]
STEPS: list[Row] = [
    ("as many as before", [Load("a"), Load("b")], 2, 2, 2, {}),
    ("more", [Load("a"), Load("b")], 2, 3, 3, {}),
    ("one fewer: the cheapest is marked first", [Load("a", sessions=5), Load("b", sessions=3)], 2, 1, 2,
     {"marks": [("b", True)]}),
    ("the mark is there: it is told", [Load("a", sessions=5), MARKED], 2, 1, 2, {"drain": ["b"]}),
    ("a choice stands", [Load("a", sessions=0), MARKED], 2, 1, 2, {"drain": ["b"]}),
    ("it empties itself", [Load("a", sessions=5), going("b")], 2, 1, 2, {}),
    ("and misses an answer", [Load("a", sessions=5), going("b", None)], 2, 1, 2, {}),
    ("it is empty: now", [Load("a", sessions=5), empty("b")], 2, 1, 1, {"gone": ["b"]}),
    ("the ReplicaSet has not removed it yet", [Load("a", sessions=5), empty("b")], 1, 1, 1, {}),
    ("it has", [Load("a", sessions=5), replace(empty("b"), ending=True)], 1, 1, 1, {}),
    ("one of two is empty: it cannot be told from the other", [Load("a"), going("b"), empty("c")], 3, 1, 3, {}),
    ("both are empty", [Load("a"), empty("b"), empty("c")], 3, 1, 1, {"gone": ["b", "c"]}),
    ("one is empty, one was not told yet", [Load("a"), MARKED, empty("c")], 3, 1, 2, {"gone": ["c"]}),
    ("it is told when the other one is gone", [Load("a"), MARKED, empty("c")], 2, 1, 2, {}),
    ("one is empty, one stays after all, and is not ready", [Load("a"), replace(MARKED, ready=False), empty("c")], 3, 2,
     3, {"marks": [("b", False)]}),
    ("unless it fell silent before it was told", [Load("a", sessions=2), replace(MARKED, sessions=None)], 2, 1, 2,
     {"marks": [("a", True), ("b", False)]}),
    ("the load returned before it was told", [Load("a", sessions=5), MARKED], 2, 2, 2, {"marks": [("b", False)]}),
    ("the load returned", [Load("a", sessions=5), going("b")], 2, 2, 2, {"take_back": ["b"]}),
    ("the load returned though it is empty", [Load("a", sessions=5), empty("b")], 2, 4, 4, {"take_back": ["b"]}),
    ("the load returned, and the ReplicaSet has not removed any yet", [Load("a"), empty("b"), empty("c")], 1, 2, 2, {}),
    ("the costlier of two is taken back", [Load("a", sessions=9), going("b", 8), going("c", 2)], 3, 2, 3,
     {"take_back": ["b"]}),
    ("one that somebody drained goes first", [Load("a", sessions=0), Load("b", sessions=9, draining=True)], 2, 1, 2,
     {"marks": [("b", True)]}),
    ("one that somebody drained is not taken back", [Load("a"), Load("b", ready=False, draining=True)], 2, 2, 2, {}),
    ("one that never ran holds none", [Load("a", sessions=1), replace(STARTING, marked=True)], 2, 1, 1,
     {"gone": ["new"]}),
    ("what ends is no replica", [Load("a"), Load("b", sessions=3), Load("old", ending=True)], 2, 1, 2,
     {"marks": [("a", True)]}),
    ("pods that do not exist yet need not go", [Load("a", sessions=5)], 3, 1, 1, {}),
    ("nobody is left", [MARKED], 1, 0, 1, {"drain": ["b"]}),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "current", "wanted", "replicas", "done"), STEPS,
                         ids=[row[0] for row in STEPS])  # fmt: skip
def test_steps(
    description: str, pods: list[Load], current: int, wanted: int, replicas: int, done: dict[str, Any]
) -> None:
    step = shrunk(pods, current, wanted, {"b": NOW - 1})
    assert step.replicas == {"": replicas}
    assert step.marks == tuple(Mark(*mark) for mark in done.get("marks", []))
    for what in ("drain", "take_back", "gone"):
        assert list(getattr(step, what)) == done.get(what, []), what
    assert (step.waits is None) == (step.desired <= wanted)


def test_nobody_is_waited_for_for_ever() -> None:
    pods = [Load("a", sessions=5), going("b", None)]
    assert shrunk(pods, 2, 1, {"b": NOW - LIMIT + 1}).replicas == {"": 2}
    over = shrunk(pods, 2, 1, {"b": NOW - LIMIT})
    assert (over.replicas, over.desired, over.gone) == ({"": 1}, 1, ("b",))


def test_who_was_started_with_more_time_has_it() -> None:
    """A lowered drain.timeoutSeconds replaces all gateways: those that go still have the former one."""
    pods = [Load("a", sessions=5), going("b", 9, grace_seconds=1830)]
    assert shrunk(pods, 2, 1, {"b": NOW - 1829}).gone == ()
    assert shrunk(pods, 2, 1, {"b": NOW - 1830}).gone == ("b",)


def of(revision: str, *pods: Load, outdated: bool = True) -> list[Load]:
    return [replace(pod, revision=revision, outdated=outdated, max_sessions=ROOM) for pod in pods]


Replaced = tuple[str, list[Load], dict[str, int], Batch, dict[str, int], dict[str, Any]]
NEW = of("new", Load("x", sessions=4), outdated=False)
ON_CORDONED = Load("a", sessions=3, cordoned=True)
REPLACED: list[Replaced] = [
    ("the new revision makes what the batch needs", of("old", Load("a"), Load("b")), {"old": 2}, Batch((), 1),
     {"old": 2, "new": 1}, {}),
    ("who goes is marked first", [*of("old", Load("a"), Load("b")), *NEW], {"old": 2, "new": 1}, Batch(("a",), 1),
     {"old": 2, "new": 1}, {"marks": [("a", True)]}),
    ("then told", [*of("old", MARKED, Load("c")), *NEW], {"old": 2, "new": 1}, Batch(("b",), 1),
     {"old": 2, "new": 1}, {"drain": ["b"]}),
    ("then empty, and only its own set falls", [*of("old", empty("b"), Load("c")), *NEW], {"old": 2, "new": 1},
     Batch(("b",), 1), {"old": 1, "new": 1}, {"gone": ["b"]}),
    ("another one of its set drains", [*of("old", empty("b"), going("c")), *NEW], {"old": 2, "new": 1},
     Batch(("b", "c"), 1), {"old": 2, "new": 1}, {}),
    ("what died of an old set does not come back", [*of("old", Load("a")), *NEW], {"old": 2, "new": 1}, Batch((), 1),
     {"old": 1, "new": 1}, {}),
    ("the rollout is taken back", [*of("old", going("b"), Load("c"), outdated=False),
                                   *of("new", Load("x"), outdated=True)],
     {"old": 2, "new": 1}, Batch((), 2), {"old": 2, "new": 1}, {"take_back": ["b"]}),
    ("a cordoned node: one more first", [ON_CORDONED], {"": 1}, Batch((), 1), {"": 2}, {}),
    ("it stands, and the other one goes", [replace(ON_CORDONED, marked=True), Load("b")], {"": 2}, Batch(("a",), 1),
     {"": 2}, {"drain": ["a"]}),
    ("and is empty", [replace(empty("a"), cordoned=True), Load("b")], {"": 2}, Batch(("a",), 1), {"": 1},
     {"gone": ["a"]}),
    ("while more are needed: first it goes, then they come", [replace(empty("a"), cordoned=True), Load("b")], {"": 2},
     Batch(("a",), 4), {"": 1}, {"gone": ["a"]}),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "sets", "batch", "replicas", "done"), REPLACED,
                         ids=[row[0] for row in REPLACED])  # fmt: skip
def test_steps_while_gateways_are_replaced(
    description: str, pods: list[Load], sets: dict[str, int], batch: Batch, replicas: dict[str, int],
    done: dict[str, Any],
) -> None:  # fmt: skip
    newest = "" if "" in sets else "old" if not pods[0].outdated else "new"
    step = shrink(pods, Sets(sets, newest), batch, 2, 2, {}, LIMIT, NOW)
    assert step.replicas == replicas
    assert step.marks == tuple(Mark(*mark) for mark in done.get("marks", []))
    for what in ("drain", "take_back", "gone"):
        assert list(getattr(step, what)) == done.get(what, []), what
    assert (step.desired, step.waits) == (2, None)


def test_why_it_waits() -> None:
    step = shrunk([Load("a", sessions=9), going("b", 3), going("c", None)], 3, 1)
    assert step.waits is not None
    assert (step.waits.status, step.waits.reason) == ("True", "Draining")
    assert step.waits.message == "1 gateways are enough; 2 more drain first: b (3 sessions), c (silent)"


class Fleet:
    """Pods of several ReplicaSets, each of which removes by its own ranking: not ready before ready, then what costs
    less. Nodes are cordoned, templates change."""

    def __init__(self, chance: random.Random, count: int) -> None:
        self._chance = chance
        self._made = 0
        self.now = 0.0
        self.newest = "r-0"
        self.sets = {self.newest: count}
        self.current = count
        self.asked: dict[str, float] = {}
        self.pods: dict[str, Load] = {}
        self.killed: list[Load] = []
        self._fill(lambda: self._chance.randrange(20))

    def _fill(self, sessions: Callable[[], int] = lambda: 0) -> None:
        for revision, count in self.sets.items():
            for _ in range(count - sum(pod.revision == revision for pod in self.pods.values())):
                self._made += 1
                name = f"g-{self._made}"
                held = sessions()
                self.pods[name] = Load(
                    name, sessions=held, in_turn=min(held, 2), revision=revision, max_sessions=ROOM, ready=held > 0
                )

    def controller(self) -> None:
        self._fill()
        for revision, count in self.sets.items():
            own = [pod for pod in self.pods.values() if pod.revision == revision]
            ranked = sorted(own, key=lambda pod: (pod.ready, not pod.marked, self._chance.random()))
            for pod in ranked[: max(0, len(own) - count)]:
                self.killed.append(self.pods.pop(pod.name))

    def gateways(self) -> None:
        for name, pod in list(self.pods.items()):
            sessions = pod.sessions or 0
            if pod.draining:
                left = self._chance.randrange(sessions + 1)
                self.pods[name] = replace(
                    pod, ready=False, sessions=left, empty=not left, in_turn=min(left, pod.in_turn)
                )
                for _ in range(sessions - left):  # they come back, preferring who stays
                    self._arrive()
            elif not pod.ready:
                self.pods[name] = replace(pod, ready=True)

    def _arrive(self) -> None:
        routed = [pod for pod in self.pods.values() if pod.ready and not pod.draining]
        preferred = [pod for pod in routed if not self._leaves(pod) and (pod.sessions or 0) < ROOM] or routed
        if preferred:
            pod = self._chance.choice(preferred)
            self.pods[pod.name] = replace(pod, sessions=(pod.sessions or 0) + 1)

    def _leaves(self, pod: Load) -> bool:
        return pod.cordoned or pod.revision != self.newest

    def operator(self, wanted: int) -> None:
        """As `reconcile.scaling` does it."""
        seen = [
            replace(pod, outdated=pod.revision != self.newest,
                    sessions=None if self._chance.random() < 0.05 else pod.sessions)
            for pod in self.pods.values()
        ]  # fmt: skip
        batch = rollout(seen, self.sets.get(self.newest, 0), wanted, ROOM)
        step = shrink(seen, Sets(self.sets, self.newest), batch, self.current, wanted, self.asked, LIMIT, self.now)
        for mark in step.marks:
            self.pods[mark.pod] = replace(self.pods[mark.pod], marked=mark.goes_first)
        for name in step.drain:
            self.asked.setdefault(name, self.now)
            self.pods[name] = replace(self.pods[name], draining=True)
        for name in step.take_back:
            self.asked.pop(name, None)
            self.pods[name] = replace(self.pods[name], draining=False, empty=False)
        self.sets, self.current = {**step.replicas}, step.desired


@pytest.mark.parametrize("seed", range(40))
def test_only_what_is_empty_is_ever_removed(seed: int) -> None:
    """Whoever acts first, whatever is wanted meanwhile: no pod with a session is killed, and the fleet arrives. What
    never was ready holds none."""
    chance = random.Random(seed)
    fleet = Fleet(chance, 6)
    wanted = 6
    for _ in range(300):
        fleet.now += 1
        if chance.random() < 0.05:
            wanted = chance.randrange(8)
        if chance.random() < 0.02:
            fleet.newest = f"r-{chance.randrange(3)}"
        if chance.random() < 0.05 and fleet.pods:
            name = chance.choice(sorted(fleet.pods))
            fleet.pods[name] = replace(fleet.pods[name], cordoned=not fleet.pods[name].cordoned)
        for act in chance.sample(["controller", "gateways", "operator"], 3):
            getattr(fleet, act)(*([wanted] if act == "operator" else []))
        assert not any(pod.sessions for pod in fleet.killed)
    for _ in range(400):
        fleet.now += 1
        fleet.operator(max(2, wanted))
        fleet.gateways()
        fleet.controller()
        if fleet.now % 5 == 0:  # calls end
            fleet.pods = {n: replace(p, sessions=max(0, (p.sessions or 0) - 1)) for n, p in fleet.pods.items()}
    assert (fleet.current, len(fleet.pods), fleet.sets[fleet.newest]) == (max(2, wanted),) * 3
    assert not any(pod.draining or pod.marked or fleet._leaves(pod) for pod in fleet.pods.values())


def ended(pod: str, second: int = 9, **counts: int) -> LastDrain:
    return LastDrain(pod=pod, moved=7, finished_at=f"1970-01-01T00:00:{second:02}Z", duration_seconds=2.5, **counts)


@pytest.mark.parametrize(
    ("description", "drains", "recorded", "told", "expected"),
    [
        ("nothing was cut", [ended("g-1", completed=3)], [], (), []),
        ("cut, whoever ended it", [ended("g-1", forced=1)], [], (), [("forced g-1", 9.0)]),
        ("lost", [ended("g-1", lost_packets=1)], [None], (), [("forced g-1", 9.0)]),
        ("in the status already", [ended("g-1", forced=1)], [ended("g-1", forced=1)], (), []),
        ("its container ends again", [ended("g-1", 20, forced=1), ended("g-1", forced=2)], [ended("g-1", forced=2)], (),
         [("forced g-1", 20.0)]),
        ("told of when it was empty", [ended("g-1", forced=1), ended("g-2", forced=1)], [], ("g-1",),
         [("forced g-2", 9.0)]),
    ],
)  # fmt: skip
def test_what_was_cut_is_told_whoever_ended_the_gateway(
    description: str, drains: list[LastDrain], recorded: list[LastDrain | None], told: tuple[str, ...],
    expected: list[tuple[str, float]],
) -> None:  # fmt: skip
    events = forced_events(drains, recorded, told)
    assert [event.once for event in events] == expected, description
    assert {(event.type, event.reason) for event in events} <= {("Warning", "SessionsForced")}


def test_what_is_told() -> None:
    (cut,) = forced_events([ended("g-1", completed=1, forced=1, lost_packets=2)], [], ())
    assert cut.message == "g-1 has ended after a drain of 2.5 s: 7 moved, 1 ended, 1 cut, 2 packets lost"
    report = DrainReport("drained", sessions=12, moved=9, completed=3, duration_seconds=2.34, started_at=7.0)
    told = drained_event("g-1", report)
    assert (told.type, told.reason, told.once) == ("Normal", "Drained", ("drained g-1", 9.34))
    assert told.message == "g-1 is empty after 2.3 s: 9 moved, 3 ended, 0 cut, 0 packets lost"
    for bad in ({"forced": 1}, {"lost_packets": 2}):
        forced = drained_event("g-1", DrainReport("drained", **bad))
        assert (forced.type, forced.reason) == ("Warning", "SessionsForced")
    assert drained_event("g-1", None).reason == "DrainUnanswered"
    assert (
        draining_event("g-1", report, "2 gateways are enough").message
        == "g-1: its 12 sessions go; 2 gateways are enough"
    )
    assert "12 sessions had left it" in taken_back_event("g-1", report).message
