"""A pass that changes nothing builds no manifests."""

from __future__ import annotations

from dataclasses import replace

from litevoice_operator.manifests import all_manifests
from litevoice_operator.manifests.built import REMEMBERED, Built
from tests.unit.operator.test_manifests import KEYS, gateway


def test_the_same_voice_gateway_has_the_manifests_of_before() -> None:
    built = Built(KEYS)
    made = built.all(gateway(replicas=3))
    assert made == all_manifests(gateway(replicas=3), KEYS)
    assert built.all(gateway(replicas=3)) is made
    assert built.gateway_set(gateway(replicas=3)) is next(one for one in made if one["kind"] == "ReplicaSet")


def test_every_change_is_built() -> None:
    built, before = Built(KEYS), gateway(replicas=3)
    changed = [
        gateway(replicas=4),
        gateway(replicas=3, logLevel="debug"),
        gateway(replicas=3, workers={"replicas": 5}),
        replace(before, uid="another"),
        replace(before, alone=True),
        replace(before, routed_by_label=False),
        replace(before, gateway_partitions=2),
    ]
    for one in (before, *changed, before):
        assert built.all(one) == all_manifests(one, KEYS)


def test_only_the_latest_are_remembered() -> None:
    built = Built(KEYS)
    first = built.all(gateway(replicas=1))
    for replicas in range(2, REMEMBERED + 2):
        built.all(gateway(replicas=replicas))
    assert built.all(gateway(replicas=1)) is not first
