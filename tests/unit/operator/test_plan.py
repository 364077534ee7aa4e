"""What is done about a VoiceGateway, and when: tables of cases."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from litevoice_operator.api.resolved import Defaults, Gateway, resolve
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.ownership import Owner
from litevoice_operator.decide.plan import (
    NAMES,
    RESYNC_SECONDS,
    SEEN_NAMES,
    SPREAD,
    Apply,
    AwaitNoPods,
    BrokerNames,
    DeleteDeployment,
    DeleteNames,
    DeleteSet,
    DeleteSets,
    Done,
    EnsureNames,
    ReadNames,
    Scale,
    SetAction,
    plan,
    removal_plan,
    seconds_to_end,
    set_plan,
    subject,
)
from litevoice_operator.observe.replica_sets import ReplicaSet
from tests.unit.operator.test_rest import GATEWAY


def gateway(**rocketmq: Any) -> Gateway:
    spec = VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}, "rocketmq": rocketmq})
    metadata = Metadata(namespace="shop", name="demo", uid="u", generation=1)
    return resolve(metadata, spec, Defaults("g:1", "w:1", "proxy:8081", "names:9876"))


def manifest(name: str, **content: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, **content}


FIRST, SECOND = manifest("first"), manifest("second")
CHANGED = manifest("second", data={"a": "b"})
NAMED, LONGER = BrokerNames.of(gateway(), "line"), BrokerNames.of(gateway(expirationMinutes=90), "line")
FRESH, OLD = 1000.0, 1000.0 - RESYNC_SECONDS
ENSURE, RESTORE = EnsureNames(NAMED, only_if_missing=False), EnsureNames(NAMED, only_if_missing=True)


def done(first: float, second: float, names: float, wanted: BrokerNames = NAMED) -> dict[str, Done]:
    return {
        subject(FIRST): Done(FIRST, first),
        subject(SECOND): Done(SECOND, second),
        NAMES: Done(wanted, names),
    }


CASES: list[tuple[str, list[dict[str, Any]], dict[str, Done], list[Apply | EnsureNames]]] = [
    ("nothing was done: everything in its order, names last", [FIRST, SECOND], {},
     [Apply(FIRST), Apply(SECOND), ENSURE]),
    ("everything was done", [FIRST, SECOND], done(FRESH, FRESH, FRESH), []),
    ("one object is wanted otherwise", [FIRST, CHANGED], done(FRESH, FRESH, FRESH), [Apply(CHANGED)]),
    ("one object was applied long ago", [FIRST, SECOND], done(OLD, FRESH, FRESH), [Apply(FIRST)]),
    ("the names were ensured long ago", [FIRST, SECOND], done(FRESH, FRESH, OLD), [RESTORE]),
    ("the names are wanted otherwise", [FIRST, SECOND], done(FRESH, FRESH, FRESH, LONGER), [ENSURE]),
    ("a new object", [FIRST, SECOND, manifest("third")], done(FRESH, FRESH, FRESH), [Apply(manifest("third"))]),
]  # fmt: skip


@pytest.mark.parametrize(("description", "manifests", "before", "actions"), CASES, ids=[case[0] for case in CASES])
def test_plan(
    description: str, manifests: list[dict[str, Any]], before: dict[str, Done], actions: list[Apply | EnsureNames]
) -> None:
    assert plan(NAMED, manifests, before, 1000.0) == actions


def test_what_was_made_together_is_not_looked_at_together() -> None:
    """A hundred VoiceGateways of ten objects each."""
    objects = [manifest(f"object-{number}") for number in range(10)]
    of_all = {f"uid-{number}": replace(NAMED, owner=Owner(f"uid-{number}", "line")) for number in range(100)}

    def due(age: float, fleets: int = 1) -> int:
        found = 0
        for names in of_all.values():
            before = {subject(one): Done(one, 0.0) for one in objects} | {NAMES: Done(names, 0.0)}
            found += len(plan(names, objects, before, age, fleets=fleets))
        return found

    earliest = RESYNC_SECONDS * (1 - SPREAD)
    assert (due(earliest - 0.1), due(RESYNC_SECONDS)) == (0, 1100)
    assert (due(5 * earliest - 0.1, fleets=100), due(5 * RESYNC_SECONDS, fleets=100)) == (0, 1100), "of many less often"
    counts = [due(earliest + second) for second in range(21)]
    assert all(later - earlier < 1100 * 0.1 for earlier, later in pairwise(counts)), "a twentieth each, about"


@pytest.mark.parametrize(("seen", "actions"), [
    ({}, [ReadNames(NAMED)]), ({SEEN_NAMES: Done(NAMED, FRESH)}, []),
    ({SEEN_NAMES: Done(NAMED, OLD)}, [ReadNames(NAMED)]), ({SEEN_NAMES: Done(LONGER, FRESH)}, [ReadNames(NAMED)]),
])  # fmt: skip
def test_who_is_paused_changes_nothing(seen: dict[str, Done], actions: list[ReadNames]) -> None:
    assert plan(NAMED, [CHANGED], seen, 1000.0, paused=True) == actions


def replica_set(revision: str, wanted: int) -> ReplicaSet:
    return ReplicaSet(f"demo-gateway-{revision}", f"uid-{revision}", "u", revision, f"hash-{revision}", wanted=wanted)


OLD_SET, NEW_SET, LEFT = replica_set("old", 2), replica_set("new", 1), replica_set("left", 0)
SETS: list[tuple[str, dict[str, int], str, set[str], list[SetAction]]] = [
    ("as they are", {"old": 2, "new": 1}, "", {"old", "new", "left"}, []),
    ("one falls, one rises", {"old": 1, "new": 2}, "", {"old", "new", "left"}, [Scale(OLD_SET, 1), Scale(NEW_SET, 2)]),
    ("the newest is applied as a whole", {"old": 1, "new": 2}, "demo-gateway-new", {"left"}, [Scale(OLD_SET, 1)]),
    ("one without pods goes", {"old": 2, "new": 1}, "", {"old", "new"}, [DeleteSet(LEFT)]),
    ("the newest stays, also without pods", {"old": 0, "new": 0}, "", {"old", "left"},
     [Scale(OLD_SET, 0), Scale(NEW_SET, 0)]),
    ("who has been told nothing of one leaves it", {"new": 1}, "", {"left"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("description", "replicas", "applied", "with_pods", "actions"), SETS,
                         ids=[row[0] for row in SETS])  # fmt: skip
def test_replica_sets(
    description: str, replicas: dict[str, int], applied: str, with_pods: set[str], actions: list[SetAction]
) -> None:
    assert set_plan([OLD_SET, NEW_SET, LEFT], replicas, "new", applied, with_pods) == actions


def test_sessions_end_before_their_names_go() -> None:
    assert removal_plan("demo", "u", NAMED, 90) == [
        DeleteDeployment("demo-gateway", "u"),
        DeleteDeployment("demo-worker", "u"),
        DeleteSets("u"),
        AwaitNoPods(90),
        DeleteNames(NAMED),
    ]


def test_pods_of_a_former_template_end_before_their_names_go() -> None:
    """Their drain has the time that it had when they were started."""
    pods = [GATEWAY, replace(GATEWAY, grace_seconds=1830)]
    assert (seconds_to_end(90, pods), seconds_to_end(90, [])) == (1860, 120)


def test_what_never_was_valid_has_no_names() -> None:
    expected = [DeleteDeployment("demo-gateway", "u"), DeleteDeployment("demo-worker", "u"), DeleteSets("u")]
    assert removal_plan("demo", "u", None, 0) == expected


@pytest.mark.parametrize(("prefix", "had"), [("", False), ("lv-shop-demo", True), ("lv-shop_demo", False)])
def test_topics_of_an_early_release_are_its_own_without_a_mark(prefix: str, had: bool) -> None:
    spec = VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}})
    metadata = Metadata(namespace="shop", name="demo", uid="u", generation=1)
    resolved = resolve(metadata, spec, Defaults("g:1", "w:1", "proxy:8081", "names:9876"), prefix)
    names = BrokerNames.of(resolved, "line")
    assert names.had_them is had
    assert names.names.request_topic == f"{prefix or 'lv-shop_demo'}-requests"
