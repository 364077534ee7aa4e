"""Status of a VoiceGateway: what is seen → what `kubectl get vgw` says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus
from litevoice_operator.api.conditions import READY, RECONCILING, STALLED, Condition
from litevoice_operator.api.labels import COMPONENT_LABEL
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway_status import MAX_LISTED_PODS, LastDrain, VoiceGatewayStatus
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.gateway_status import gateway_status
from litevoice_operator.observe.pods import Pod
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


def summary(status: VoiceGatewayStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def message(status: VoiceGatewayStatus) -> str:
    return next(condition.message for condition in status.conditions if condition.type == READY)


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
              pods=[pod("g-1"), pod("g-2", ready=False, trouble="ImagePullBackOff: no such image")]),
     ("False", "GatewaysNotReady"), "True", "False", "1 of 2 gateways are ready; g-2: ImagePullBackOff"),
    ("a gateway says why it is not ready",
     Observed(gateways=ONE_MISSING, workers=DONE, pods=[pod("g-1"), pod("g-2", ready=False)],
              answers={"g-2": answer("g-2", ready=False, reason="cannot reach proxy 10.9.9.9:8081")}),
     ("False", "GatewaysNotReady"), "True", "False", "g-2: cannot reach proxy 10.9.9.9:8081"),
    ("a Secret is missing",
     Observed(gateways=ONE_MISSING, workers=DONE, pods=[pod("g-2", ready=False, starting=True)],
              mount_problems={"g-2": 'spec.auth.apiKeysSecret: secret "keys" not found'}),
     ("False", "SecretNotMounted"), "False", "True", 'spec.auth.apiKeysSecret: secret "keys" not found'),
    ("no pod says why", Observed(gateways=ONE_MISSING, workers=DONE, pods=[pod("g-1"), pod("g-2", ready=False)]),
     ("False", "GatewaysNotReady"), "True", "False", "1 of 2 gateways are ready"),
    ("workers are missing",
     Observed(gateways=DONE, workers=Rollout(wanted=2, settled=False)),
     ("False", "WorkersNotReady"), "True", "False", "0 of 2 workers are ready"),
    ("the Deployment cannot make pods",
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


def test_table_is_bounded() -> None:
    observed = Observed(pods=[pod(f"g-{number:03d}") for number in range(MAX_LISTED_PODS + 10)])
    assert len(gateway_status(METADATA, observed, None, VoiceGatewayStatus(), 0.0).pods) == MAX_LISTED_PODS


def test_last_drain_is_the_newest_and_is_kept() -> None:
    old = LastDrain(pod="g-1", moved=1, finished_at="2026-01-01T00:00:00Z")
    new = LastDrain(pod="g-2", moved=2, finished_at="2026-01-01T00:00:05Z")
    kept = VoiceGatewayStatus(last_drain=new)
    assert gateway_status(METADATA, Observed(last_drain=old), None, kept, 0.0).last_drain == new
    assert (
        gateway_status(METADATA, Observed(last_drain=new), None, VoiceGatewayStatus(last_drain=old), 0.0).last_drain
        == new
    )
    assert gateway_status(METADATA, Observed(), None, kept, 0.0).last_drain == new


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
    assert read_rollout({}).complete is False


def test_a_deployment_that_was_just_changed_is_not_settled() -> None:
    def applied(kind: str, component: str) -> dict[str, Any]:
        metadata = {"labels": {COMPONENT_LABEL: component}, "generation": 6}
        return {"kind": kind, "metadata": metadata, "spec": {"replicas": 2}, "status": {"observedGeneration": 5}}

    seen = Observed(gateways=DONE, workers=DONE, pods=[pod("g-1")])
    after = seen.after([applied("Deployment", "gateway"), applied("Service", "worker")])
    assert not after.gateways.settled
    assert (after.workers, after.pods) == (DONE, seen.pods)
    assert seen.after([]) == seen
