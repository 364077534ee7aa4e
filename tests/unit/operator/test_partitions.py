"""`spec.rocketmq.partitions` is raised: who is told of more, and when."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from litevoice_operator.api.labels import REVISION_LABEL, TEMPLATE_HASH_ANNOTATION
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.partitions import Partitions, partitions, together
from litevoice_operator.manifests import all_manifests, worker_template
from litevoice_operator.observe.rollouts import Rollout, read_rollout
from tests.unit.operator.test_manifests import KEYS, gateway

DONE = Rollout(wanted=2, replicas=2, ready=2, settled=True, updated=2, template="with-4")
BEFORE = replace(DONE, template="with-2")
HALF = replace(DONE, replicas=3, settled=False, updated=1)
SURGING = replace(DONE, replicas=3, settled=False)
NONE_WANTED = Rollout(settled=True, template="with-4")
GONE = Rollout(exists=False)

CASES: list[tuple[str, int, Rollout, dict[str, bool], int, int, str]] = [
    ("a new one", 0, GONE, {}, 4, 4, ""),
    ("of a release that recorded nothing", 0, BEFORE, {}, 4, 4, ""),
    ("nothing is raised", 4, BEFORE, {}, 4, 4, ""),
    ("nothing is raised, and workers are replaced", 4, HALF, {}, 4, 4, ""),
    ("no topics yet", 2, DONE, {"at_broker": False}, 2, 2, "topics"),
    ("workers are not told yet", 2, BEFORE, {}, 2, 2, "0 of 2"),
    ("there are none, and there shall be", 2, GONE, {}, 2, 2, "workers must"),
    ("the first is replaced", 2, HALF, {}, 2, 2, "1 of 2"),
    ("an old one is still there", 2, SURGING, {}, 2, 2, "2 of 2"),
    ("all are replaced: recorded first", 2, DONE, {}, 2, 4, "told now"),
    ("none are wanted: nobody reads anything", 2, NONE_WANTED, {}, 2, 4, "told now"),
    ("one of them is not ready for another reason", 2, replace(DONE, ready=1), {}, 2, 4, "told now"),
    ("recorded, then workers are replaced again", 4, HALF, {}, 4, 4, ""),
    ("paused", 2, DONE, {"paused": True}, 2, 2, ""),
    ("paused when it is new", 0, GONE, {"paused": True}, 4, 4, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("description", "recorded", "workers", "flags", "now", "following", "says"), CASES, ids=[row[0] for row in CASES]
)
def test_workers_come_first(
    description: str, recorded: int, workers: Rollout, flags: dict[str, bool], now: int, following: int, says: str
) -> None:
    found = partitions(4, recorded, workers, "with-4", **{"at_broker": True, **flags})
    assert (found.now, found.following) == (now, following)
    assert (found.finding is not None) == bool(says)
    assert says in (found.finding.message if found.finding else "")
    assert (found.event is not None) == (now != following)


def test_raised_again_while_workers_are_replaced() -> None:
    found = partitions(8, 2, DONE, "with-8", at_broker=True)
    assert (found.now, found.following) == (2, 2), "of 4 nobody was told, and 8 not all workers know"


def test_what_is_told_once_they_know() -> None:
    event = Partitions(2, 4, Finding("Reconciling", "True", "RaisingPartitions")).event
    assert event is not None
    assert (event.type, event.reason) == ("Normal", "PartitionsRaised")
    assert "4 partitions" in event.message


def test_gateways_may_be_replaced_for_another_reason() -> None:
    rolling, raising = Finding("R", "True", "RollingOut", "a"), Finding("R", "True", "RaisingPartitions", "b")
    assert together(rolling, raising) == replace(rolling, message="a; b")
    assert (together(rolling, None), together(None, raising), together(None, None)) == (rolling, raising, None)


def objects(one: Gateway) -> dict[tuple[str, str], dict[str, Any]]:
    return {(body["kind"], body["metadata"]["name"].split("-")[1]): body for body in all_manifests(one, KEYS)}


def told(one: Gateway, component: str) -> int:
    (text,) = objects(one)["ConfigMap", component]["data"].values()
    return int(json.loads(text)["broker"]["partitions"])


def revision(one: Gateway) -> str:
    return str(objects(one)["ReplicaSet", "gateway"]["metadata"]["labels"][REVISION_LABEL])


def test_only_workers_are_told_until_they_know() -> None:
    two, four = gateway(rocketmq={"partitions": 2}), gateway(rocketmq={"partitions": 4})
    waiting = replace(four, gateway_partitions=2)
    assert [told(one, "worker") for one in (two, waiting, four)] == [2, 4, 4]
    assert [told(one, "gateway") for one in (two, waiting, four)] == [2, 2, 4]
    assert revision(two) == revision(waiting) != revision(four), "no gateway is replaced while it waits"
    assert worker_template(two, KEYS) != worker_template(waiting, KEYS) == worker_template(four, KEYS)
    assert revision(replace(two, gateway_partitions=2)) == revision(two)


def test_the_workers_deployment_tells_which_template_it_has() -> None:
    one = gateway()
    deployment = objects(one)["Deployment", "worker"]
    status = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    deployment = {**deployment, "metadata": {**deployment["metadata"], "generation": 3}, "status": status}
    seen = read_rollout(deployment)
    assert (seen.settled, seen.updated, seen.template) == (True, 2, worker_template(one, KEYS))
    stale = read_rollout({**deployment, "status": {**status, "observedGeneration": 2}})
    assert (stale.settled, stale.updated) == (False, 0)
    assert read_rollout({}).template == ""
    del deployment["spec"]["template"]["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION]
    assert read_rollout(deployment).template == "", "of an early release"
