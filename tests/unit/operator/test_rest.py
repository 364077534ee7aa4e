"""When a pass may believe what watches say: all is as it should be, every pod says so, and nothing is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus, WorkerStatus
from litevoice_operator.api.labels import COMPONENT_LABEL, INSTANCE_LABEL, REVISION_LABEL
from litevoice_operator.decide.rest import acts, at_rest, vouched
from litevoice_operator.decide.shrink import Mark, Shrink
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.replica_sets import ReplicaSet, gateway_key, read_replica_set
from litevoice_operator.observe.rollouts import Rollout
from litevoice_operator.observe.voice_gateway import Observed
from litevoice_operator.reconcile.set_cache import SetCache

KEY = ("shop", "demo")
DONE = Rollout(wanted=1, replicas=1, ready=1, settled=True)
SET = ReplicaSet("demo-gateway-n", "uid-s", "uid-g", "n", "t", wanted=1, pods=1, ready=1, settled=True)


def pod(name: str, component: str = "gateway", **changes: Any) -> Pod:
    plain = Pod(
        namespace="shop", name=name, uid=f"uid-{name}", instance="demo", component=component, node="node-1",
        ip="10.0.0.1", ready=True, terminating=False, created_at=0.0, starting=False, trouble="", drained=None,
        revision="n",
    )  # fmt: skip
    return replace(plain, **changes)


GATEWAY, WORKER = pod("g-1"), pod("w-1", "worker", revision="of the workers")
CALM = Observed(
    gateways=DONE, workers=DONE, pods=[GATEWAY, WORKER], sets=(SET,), newest="n", cordoned=frozenset({"node-9"})
)
NOT_AT_REST: list[tuple[str, Mapping[str, Any]]] = [
    ("the spec is invalid", {"newest": ""}),
    ("no ReplicaSet", {"sets": ()}),
    ("one of an older version is left", {"sets": (SET, replace(SET, name="old", revision="o", wanted=0))}),
    ("only one of an older version", {"newest": "later"}),
    ("it is nobody's", {"sets": (replace(SET, controller=""),)}),
    ("gateways are not settled", {"gateways": replace(DONE, settled=False)}),
    ("one is not ready by its ReplicaSet", {"gateways": replace(DONE, ready=0)}),
    ("more are wanted", {"gateways": replace(DONE, wanted=2, ready=2)}),
    ("workers are not settled", {"workers": replace(DONE, settled=False)}),
    ("a pod is gone", {"pods": [WORKER]}),
    ("a worker is gone", {"pods": [GATEWAY]}),
    ("one more pod", {"pods": [GATEWAY, pod("g-2"), WORKER]}),
    ("one ends", {"pods": [replace(GATEWAY, terminating=True), WORKER]}),
    ("one is not ready", {"pods": [replace(GATEWAY, ready=False), WORKER]}),
    ("a worker is not ready", {"pods": [GATEWAY, replace(WORKER, ready=False)]}),
    ("one is marked", {"pods": [replace(GATEWAY, goes_first=True), WORKER]}),
    ("one is of another version", {"pods": [replace(GATEWAY, revision="o"), WORKER]}),
    ("its node is cordoned", {"cordoned": frozenset({"node-1"})}),
]


@pytest.mark.parametrize(("description", "changes"), NOT_AT_REST, ids=[row[0] for row in NOT_AT_REST])
def test_what_is_not_at_rest(description: str, changes: Mapping[str, Any]) -> None:
    assert at_rest(CALM), description
    assert not at_rest(replace(CALM, **changes)), description


def test_nodes_that_may_not_be_seen_disturb_nobody() -> None:
    assert at_rest(replace(CALM, cordoned=None))


def gateway(**changes: Any) -> GatewayStatus:
    fields: dict[str, Any] = {
        "pod": "g-1", "ready": True, "reason": "", "sessions": 3, "max_sessions": 100, "slow_readers": 0,
        "pending_requests": 0, "drain": DrainReport(),
    }  # fmt: skip
    return GatewayStatus(**(fields | changes))


def worker(*, ready: bool = True) -> WorkerStatus:
    return WorkerStatus("w-1", ready, "", sessions=3, max_sessions=100, partitions=[0])


@pytest.mark.parametrize(
    ("description", "gateways", "workers", "expected"),
    [
        ("both say so", {"g-1": gateway()}, {"w-1": worker()}, True),
        ("the gateway is silent: it may be gone", {}, {"w-1": worker()}, False),
        ("the worker is silent", {"g-1": gateway()}, {}, False),
        ("the gateway is not ready", {"g-1": gateway(ready=False, reason="broker")}, {"w-1": worker()}, False),
        ("the worker is not ready", {"g-1": gateway()}, {"w-1": worker(ready=False)}, False),
        ("it drains", {"g-1": gateway(drain=DrainReport(state="draining"))}, {"w-1": worker()}, False),
        ("it is empty", {"g-1": gateway(drain=DrainReport(state="drained"))}, {"w-1": worker()}, False),
    ],
)
def test_who_vouches_for_it(
    description: str, gateways: dict[str, GatewayStatus], workers: dict[str, WorkerStatus], expected: bool
) -> None:
    assert vouched(replace(CALM, answers=gateways, worker_answers=workers)) is expected, description


@pytest.mark.parametrize(
    ("description", "step", "expected"),
    [
        ("nothing changes", Shrink({"n": 2}, 2), False),
        ("one more", Shrink({"n": 3}, 3), True),
        ("one fewer", Shrink({"n": 1}, 1), True),
        ("a new version", Shrink({"n": 2, "m": 0}, 2), True),
        ("another number in the end", Shrink({"n": 2}, 1), True),
        ("a mark", Shrink({"n": 2}, 2, marks=(Mark("g-1", True),)), True),
        ("a drain", Shrink({"n": 2}, 2, drain=("g-1",)), True),
        ("one taken back", Shrink({"n": 2}, 2, take_back=("g-1",)), True),
        ("one that is gone", Shrink({"n": 2}, 2, gone=("g-1",)), True),
    ],
)
def test_what_acts(description: str, step: Shrink, expected: bool) -> None:
    assert acts(step, {"n": 2}, 2) is expected, description


def test_replica_sets_are_known_once_they_were_listed() -> None:
    cache = SetCache()
    cache.put(KEY, SET)
    assert cache.of(KEY) is None, "there may be others that nothing was heard of"
    cache.replace(KEY, [SET])
    later = replace(SET, wanted=2, version="8")
    cache.put(KEY, later)
    assert cache.of(KEY) == [later]
    cache.remove(KEY, "demo-gateway-x")
    cache.remove(("shop", "other"), SET.name)
    assert cache.of(KEY) == [later]
    cache.remove(KEY, SET.name)
    assert cache.of(KEY) == []
    cache.forget(KEY)
    assert cache.of(KEY) is None


def test_what_an_event_says_of_a_replica_set() -> None:
    labels = {INSTANCE_LABEL: "demo", COMPONENT_LABEL: "gateway", REVISION_LABEL: "n"}
    body = {"metadata": {"namespace": "shop", "name": "demo-gateway-n", "resourceVersion": "7", "labels": labels}}
    assert gateway_key(body) == KEY
    assert (read_replica_set(body).version, read_replica_set(body).revision) == ("7", "n")
    assert gateway_key({"metadata": {"namespace": "shop", "labels": None}}) == ("shop", "")
