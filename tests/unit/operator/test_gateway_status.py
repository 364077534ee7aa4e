"""Status of a VoiceGateway: what is seen → what `kubectl get vgw` says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport, FailingPlugin, GatewayStatus, WorkerStatus
from litevoice_operator.api.conditions import PLUGINS_HEALTHY, READY, RECONCILING, STALLED, Condition
from litevoice_operator.api.labels import COMPONENT_LABEL, REVISION_LABEL, TEMPLATE_HASH_ANNOTATION
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway_status import (
    MAX_LISTED_DRAINS,
    MAX_LISTED_PODS,
    MAX_LISTED_REVISIONS,
    LastDrain,
    VoiceGatewayStatus,
)
from litevoice_operator.decide.conditions import Finding, Problem
from litevoice_operator.decide.gateway_status import gateway_status
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.replica_sets import ReplicaSet, fleet, newest, orphans, read_replica_set
from litevoice_operator.observe.rollouts import Rollout, read_rollout
from litevoice_operator.observe.voice_gateway import Observed

METADATA = Metadata(namespace="shop", name="demo", uid="u", generation=4)
DONE = Rollout(wanted=2, replicas=2, ready=2, settled=True)


def pod(name: str, **changes: Any) -> Pod:
    plain = Pod(
        namespace="shop", name=name, uid=f"uid-{name}", instance="demo", component="gateway", node="node-1",
        ip="10.0.0.1", ready=True, terminating=False, created_at=0.0, starting=False, trouble="", drained=None,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def answer(name: str, **changes: Any) -> GatewayStatus:
    fields: dict[str, Any] = {
        "pod": name, "ready": True, "reason": "", "sessions": 3, "max_sessions": 100, "slow_readers": 1,
        "pending_requests": 7, "drain": DrainReport(),
    }  # fmt: skip
    return GatewayStatus(**(fields | changes))


def worker(name: str, *failing: FailingPlugin) -> WorkerStatus:
    return WorkerStatus(name, True, "", sessions=3, max_sessions=100, partitions=[0], failing=list(failing))


def summary(status: VoiceGatewayStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def message(status: VoiceGatewayStatus) -> str:
    return next(condition.message for condition in status.conditions if condition.type == READY)


HUNG = FailingPlugin("responder", "bookings", "hung", 3, 12.3)
ONE_MISSING = Rollout(wanted=2, replicas=2, ready=1, settled=False)
CASES: list[tuple[str, Observed | Problem, tuple[str, str], str, str, str]] = [
    ("everything is there", Observed(gateways=DONE, workers=DONE), ("True", "Ready"), "False", "False", "2 gateways"),
    ("scaled to nothing is ready too",
     Observed(gateways=Rollout(settled=True), workers=Rollout(settled=True)),
     ("True", "Ready"), "False", "False", "0 gateways"),
    ("a rolling update with full capacity",
     Observed(gateways=dataclasses.replace(DONE, replicas=3, settled=False), workers=DONE),
     ("True", "Ready"), "True", "False", "2 gateways"),
    ("a pod says why it is not ready",
     Observed(gateways=ONE_MISSING, workers=DONE,
              pods=[pod("g-1"), pod("g-2", ready=False, created_at=500.0, trouble="ImagePullBackOff: no such image")]),
     ("False", "GatewaysNotReady"), "True", "False", "1 of 2 gateways are ready; g-2: ImagePullBackOff"),
    ("for ten minutes",
     Observed(gateways=ONE_MISSING, workers=DONE,
              pods=[pod("g-1"), pod("g-2", ready=False, unready_since=400.0, trouble="CrashLoopBackOff")]),
     ("False", "GatewaysNotReady"), "False", "True", "1 of 2 gateways are ready; g-2: CrashLoopBackOff"),
    ("a gateway says why it is not ready",
     Observed(gateways=ONE_MISSING, workers=DONE, pods=[pod("g-1"), pod("g-2", ready=False)],
              answers={"g-2": answer("g-2", ready=False, reason="cannot reach proxy 10.9.9.9:8081")}),
     ("False", "GatewaysNotReady"), "True", "False", "g-2: cannot reach proxy 10.9.9.9:8081"),
    ("a Secret is missing",
     Observed(gateways=ONE_MISSING, workers=DONE, pods=[pod("g-2", ready=False, starting=True)],
              mount_problems={"g-2": 'spec.auth.apiKeysSecret: secret "keys" not found'}),
     ("False", "SecretNotMounted"), "False", "True", 'spec.auth.apiKeysSecret: secret "keys" not found'),
    ("workers refuse their settings",
     Observed(gateways=DONE, workers=ONE_MISSING,
              pods=[pod("w-1", component="worker", ready=False, trouble="CrashLoopBackOff",
                        refused="spec.pipelines[0].responder.use: expected one that is installed")]),
     ("False", "SettingsRefused"), "False", "True", "1 of 2 workers are ready; w-1: spec.pipelines[0].responder.use"),
    ("a plug-in fails, and everything is there",
     Observed(gateways=DONE, workers=DONE, worker_answers={"w-1": worker("w-1", HUNG)}),
     ("True", "Ready"), "False", "False", "2 gateways"),
    ("no pod says why", Observed(gateways=ONE_MISSING, workers=DONE, pods=[pod("g-1"), pod("g-2", ready=False)]),
     ("False", "GatewaysNotReady"), "True", "False", "1 of 2 gateways are ready"),
    ("workers are missing",
     Observed(gateways=DONE, workers=Rollout(wanted=2, settled=False)),
     ("False", "WorkersNotReady"), "True", "False", "0 of 2 workers are ready"),
    ("the ReplicaSet cannot make pods",
     Observed(gateways=dataclasses.replace(ONE_MISSING, failure="FailedCreate: exceeded quota"), workers=DONE),
     ("False", "GatewaysNotReady"), "False", "True", "exceeded quota"),
    ("the broker is away", Problem("BrokerUnavailable", "no broker at x:9876", lasting=False),
     ("False", "BrokerUnavailable"), "True", "False", "no broker at x:9876"),
    ("the spec does not fit", Problem("InvalidSpec", "spec.rocketmq.endpoints: …", lasting=True),
     ("False", "InvalidSpec"), "False", "True", "spec.rocketmq.endpoints"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("description", "seen", "ready", "reconciling", "stalled", "text"), CASES, ids=[case[0] for case in CASES]
)
def test_conditions(
    description: str, seen: Observed | Problem, ready: tuple[str, str], reconciling: str, stalled: str, text: str
) -> None:
    problem = seen if isinstance(seen, Problem) else None
    observed = seen if isinstance(seen, Observed) else Observed(gateways=DONE, workers=DONE)
    status = gateway_status(METADATA, observed, problem, VoiceGatewayStatus(), 1000.0)
    found = summary(status)
    assert (found[READY], found[RECONCILING][0], found[STALLED][0]) == (ready, reconciling, stalled)
    assert text in message(status)
    assert all(condition.observed_generation == 4 for condition in status.conditions)


HASTY = FailingPlugin("turn_detector", "hasty", "hung", 2, 5.0)
CRASHED = FailingPlugin("synthesizer", "voice", "crashed", 1, 3.0)
WORKERS = [pod("w-1", component="worker"), pod("w-2", component="worker")]
PLUGINS: list[tuple[str, dict[str, WorkerStatus], list[Pod], tuple[str, str, str]]] = [
    ("nothing failed", {"w-1": worker("w-1")}, WORKERS,
     ("True", "AsExpected", "no plug-in failed in the last 10 minutes")),
    ("no workers at all", {}, [], ("True", "AsExpected", "no plug-in failed in the last 10 minutes")),
    ("one hung", {"w-1": worker("w-1"), "w-2": worker("w-2", HUNG)}, WORKERS,
     ("False", "PluginFailing", 'responder "bookings" hung 3 times in 10 minutes on w-2 (last 12 s ago)')),
    ("a stage of two words", {"w-1": worker("w-1", HASTY)}, WORKERS,
     ("False", "PluginFailing", 'turn detector "hasty" hung 2 times in 10 minutes on w-1 (last 5 s ago)')),
    ("the last one first", {"w-1": worker("w-1", HUNG, CRASHED)}, WORKERS,
     ("False", "PluginFailing", 'synthesizer "voice" crashed once in 10 minutes on w-1 (last 3 s ago); '
                                'responder "bookings" hung 3 times in 10 minutes on w-1 (last 12 s ago)')),
    ("on many workers",
     {f"w-{n}": worker(f"w-{n}", FailingPlugin("transcriber", "ears", "grew", 2, float(n))) for n in range(20)}, [],
     ("False", "PluginFailing", "; ".join(
         [f'transcriber "ears" took too much memory 2 times in 10 minutes on w-{n} (last {n} s ago)' for n in range(3)]
         + ["and 17 more"]))),
    ("nobody answers", {}, WORKERS, ("Unknown", "WorkersSilent", "2 ready workers do not answer")),
    ("those that go need not", {}, [pod("w-1", component="worker", terminating=True),
                                    pod("w-2", component="worker", ready=False)],
     ("True", "AsExpected", "no plug-in failed in the last 10 minutes")),
]  # fmt: skip


@pytest.mark.parametrize(("description", "answers", "pods", "told"), PLUGINS, ids=[case[0] for case in PLUGINS])
def test_plugins(
    description: str, answers: dict[str, WorkerStatus], pods: list[Pod], told: tuple[str, str, str]
) -> None:
    seen = Observed(gateways=DONE, workers=DONE, pods=pods, worker_answers=answers)
    status = gateway_status(METADATA, seen, None, VoiceGatewayStatus(), 0.0)
    (found,) = (condition for condition in status.conditions if condition.type == PLUGINS_HEALTHY)
    assert (found.status, found.reason, found.message) == told
    assert summary(status)[READY] == ("True", "Ready")


def test_a_rollout_says_what_it_waits_for_and_why() -> None:
    rolling = Finding(RECONCILING, "True", "RollingOut", "first 1 must be ready: 0 are")
    pods = [pod("g-1"), pod("g-2", ready=False, trouble="ImagePullBackOff: no such image"),
            pod("w-1", component="worker", ready=False, trouble="CrashLoopBackOff")]  # fmt: skip
    seen = Observed(gateways=DONE, workers=DONE, pods=pods)
    status = gateway_status(METADATA, seen, None, VoiceGatewayStatus(), 0.0, rolling=rolling)
    told = next(condition for condition in status.conditions if condition.type == RECONCILING)
    assert (told.status, told.reason) == ("True", "RollingOut")
    assert told.message == "first 1 must be ready: 0 are; g-2: ImagePullBackOff: no such image"


def test_a_changed_spec_waits_while_it_is_paused() -> None:
    def reconciling(gateways: Rollout) -> tuple[str, str]:
        observed = Observed(gateways=gateways, workers=DONE)
        status = gateway_status(METADATA, observed, None, VoiceGatewayStatus(), 0.0, paused=True)
        return summary(status)[RECONCILING]

    assert reconciling(DONE) == ("False", "Paused")
    assert reconciling(dataclasses.replace(DONE, settled=False)) == ("True", "RollingOut")


def test_transition_time_moves_only_with_the_status() -> None:
    first = gateway_status(METADATA, Observed(gateways=ONE_MISSING, workers=DONE), None, VoiceGatewayStatus(), 1000.0)
    second = gateway_status(METADATA, Observed(gateways=Rollout(wanted=2), workers=DONE), None, first, 2000.0)
    third = gateway_status(METADATA, Observed(gateways=DONE, workers=DONE), None, second, 3000.0)

    def changed_at(status: VoiceGatewayStatus, kind: str) -> str:
        found: Condition = next(condition for condition in status.conditions if condition.type == kind)
        return found.last_transition_time

    assert changed_at(first, READY) == changed_at(second, READY) == "1970-01-01T00:16:40Z"
    assert changed_at(third, READY) == "1970-01-01T00:50:00Z"
    assert changed_at(third, STALLED) == "1970-01-01T00:16:40Z"


def test_numbers_and_table() -> None:
    pods = [
        pod("g-2"),
        pod("g-1", node="node-7", ip="10.0.0.7"),
        pod("g-3", terminating=True),
        pod("w-1", component="worker"),
    ]
    answers = {"g-1": answer("g-1"), "g-3": answer("g-3", sessions=5, drain=DrainReport(state="draining"))}
    observed = Observed(gateways=DONE, workers=Rollout(wanted=1, replicas=1, ready=1), pods=pods, answers=answers)
    status = gateway_status(METADATA, observed, None, VoiceGatewayStatus(), 0.0)
    assert [row.name for row in status.pods] == ["g-1", "g-2", "g-3"]
    first, unknown, leaving = status.pods
    assert (first.node, first.ip, first.ready, first.sessions) == ("node-7", "10.0.0.7", True, 3)
    assert (first.pending_requests, first.slow_readers, first.draining) == (7, 1, False)
    assert (unknown.sessions, unknown.draining) == (None, None)
    assert (leaving.ready, leaving.draining) == (False, True)
    assert (status.sessions, status.replicas, status.ready_replicas) == (8, 2, 2)
    assert (status.workers.replicas, status.workers.ready_replicas) == (1, 1)
    assert "sessions" not in status.to_object()["pods"][1]


def test_the_fleet_is_full_when_every_gateway_that_can_be_reached_is() -> None:
    def full(**gateways: GatewayStatus) -> str:
        observed = Observed(gateways=DONE, workers=DONE, pods=[pod(name) for name in gateways], answers=gateways)
        return gateway_status(METADATA, observed, None, VoiceGatewayStatus(), 0.0).full

    late, many = answer("a", full="worker_lag"), answer("b", full="sessions")
    assert full(a=late, b=many) == "sessions, worker_lag"
    assert full(a=late, b=answer("b")) == ""
    assert full(a=late, b=answer("b", ready=False)) == "worker_lag"
    assert full() == ""


def test_who_gets_new_clients_is_counted() -> None:
    pods = [
        pod("g-1", accepting=True),
        pod("g-2", accepting=False),
        pod("g-3"),  # of an older release: routed as long as the Service does not select by the label
        pod("g-4", accepting=True, ready=False),
        pod("g-5", accepting=True, terminating=True),
        pod("w-1", accepting=True, component="worker"),
    ]
    status = gateway_status(METADATA, Observed(pods=pods), None, VoiceGatewayStatus(), 0.0)
    assert status.accepting_replicas == 2
    assert [row.accepting for row in status.pods] == [True, False, None, True, True]


def test_table_is_bounded() -> None:
    observed = Observed(pods=[pod(f"g-{number:03d}") for number in range(MAX_LISTED_PODS + 10)])
    assert len(gateway_status(METADATA, observed, None, VoiceGatewayStatus(), 0.0).pods) == MAX_LISTED_PODS


def test_last_drain_is_the_newest_and_is_kept() -> None:
    old = LastDrain(pod="g-1", moved=1, finished_at="2026-01-01T00:00:00Z")
    new = LastDrain(pod="g-2", moved=2, finished_at="2026-01-01T00:00:05Z")
    kept = VoiceGatewayStatus(last_drain=new)
    status = gateway_status(METADATA, Observed(last_drains=[old]), None, kept, 0.0)
    assert (status.last_drain, status.last_drains) == (new, [new, old])
    before = VoiceGatewayStatus(last_drain=old, last_drains=[old])
    status = gateway_status(METADATA, Observed(last_drains=[new, old]), None, before, 0.0)
    assert (status.last_drain, status.last_drains) == (new, [new, old])
    status = gateway_status(METADATA, Observed(), None, kept, 0.0)
    assert (status.last_drain, status.last_drains) == (new, [new])


def test_the_last_drains_are_bounded() -> None:
    before = VoiceGatewayStatus()
    for second in range(MAX_LISTED_DRAINS + 3):
        drain = LastDrain(pod=f"g-{second}", finished_at=f"2026-01-01T00:00:{second:02d}Z")
        before = gateway_status(METADATA, Observed(last_drains=[drain]), None, before, 0.0)
    assert [drain.pod for drain in before.last_drains] == [f"g-{number}" for number in range(12, 2, -1)]


def of(revision: str, name: str, **changes: Any) -> Pod:
    return pod(name, revision=revision, **changes)


def replica_set(revision: str, wanted: int) -> ReplicaSet:
    return ReplicaSet(f"demo-gateway-{revision}", "uid", "u", revision, "", wanted=wanted)


GOING = DrainReport(state="draining")
REVISIONS: list[tuple[str, list[ReplicaSet], list[Pod], dict[str, GatewayStatus], list[tuple[Any, ...]]]] = [
    ("one revision", [replica_set("new", 2)], [of("new", "g-1"), of("new", "g-2")],
     {"g-1": answer("g-1"), "g-2": answer("g-2")}, [("new", True, 2, 2, 0, 6, 200)]),
    ("a rollout: the newest first, whoever has more sessions", [replica_set("old", 1), replica_set("new", 1)],
     [of("old", "g-1"), of("new", "g-2")], {"g-1": answer("g-1", sessions=50), "g-2": answer("g-2")},
     [("new", True, 1, 1, 0, 3, 100), ("old", False, 1, 1, 0, 50, 100)]),
    ("who drains has no capacity, and its sessions count", [replica_set("new", 2)],
     [of("new", "g-1"), of("new", "g-2", ready=False)],
     {"g-1": answer("g-1"), "g-2": answer("g-2", drain=GOING)}, [("new", True, 2, 1, 1, 6, 100)]),
    ("the last pod of a ReplicaSet that is gone", [replica_set("new", 1)],
     [of("new", "g-1"), of("old", "g-0", terminating=True)], {"g-1": answer("g-1")},
     [("new", True, 1, 1, 0, 3, 100), ("old", False, 0, 0, 1, 0, 0)]),
    ("silence is no capacity", [replica_set("new", 1)], [of("new", "g-1")], {}, [("new", True, 1, 1, 0, 0, 0)]),
    ("not ready yet", [replica_set("new", 1)], [of("new", "g-1", ready=False)], {"g-1": answer("g-1", sessions=0)},
     [("new", True, 1, 0, 0, 0, 0)]),
    ("an old ReplicaSet without anything is not told of", [replica_set("new", 1), replica_set("old", 0)],
     [of("new", "g-1"), of("new", "w-1", component="worker")],
     {"g-1": answer("g-1")}, [("new", True, 1, 1, 0, 3, 100)]),
    ("adopted: two of one revision are one", [replica_set("new", 1), replica_set("new", 1)],
     [of("new", "g-1")], {}, [("new", True, 2, 1, 0, 0, 0)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("description", "sets", "pods", "answers", "expected"), REVISIONS, ids=[row[0] for row in REVISIONS]
)
def test_revisions(
    description: str,
    sets: list[ReplicaSet],
    pods: list[Pod],
    answers: dict[str, GatewayStatus],
    expected: list[tuple[Any, ...]],
) -> None:
    seen = Observed(gateways=DONE, workers=DONE, pods=pods, answers=answers, sets=sets, newest="new")
    status = gateway_status(METADATA, seen, None, VoiceGatewayStatus(), 0.0)
    assert [tuple(one.model_dump().values()) for one in status.revisions] == expected
    assert status.capacity == sum(row[6] for row in expected)
    assert status.draining_replicas == sum(row[4] for row in expected)


def test_the_list_of_revisions_is_bounded_and_the_sums_are_not() -> None:
    """Somebody changes the template back and forth while long calls go on."""
    names = [f"r{number:02d}" for number in range(MAX_LISTED_REVISIONS + 3)]
    pods = [of(name, name) for name in names]
    answers = {name: answer(name, sessions=number) for number, name in enumerate(names)}
    seen = Observed(pods=pods, answers=answers, sets=[replica_set(name, 1) for name in names], newest="r00")
    status = gateway_status(METADATA, seen, None, VoiceGatewayStatus(), 0.0)
    assert [one.revision for one in status.revisions] == ["r00", *reversed(names[-(MAX_LISTED_REVISIONS - 1) :])]
    assert status.capacity == 100 * len(names)


ROLLOUTS: list[tuple[str, dict[str, Any], bool, int]] = [
    ("not yet looked at", {}, False, 0),
    ("complete", {"observedGeneration": 5, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, True, 2),
    ("complete, but of the last template",
     {"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, False, 2),
    ("an old pod is left",
     {"observedGeneration": 5, "replicas": 3, "updatedReplicas": 2, "readyReplicas": 3}, False, 3),
]  # fmt: skip


@pytest.mark.parametrize(("description", "state", "settled", "ready"), ROLLOUTS, ids=[row[0] for row in ROLLOUTS])
def test_read_rollout(description: str, state: dict[str, Any], settled: bool, ready: int) -> None:
    rollout = read_rollout({"metadata": {"generation": 5}, "spec": {"replicas": 2}, "status": state})
    assert (rollout.settled, rollout.ready, rollout.wanted, rollout.failure) == (settled, ready, 2, "")


def test_read_rollout_tells_failures() -> None:
    conditions = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too slow"},
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "forbidden"},
        {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "-"},
    ]
    rollout = read_rollout({"spec": {"replicas": 2}, "status": {"conditions": conditions}})
    assert rollout.failure == "ProgressDeadlineExceeded: too slow; FailedCreate: forbidden"


def test_a_deployment_that_does_not_exist() -> None:
    """It is not ready, and nothing is scaled up from it."""
    missing = read_rollout({})
    assert (missing.settled, missing.wanted, missing.current) == (False, 1, 0)
    assert read_rollout({"spec": {"replicas": 3}}).current == 3


def set_body(name: str, wanted: int, template: str = "h1", **status: Any) -> dict[str, Any]:
    metadata = {
        "name": name, "uid": f"uid-{name}", "generation": 5, "labels": {REVISION_LABEL: name},
        "ownerReferences": [{"uid": "other"}, {"uid": "u", "controller": True}],
    }  # fmt: skip
    pods = {"metadata": {"annotations": {TEMPLATE_HASH_ANNOTATION: template}}, "spec": {"serviceAccountName": "a"}}
    status = {"observedGeneration": 5, "replicas": wanted, "readyReplicas": wanted, **status}
    spec = {"replicas": wanted, "template": pods}
    return {"kind": "ReplicaSet", "metadata": metadata, "spec": spec, "status": status}


FLEETS: list[tuple[str, list[dict[str, Any]], int, bool, tuple[int, int, int]]] = [
    ("as wanted", [set_body("new", 2)], 2, True, (2, 2, 2)),
    ("nobody knows how many there were to be", [set_body("new", 2)], 0, True, (2, 2, 2)),
    ("one is missing", [set_body("new", 2, replicas=1, readyReplicas=1)], 2, False, (2, 1, 1)),
    ("its controller has not looked yet", [set_body("new", 2, observedGeneration=4)], 2, False, (2, 2, 2)),
    ("one of an older version", [set_body("new", 1), set_body("old", 1)], 2, False, (2, 2, 2)),
    ("only the older version", [set_body("old", 2)], 2, False, (2, 2, 2)),
    ("an older one without pods", [set_body("new", 2), set_body("old", 0)], 2, True, (2, 2, 2)),
    ("one more while another one is replaced", [set_body("new", 3)], 2, False, (2, 3, 3)),
    ("none yet", [], 0, False, (0, 0, 0)),
]


@pytest.mark.parametrize(("description", "bodies", "desired", "settled", "numbers"), FLEETS,
                         ids=[row[0] for row in FLEETS])  # fmt: skip
def test_replica_sets_as_one(
    description: str, bodies: list[dict[str, Any]], desired: int, settled: bool, numbers: tuple[int, int, int]
) -> None:
    one = fleet([read_replica_set(body) for body in bodies], "new", desired)
    assert (one.settled, (one.wanted, one.replicas, one.ready), one.failure) == (settled, numbers, "")
    assert one.current == numbers[0]


def test_what_a_replica_set_tells() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    one = read_replica_set(set_body("new", 2, conditions=[failure]))
    assert (one.controller, one.revision, one.template, one.account) == ("u", "new", "h1", "a")
    assert fleet([one, one], "new", 2).failure == "FailedCreate: quota"
    sets = [read_replica_set(set_body(name, 1, template)) for name, template in (("a", "h1"), ("b", "h2"), ("c", "h1"))]
    found = newest(sets, "h1")
    assert found is not None
    assert found.name == "c", "the last one of several"
    assert newest(sets, "h3") is newest(sets, "") is None


def test_what_a_deployment_has_left_is_told_by_its_pods() -> None:
    def left(name: str = "demo-gateway-7f", account: str = "demo-gateway", controller: str = "") -> ReplicaSet:
        return ReplicaSet(name, "uid", controller, "7f", "", account)

    assert orphans([left()], "demo") == [left()]
    for other in (left("web-gateway-7f"), left(account="default"), left(controller="somebody")):
        assert orphans([other], "demo") == []


def test_what_was_just_changed_is_not_settled() -> None:
    metadata = {"labels": {COMPONENT_LABEL: "worker"}, "generation": 6}
    workers = {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": 2}, "status": {"observedGeneration": 5}}
    seen = Observed(gateways=DONE, workers=DONE, pods=[pod("g-1")])
    after = seen.after([workers, {"kind": "Service", "metadata": metadata}])
    assert not after.workers.settled
    assert (after.gateways, after.pods) == (DONE, seen.pods)
    assert seen.after([]) == seen

    sets = (read_replica_set(set_body("old", 2)),)
    of_one = Observed(gateways=fleet(sets, "old", 2), sets=sets, newest="old")
    grown = of_one.after([set_body("old", 3, replicas=2, readyReplicas=2)], 3)
    assert (grown.gateways.wanted, grown.gateways.ready, grown.gateways.settled) == (3, 2, False)
    assert of_one.after([], 2) == of_one
    assert of_one.after([], 1).gateways.wanted == 1


def test_one_gateway_alone_says_what_that_means() -> None:
    """Its only pod is evicted when its node is drained, with nowhere to go."""
    one = dataclasses.replace(DONE, wanted=1, replicas=1, ready=1)
    status = gateway_status(METADATA, Observed(gateways=one, workers=DONE), None, VoiceGatewayStatus(), 1000.0)
    ready = next(condition for condition in status.conditions if condition.type == READY)
    assert (ready.status, ready.reason) == ("True", "SingleGateway")
    assert "kubectl drain" in ready.message
    assert "nowhere to go" in ready.message
    assert "spec.replicas" in ready.message
    seen = Observed(gateways=one, workers=DONE, cordoned=frozenset())
    ready = gateway_status(METADATA, seen, None, VoiceGatewayStatus(), 1000.0).conditions[0]
    assert (ready.status, ready.reason) == ("True", "SingleGateway")
    assert "the eviction waits until the operator has started another one" in ready.message
