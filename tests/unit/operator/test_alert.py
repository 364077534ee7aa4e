"""The alert's state machine as a timeline: (time, messages, age) → (phase, severity, transition)."""

from __future__ import annotations

import pytest

from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus, BacklogValue, Culprit
from litevoice_operator.api.conditions import BLIND, FIRING, READY
from litevoice_operator.api.resource import Metadata
from litevoice_operator.decide.alert import AlertState, next_state, seconds_until_change, worst_first
from litevoice_operator.decide.alert_status import alert_state, measured_status, orphaned_status, unmeasured_status
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.observe.backlogs import Load, Sample, Waiting, request_sample
from tests.unit.operator.test_backlog import session

METADATA = Metadata(namespace="shop", name="replies", uid="u", generation=3)


def spec(**changes: object) -> BacklogAlertSpec:
    return BacklogAlertSpec.model_validate(
        {
            "gatewayRef": {"name": "demo"},
            "target": "Replies",
            "thresholds": [
                {"severity": "warning", "messages": 100, "ageSeconds": 30},
                {"severity": "critical", "messages": 1000},
            ],
            "forSeconds": 10,
            "keepFiringForSeconds": 20,
            "clearBelowPercent": 80,
        }
        | changes
    )


def sample(messages: int, age: int = 0, *loads: Load, unseen: str = "") -> Sample:
    return Sample(BacklogValue(messages=messages, age_seconds=age, sessions=len(loads)), loads, unseen)


Step = tuple[float, int, int, str, str | None, str | None]

TIMELINES: list[tuple[str, dict[str, object], list[Step]]] = [
    ("below every threshold", {}, [(0, 99, 29, "Inactive", None, None), (60, 0, 0, "Inactive", None, None)]),
    (
        "exceeded for forSeconds fires, and not earlier",
        {},
        [
            (0, 100, 1, "Pending", "warning", None),
            (9, 150, 9, "Pending", "warning", None),
            (10, 150, 10, "Firing", "warning", "Firing"),
            (15, 150, 15, "Firing", "warning", None),
        ],
    ),
    (
        "a clock that is set back, or that of another operator, holds nothing up",
        {},
        [
            (3600, 100, 1, "Pending", "warning", None),
            (0, 100, 1, "Pending", "warning", None),
            (10, 100, 11, "Firing", "warning", "Firing"),
            (3600, 0, 0, "Firing", "warning", None),
            (20, 0, 0, "Firing", "warning", None),
            (40, 0, 0, "Inactive", None, "Resolved"),
        ],
    ),
    (
        "a break starts the clock again",
        {},
        [
            (0, 100, 1, "Pending", "warning", None),
            (9, 99, 1, "Inactive", None, None),
            (10, 100, 1, "Pending", "warning", None),
            (19, 100, 1, "Pending", "warning", None),
            (20, 100, 1, "Firing", "warning", "Firing"),
        ],
    ),
    ("age alone is enough", {}, [(0, 1, 30, "Pending", "warning", None), (10, 1, 40, "Firing", "warning", "Firing")]),
    ("forSeconds 0 fires at once", {"forSeconds": 0}, [(0, 1000, 0, "Firing", "critical", "Firing")]),
    (
        "fires with the severity that holds then",
        {},
        [(0, 100, 0, "Pending", "warning", None), (10, 1000, 0, "Firing", "critical", "Firing")],
    ),
    (
        "getting worse is told, getting better is not, and both follow the hysteresis",
        {"forSeconds": 0},
        [
            (0, 100, 0, "Firing", "warning", "Firing"),
            (1, 1000, 0, "Firing", "critical", "Escalated"),
            (2, 800, 0, "Firing", "critical", None),
            (3, 799, 0, "Firing", "warning", None),
            (4, 999, 0, "Firing", "warning", None),
        ],
    ),
    (
        "resolved only after keepFiringForSeconds below the clear level",
        {"forSeconds": 0},
        [
            (0, 100, 0, "Firing", "warning", "Firing"),
            (1, 80, 0, "Firing", "warning", None),
            (2, 79, 23, "Firing", "warning", None),
            (21, 79, 0, "Firing", "warning", None),
            (22, 79, 0, "Inactive", None, "Resolved"),
        ],
    ),
    (
        "a relapse while clearing starts that clock again",
        {"forSeconds": 0},
        [
            (0, 100, 0, "Firing", "warning", "Firing"),
            (1, 0, 0, "Firing", "warning", None),
            (20, 85, 0, "Firing", "warning", None),
            (21, 0, 0, "Firing", "warning", None),
            (40, 0, 0, "Firing", "warning", None),
            (41, 0, 0, "Inactive", None, "Resolved"),
        ],
    ),
    (
        "nothing waits: over, even where the clear level rounds to nothing",
        {"forSeconds": 0, "keepFiringForSeconds": 0, "clearBelowPercent": 1,
         "thresholds": [{"severity": "info", "messages": 1}]},
        [(0, 1, 0, "Firing", "info", "Firing"), (1, 0, 0, "Inactive", None, "Resolved")],
    ),
]  # fmt: skip


TIMELINES += [
    (
        "a clock that was set back costs no more than the time that had passed",
        {"keepFiringForSeconds": 20},
        [
            (5000, 100, 1, "Pending", "warning", None),
            (1000, 100, 1, "Pending", "warning", None),
            (1010, 100, 1, "Firing", "warning", "Firing"),
            (5000, 0, 0, "Firing", "warning", None),
            (2000, 0, 0, "Firing", "warning", None),
            (2020, 0, 0, "Inactive", None, "Resolved"),
        ],
    )
]


@pytest.mark.parametrize(("description", "changes", "steps"), TIMELINES, ids=[row[0] for row in TIMELINES])
def test_timeline(description: str, changes: dict[str, object], steps: list[Step]) -> None:
    state, wanted = AlertState(), spec(**changes)
    for now, messages, age, phase, severity, transition in steps:
        state, told = next_state(state, wanted, sample(messages, age), now)
        assert (now, state.phase, state.severity, told) == (now, phase, severity, transition)


def test_a_severity_that_the_spec_no_longer_has_holds_nothing() -> None:
    firing = AlertState("Firing", "critical", 0.0)
    only_warning = spec(thresholds=[{"severity": "warning", "messages": 100}], keepFiringForSeconds=0)
    state, _ = next_state(firing, only_warning, sample(900), 1.0)
    assert (state.phase, state.severity) == ("Firing", "warning")


def test_since_is_when_the_phase_began() -> None:
    state, _ = next_state(AlertState(), spec(), sample(100), 5.0)
    assert state.since == 5.0
    state, _ = next_state(state, spec(), sample(100), 15.0)
    assert (state.phase, state.since) == ("Firing", 15.0)
    state, _ = next_state(state, spec(), sample(100), 25.0)
    assert state.since == 15.0


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (AlertState("Inactive", None, 0.0), None),
        (AlertState("Pending", "warning", 100.0), 6.0),
        (AlertState("Firing", "warning", 100.0), None),
        (AlertState("Firing", "warning", 90.0, clearing_since=103.0), 19.0),
        (AlertState("Pending", "warning", 10.0), 0.0),
    ],
)
def test_seconds_until_change(state: AlertState, expected: float | None) -> None:
    assert seconds_until_change(state, spec(), 104.0) == expected


TOP = [
    Culprit(session="s_abc", backlog=120, age_seconds=14, pod="demo-gateway-1", node="node-2", client="10.1.2.3:555"),
    Culprit(session="s_def", backlog=3, age_seconds=2),
]
VALUE = BacklogValue(messages=123, age_seconds=14)


def test_status_survives_a_restart_of_the_operator() -> None:
    state = AlertState("Firing", "warning", 1000.0, clearing_since=1010.0)
    status = measured_status(METADATA, BacklogAlertStatus(), state, VALUE, TOP, 1011.0)
    stored = BacklogAlertStatus.model_validate(status.to_object())
    assert alert_state(stored) == state
    assert stored.top == TOP


def test_ready_does_not_depend_on_the_backlog() -> None:
    status = measured_status(METADATA, BacklogAlertStatus(), AlertState("Firing", "critical", 0.0), VALUE, TOP, 1.0)
    conditions = {condition.type: condition.status for condition in status.conditions}
    assert conditions == {READY: "True", FIRING: "True", BLIND: "False"}


def test_what_cannot_be_measured_stays_as_it_was() -> None:
    firing = measured_status(METADATA, BacklogAlertStatus(), AlertState("Firing", "warning", 0.0), VALUE, TOP, 1.0)
    blind = unmeasured_status(METADATA, firing, Problem("BrokerUnavailable", "no broker", lasting=False), 60.0)
    conditions = {condition.type: condition for condition in blind.conditions}
    assert (conditions[READY].status, conditions[READY].reason) == ("False", "BrokerUnavailable")
    assert (conditions[BLIND].status, conditions[BLIND].message) == ("True", "no broker")
    assert conditions[FIRING] == next(c for c in firing.conditions if c.type == FIRING)
    assert (blind.state, blind.top, blind.value) == ("Firing", TOP, VALUE)


def test_while_nothing_is_seen_nothing_clears() -> None:
    clearing = AlertState("Firing", "warning", 0.0, clearing_since=50.0)
    seen = measured_status(METADATA, BacklogAlertStatus(), clearing, VALUE, TOP, 55.0)
    blind = unmeasured_status(METADATA, seen, Problem("BrokerUnavailable", "no broker", lasting=False), 60.0)
    state, transition = next_state(alert_state(blind), spec(), sample(0), 600.0)
    assert (state.phase, state.clearing_since, transition) == ("Firing", 600.0, None)


def test_without_its_gateway_an_alert_is_over() -> None:
    firing = measured_status(METADATA, BacklogAlertStatus(), AlertState("Firing", "warning", 0.0), VALUE, TOP, 1.0)
    status = orphaned_status(METADATA, firing, Problem("GatewayNotFound", "no VoiceGateway", lasting=False), 60.0)
    assert (status.state, status.severity, status.top, status.since) == ("Inactive", None, [], "1970-01-01T00:01:00Z")
    assert {condition.type: condition.status for condition in status.conditions} == {
        READY: "False", FIRING: "False", BLIND: "False",
    }  # fmt: skip


# Thresholds for each session alone


def load(session: str, backlog: int, age: int = 0) -> Load:
    return Load(session, backlog, age)


@pytest.mark.parametrize(
    ("description", "threshold", "loads", "reached"),
    [
        ("one session over the bound is enough", {"perSession": {"messages": 20}}, [load("s_a", 20)], True),
        ("many below it are not, whatever their sum", {"perSession": {"messages": 20}},
         [load(f"s_{number}", 19) for number in range(100)], False),
        ("either of its bounds does", {"perSession": {"messages": 20, "ageSeconds": 5}}, [load("s_a", 1, 5)], True),
        ("not as many sessions as it wants", {"perSession": {"messages": 20}, "sessions": 2}, [load("s_a", 99)], False),
        ("as many sessions as it wants", {"perSession": {"messages": 20}, "sessions": 2},
         [load("s_a", 20), load("s_b", 20)], True),
        ("beside a sum that is not", {"messages": 500, "perSession": {"messages": 20}}, [load("s_a", 20)], True),
        ("a partition is no session", {"perSession": {"messages": 20}}, [Load("", 500, 9, partition=3)], False),
        ("but its oldest message is one's", {"perSession": {"ageSeconds": 9}}, [Load("", 500, 9, partition=3)], True),
        ("of one session each", {"perSession": {"ageSeconds": 9}, "sessions": 3},
         [Load("", 500, 9, partition=3), Load("", 2, 90, partition=1)], False),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else None,
)  # fmt: skip
def test_per_session(description: str, threshold: dict[str, object], loads: list[Load], reached: bool) -> None:
    wanted = spec(thresholds=[{"severity": "warning", **threshold}], forSeconds=0)
    state, _ = next_state(AlertState(), wanted, sample(sum(one.backlog for one in loads), 0, *loads), 1.0)
    assert (state.phase == "Firing") is reached, description


def test_per_session_follows_the_hysteresis() -> None:
    wanted = spec(
        thresholds=[{"severity": "warning", "perSession": {"messages": 20}, "sessions": 10}], keepFiringForSeconds=0
    )
    firing = AlertState("Firing", "warning", 0.0)
    for description, loads, phase in [
        ("80 % of the sessions, each with 80 % of the messages", [load(f"s_{n}", 16) for n in range(8)], "Firing"),
        ("one session fewer", [load(f"s_{n}", 16) for n in range(7)], "Inactive"),
        ("one message fewer", [load(f"s_{n}", 15) for n in range(10)], "Inactive"),
    ]:
        state, _ = next_state(firing, wanted, sample(100, 0, *loads), 1.0)
        assert state.phase == phase, description


@pytest.mark.parametrize(
    ("description", "more", "messages", "phase"),
    [
        ("they may be one session's", {}, 16, "Firing"),
        ("they are too few for that", {}, 15, "Inactive"),
        ("they may be of so many", {"sessions": 20}, 16, "Firing"),
        ("they are too few for so many", {"sessions": 21}, 16, "Inactive"),
        ("none waits", {}, 0, "Inactive"),
    ],
)
def test_when_no_gateway_is_left_to_say_whose_requests_wait_what_fires_goes_on(
    description: str, more: dict[str, object], messages: int, phase: str
) -> None:
    wanted = spec(thresholds=[{"severity": "warning", "perSession": {"messages": 20}, **more}], keepFiringForSeconds=0)
    seen = request_sample([Waiting("requests-00", messages, 3.0), Waiting("requests-01", 0, None)], {})
    state, _ = next_state(AlertState("Firing", "warning", 0.0), wanted, seen, 1.0)
    assert state.phase == phase, description


def test_while_a_gateway_is_silent_what_fires_for_one_of_its_sessions_goes_on() -> None:
    wanted = spec(thresholds=[{"severity": "warning", "perSession": {"ageSeconds": 20}}], keepFiringForSeconds=0)
    firing, partitions = AlertState("Firing", "warning", 0.0), [Waiting("requests-00", 9, 30.0)]
    listed = {"gateway-0": [session("s_fine", 2, 1.0)], "gateway-1": [session("s_late", 7, 30.0)]}
    for description, answers, silent, phase in [
        ("both answer", listed, (), "Firing"),
        ("the one that has it is silent", {"gateway-0": listed["gateway-0"]}, ("gateway-1",), "Firing"),
        ("the one that had it is gone", {"gateway-0": listed["gateway-0"]}, (), "Firing"),
        ("what waits is of one that is known", {"gateway-0": [session("s_fine", 2, 29.0)]}, (), "Firing"),
    ]:
        state, _ = next_state(firing, wanted, request_sample(partitions, answers, silent), 1.0)
        assert state.phase == phase, description


def test_a_partition_whose_late_session_is_known_counts_once() -> None:
    two = spec(thresholds=[{"severity": "warning", "perSession": {"ageSeconds": 20}, "sessions": 2}], forSeconds=0)
    seen = request_sample([Waiting("requests-00", 9, 30.0)], {"gateway-0": [session("s_late", 7, 30.0)]}, ["gateway-1"])
    assert [load.session for load in seen.loads] == ["", "s_late"]
    assert seen.value.messages == 9
    assert next_state(AlertState(), two, seen, 1.0)[0].phase == "Inactive"


def test_the_sessions_that_are_over_come_first() -> None:
    wanted = spec(thresholds=[{"severity": "warning", "messages": 50, "perSession": {"ageSeconds": 30}}])
    loads = [load("s_large", 400, 2), load("s_old", 1, 30)]
    assert [one.session for one in worst_first(wanted, "warning", loads)] == ["s_old", "s_large"]


# What is not seen


def test_what_is_not_seen_makes_nothing_better_and_may_make_it_worse() -> None:
    wanted = spec(forSeconds=0, keepFiringForSeconds=0)
    firing = AlertState("Firing", "warning", 5.0, clearing_since=8.0)
    assert next_state(firing, wanted, sample(0, unseen="pod-1"), 99.0) == (AlertState("Firing", "warning", 5.0), None)
    critical = AlertState("Firing", "critical", 5.0)
    assert next_state(critical, wanted, sample(100, unseen="pod-1"), 99.0) == (critical, None)
    assert next_state(firing, wanted, sample(1000, unseen="pod-1"), 99.0)[1] == "Escalated"
    assert next_state(AlertState(), wanted, sample(100, unseen="pod-1"), 99.0)[1] == "Firing"
    pending = AlertState("Pending", "warning", 5.0)
    assert next_state(pending, wanted, sample(0, unseen="pod-1"), 99.0) == (pending, None)


def test_a_status_says_what_was_not_seen() -> None:
    status = measured_status(
        METADATA, BacklogAlertStatus(), AlertState("Firing", "warning", 0.0), VALUE, TOP, 1.0, unseen="pod-1 is silent"
    )
    conditions = {condition.type: condition for condition in status.conditions}
    assert (conditions[BLIND].status, conditions[READY].status, conditions[FIRING].status) == ("True", "False", "True")
    assert conditions[BLIND].message == conditions[READY].message == "pod-1 is silent"
